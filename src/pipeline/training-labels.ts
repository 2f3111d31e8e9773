import type { LogitsVisitor } from '../codecs/descriptor.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { throwIfAborted } from '../errors.js';
import type { LabelPlace, LabelSource, LabelsOf } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';

const TRAINING_BYTES = 128 * 2 ** 20;
const TRAINING_LABELS = 32_768;

/** Default number of labels that a codec is trained on. */
export function defaultTrainingLabels(classes: number): number {
  return Math.max(1, Math.min(TRAINING_LABELS, Math.floor(TRAINING_BYTES / (4 * classes))));
}

export interface TrainingLabelsOptions {
  /** Most labels to take. */
  readonly limit: number;
  /** Draws other labels than training does. */
  readonly heldOut?: boolean;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Soft labels to train a codec on: all of the source's, or `limit` of them drawn evenly over epochs and
 * samples (one at random from each of `limit` equal stretches). Probabilities, float32 [count, classes].
 */
export async function drawTrainingLabels(
  source: LabelSource,
  options: TrainingLabelsOptions & { readonly tau: number },
): Promise<Float32Array> {
  const { classes } = source;
  const count = Math.min(source.epochs * source.samples, options.limit);
  const labels = new Float32Array(count * classes);
  let done = 0;
  for await (const { logits } of drawnLogits(source, options)) {
    const out = labels.subarray(done * classes, done * classes + logits.length);
    softmaxRows(logits, logits.length / classes, classes, options.tau, out);
    done += logits.length / classes;
  }
  return labels;
}

/** Shows the labels of {@link drawTrainingLabels} as logits, with what is known of them. */
export async function visitDrawnLogits(
  source: LabelSource,
  options: TrainingLabelsOptions,
  visit: LogitsVisitor,
): Promise<void> {
  const { classes } = source;
  for await (const { logits, places } of drawnLogits(source, options)) {
    for (let first = 0; first < places.length; ) {
      const { row, start } = places[first];
      let count = 1;
      while (places[first + count]?.row === row && places[first + count].start === start + count) {
        count++;
      }
      const piece = logits.slice(first * classes, (first + count) * classes);
      await visit(piece, await contextOf(source, row, start, count));
      first += count;
    }
  }
}

interface DrawnLogits {
  readonly logits: Float32Array;
  /** Of each label: row of the source, and position in it. */
  readonly places: readonly { readonly row: number; readonly start: number }[];
}

async function* drawnLogits(
  source: LabelSource,
  { limit, seed, heldOut = false, onProgress, signal }: TrainingLabelsOptions,
): AsyncGenerator<DrawnLogits> {
  const total = source.epochs * source.samples;
  const count = Math.min(total, limit);
  const random = new RandomSequence(seed, STREAM.codec, heldOut ? 2 : 1);
  const placeOf = (label: number): LabelPlace => ({
    epoch: Math.floor(label / source.samples),
    sample: label % source.samples,
  });
  // If every label is taken, read whole stretches; else one at a time, or many at once if that is faster.
  for (let done = 0; done < count; ) {
    throwIfAborted(signal);
    const whole = count === total;
    const first = placeOf(done);
    const most = whole ? source.samples - first.sample : count - done;
    const single = !whole && source.readEach === undefined;
    const rows = single ? 1 : Math.min(READ_ROWS, most);
    const places = Array.from({ length: rows }, (_, k) =>
      placeOf(whole ? done + k : stretch(done + k, count, total, random)),
    );
    const [{ epoch, sample }] = places;
    const each = whole ? undefined : source.readEach?.(places);
    const logits = await (each ?? source.read(epoch, sample, rows));
    yield { logits, places: places.map((place) => ({ row: place.epoch, start: place.sample })) };
    done += rows;
    onProgress?.(done, count);
  }
}

const READ_ROWS = 1024;

/** Visits all labels of the source as probabilities, some consecutive samples of one epoch at a time. */
export function scanLabels(
  source: LabelSource,
  options: {
    readonly tau: number;
    readonly visit: (firstSample: number, probabilities: Float32Array) => void;
    readonly signal?: AbortSignal;
  },
): Promise<void> {
  return scanRows(source, options.signal, (logits, _row, start) => {
    const labels = new Float32Array(logits.length);
    const rows = logits.length / source.classes;
    softmaxRows(logits, rows, source.classes, options.tau, labels);
    options.visit(start, labels);
  });
}

/** The same as logits, with what is known of the labels. */
export function scanLogits(
  source: LabelSource,
  visit: LogitsVisitor,
  signal?: AbortSignal,
): Promise<void> {
  return scanRows(source, signal, async (logits, row, start) => {
    await visit(logits, await contextOf(source, row, start, logits.length / source.classes));
  });
}

async function scanRows(
  source: LabelSource,
  signal: AbortSignal | undefined,
  visit: (logits: Float32Array, row: number, start: number) => void | Promise<void>,
): Promise<void> {
  for (let row = 0; row < source.epochs; row++) {
    for (let start = 0; start < source.samples; start += READ_ROWS) {
      throwIfAborted(signal);
      const count = Math.min(READ_ROWS, source.samples - start);
      await visit(await source.read(row, start, count), row, start);
    }
  }
}

/** What is known of some labels of a row: by default the row is an epoch. */
export async function contextOf(
  source: LabelSource,
  row: number,
  start: number,
  count: number,
): Promise<LabelsOf> {
  const plain = { epoch: row, samples: { start, count } };
  return (await source.labelsOf?.(row, start, count)) ?? plain;
}

function stretch(i: number, count: number, total: number, random: RandomSequence): number {
  const from = Math.floor((i * total) / count);
  const to = Math.floor(((i + 1) * total) / count);
  return from + random.below(to - from);
}
