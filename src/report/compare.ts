import type { LabelArchive } from '../archive/archive.js';
import { argument } from '../core/check.js';
import { canonicalJson } from '../core/json.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { excerpt, SoftpackError, throwIfAborted } from '../errors.js';
import { argMax } from '../labels/arg-max.js';
import { DivergenceMeter, type LabelDivergence, labelDivergence } from '../labels/divergence.js';
import { logitsFromProbabilities } from '../labels/temperature.js';
import type { FullLabels } from './full-labels.js';
import { type Place, placesOf, rowTemperature } from './places.js';

/** Labels of one row that are drawn together. */
export interface DrawnRow {
  readonly row: number;
  readonly positions: Uint32Array;
}

/** Rows that a draw spreads over: enough for a curve over epochs, few enough to read from far away. */
const ROWS = 32;

/** All labels if they are at most `labels`, otherwise about that many of rows at equal distances. */
export function drawLabels(
  { epochs, samples }: Pick<LabelArchive, 'epochs' | 'samples'>,
  labels: number,
  seed: number,
): readonly DrawnRow[] {
  argument.count(labels, 'labels', 1, 2 ** 20);
  const all = epochs * samples <= labels;
  const rows = all ? epochs : Math.min(epochs, ROWS, labels);
  const each = all ? samples : Math.min(samples, Math.ceil(labels / rows));
  return Array.from({ length: rows }, (_, i) => {
    const row = Math.floor(((i + 0.5) * epochs) / rows);
    const random = new RandomSequence(seed, STREAM.codec, row);
    return { row, positions: random.distinct(each, samples).sort() };
  });
}

/** One label, compared. */
export interface ComparedLabel {
  readonly row: number;
  readonly position: number;
  /** Likeliest class of the full label, and its probability. */
  readonly class: number;
  readonly confidence: number;
  /** KL(full || decoded), nats. */
  readonly kl: number;
}

export interface Comparison {
  readonly divergence: LabelDivergence;
  readonly labels: readonly ComparedLabel[];
  /** Centred logits of the first of the full labels, [rows, classes]. */
  readonly logits: Float32Array;
}

/** Rows of logits kept for the spectrum of the labels. */
const SPECTRUM_ROWS = 384;
/** Labels decoded at a time. */
const BATCH = 256;

/** Compares drawn labels of an archive with those that it was packed from. */
export async function compareLabels(
  archive: LabelArchive,
  full: FullLabels,
  draw: readonly DrawnRow[],
  signal?: AbortSignal,
): Promise<Comparison> {
  requireFull(archive, full);
  const { classes } = archive;
  const meter = new DivergenceMeter(classes);
  const labels: ComparedLabel[] = [];
  const spectrum = new Spectrum(classes, draw);
  for (const { row, positions } of draw) {
    const tau = rowTemperature(archive, row);
    for (let start = 0; start < positions.length; start += BATCH) {
      throwIfAborted(signal);
      const ids = positions.subarray(start, start + BATCH);
      const decoded = await archive.labels(row, ids);
      const exact = await fullLabels(full, await placesOf(archive, row, ids), tau);
      meter.add(exact, decoded);
      for (const [i, position] of ids.entries()) {
        const [y, q] = [exact, decoded].map((all) => all.subarray(i * classes, (i + 1) * classes));
        const likeliest = argMax(y);
        const { kl } = labelDivergence(y, q, classes);
        labels.push({ row, position, class: likeliest, confidence: y[likeliest], kl });
        spectrum.add(y, tau);
      }
    }
  }
  return { divergence: meter.result(), labels, logits: spectrum.logits() };
}

/** Keeps centred logits of labels at equal distances in the draw. */
class Spectrum {
  readonly #classes: number;
  readonly #every: number;
  readonly #rows: Float32Array[] = [];
  #seen = 0;

  constructor(classes: number, draw: readonly DrawnRow[]) {
    const labels = draw.reduce((sum, { positions }) => sum + positions.length, 0);
    this.#classes = classes;
    this.#every = Math.max(1, Math.ceil(labels / SPECTRUM_ROWS));
  }

  add(label: Float32Array, tau: number): void {
    if (this.#seen++ % this.#every !== 0) return;
    const row = new Float32Array(this.#classes);
    logitsFromProbabilities(label, tau, row);
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    this.#rows.push(row.map((value) => value - mean));
  }

  logits(): Float32Array {
    const all = new Float32Array(this.#rows.length * this.#classes);
    for (const [i, row] of this.#rows.entries()) all.set(row, i * this.#classes);
    return all;
  }
}

/** Full labels of some views, at a temperature: [places, classes]. */
export async function fullLabels(
  full: FullLabels,
  places: readonly Place[],
  tau: number,
): Promise<Float32Array> {
  const { classes } = full;
  const out = new Float32Array(places.length * classes);
  for (const epoch of new Set(places.map((place) => place.epoch))) {
    const found = full.storedEpoch(epoch);
    argument.that(found === epoch, found, 'full', `views of epoch ${epoch}`);
    const at = [...places.keys()].filter((i) => places[i].epoch === epoch);
    const ids = Uint32Array.from(at, (i) => places[i].sample);
    const labels = await full.labels(epoch, ids, { tau });
    for (const [i, position] of at.entries()) {
      out.set(labels.subarray(i * classes, (i + 1) * classes), position * classes);
    }
  }
  return out;
}

/** Labels of other images or views would be compared without a word. */
export function requireFull(archive: LabelArchive, full: FullLabels): void {
  const pruned = full.manifest.pruning !== undefined;
  argument.that(!pruned, 'a pruned archive', 'full', 'an archive that keeps all of its labels');
  const facts = ({ classes, samples, manifest }: FullLabels) => {
    return { classes, samples: manifest.pruning?.samples ?? samples };
  };
  const [own, other] = [facts(archive), facts(full)];
  for (const name of ['classes', 'samples'] as const) {
    argument.that(own[name] === other[name], other[name], 'full', `${own[name]} ${name}`);
  }
  const [a, b] = [archive, full].map(({ manifest: { augmentation } }) =>
    augmentation === null ? undefined : JSON.stringify(canonicalJson(augmentation, 'augmentation')),
  );
  if (a === undefined || b === undefined || a === b) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'labels of other views than those of the archive', {
    ...{ field: 'full', expected: excerpt(a), found: excerpt(b) },
  });
}

/** Mean KL of groups of labels, in order of their keys. */
export function klBy(
  labels: readonly ComparedLabel[],
  key: 'row' | 'class',
): readonly { readonly key: number; readonly kl: number; readonly labels: number }[] {
  const groups = new Map<number, { kl: number; labels: number }>();
  for (const label of labels) {
    const group = groups.get(label[key]) ?? { kl: 0, labels: 0 };
    groups.set(label[key], { kl: group.kl + label.kl, labels: group.labels + 1 });
  }
  return [...groups]
    .map(([at, { kl, labels: count }]) => ({ key: at, kl: kl / count, labels: count }))
    .sort((a, b) => a.key - b.key);
}
