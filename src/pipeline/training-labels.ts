import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { throwIfAborted } from '../errors.js';
import type { LabelPlace, LabelSource } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';

const TRAINING_BYTES = 128 * 2 ** 20;
const TRAINING_LABELS = 32_768;

/** Default number of labels that a codec is trained on. */
export function defaultTrainingLabels(classes: number): number {
  return Math.max(1, Math.min(TRAINING_LABELS, Math.floor(TRAINING_BYTES / (4 * classes))));
}

export interface TrainingLabelsOptions {
  readonly tau: number;
  /** Most labels to take. */
  readonly limit: number;
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
  { tau, limit, seed, onProgress, signal }: TrainingLabelsOptions,
): Promise<Float32Array> {
  const total = source.epochs * source.samples;
  const count = Math.min(total, limit);
  const random = new RandomSequence(seed, STREAM.codec, 1);
  const labels = new Float32Array(count * source.classes);
  const placeOf = (label: number): LabelPlace => ({
    epoch: Math.floor(label / source.samples),
    sample: label % source.samples,
  });
  // If every label is taken, read whole stretches; else one at a time, or many at once if that is faster.
  const next = async (first: number) => {
    if (count === total) {
      const { epoch, sample } = placeOf(first);
      const rows = Math.min(READ_ROWS, source.samples - sample);
      return { logits: await source.read(epoch, sample, rows), rows };
    }
    const rows = source.readEach === undefined ? 1 : Math.min(READ_ROWS, count - first);
    const places = Array.from({ length: rows }, (_, k) =>
      placeOf(stretch(first + k, count, total, random)),
    );
    const [{ epoch, sample }] = places;
    return { logits: await (source.readEach?.(places) ?? source.read(epoch, sample, 1)), rows };
  };
  let i = 0;
  while (i < count) {
    throwIfAborted(signal);
    const { logits, rows } = await next(i);
    const at = i * source.classes;
    const out = labels.subarray(at, at + logits.length);
    softmaxRows(logits, rows, source.classes, tau, out);
    i += rows;
    onProgress?.(i, count);
  }
  return labels;
}

const READ_ROWS = 1024;

/** Visits all labels of the source as probabilities, some consecutive samples of one epoch at a time. */
export async function scanLabels(
  source: LabelSource,
  options: {
    readonly tau: number;
    readonly visit: (firstSample: number, probabilities: Float32Array) => void;
    readonly signal?: AbortSignal;
  },
): Promise<void> {
  const { tau, visit, signal } = options;
  for (let epoch = 0; epoch < source.epochs; epoch++) {
    for (let start = 0; start < source.samples; start += READ_ROWS) {
      throwIfAborted(signal);
      const rows = Math.min(READ_ROWS, source.samples - start);
      const logits = await source.read(epoch, start, rows);
      const labels = new Float32Array(logits.length);
      softmaxRows(logits, rows, source.classes, tau, labels);
      visit(start, labels);
    }
  }
}

function stretch(i: number, count: number, total: number, random: RandomSequence): number {
  const from = Math.floor((i * total) / count);
  const to = Math.floor(((i + 1) * total) / count);
  return from + random.below(to - from);
}
