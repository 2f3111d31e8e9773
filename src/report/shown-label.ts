import type { LabelArchive } from '../archive/archive.js';
import { argument } from '../core/check.js';
import { labelDivergence } from '../labels/divergence.js';
import { fullLabels } from './compare.js';
import type { FullLabels } from './full-labels.js';
import { type Place, placesOf, rowTemperature } from './places.js';
import type { ViewImages } from './views.js';

/** What labels are shown with, where it is at hand. */
export interface Sources {
  readonly archive: LabelArchive;
  readonly full?: FullLabels;
  readonly views?: ViewImages;
}

/** A class of a label: natural logarithms of its probabilities at the label's temperature, null for zero. */
export interface ShownClass {
  readonly name: string;
  readonly full?: number | null;
  readonly decoded: number | null;
}

/** A label as pages show it, small however many classes there are. */
export interface ShownLabel {
  readonly row: number;
  readonly position: number;
  /** Epoch by which the view is drawn, and sample. */
  readonly epoch: number;
  readonly sample: number;
  readonly name?: string;
  readonly tau: number;
  readonly partner?: { readonly sample: number; readonly name?: string; readonly share: number };
  /** `data:` address of the view. */
  readonly view?: string;
  /** KL(full || decoded), nats. */
  readonly kl?: number;
  /** The likeliest classes. */
  readonly classes: readonly ShownClass[];
  /**
   * For each of `TEMPERATURES`, ln sum_j p_j^(tau / T) over all classes: with them p_j at T is
   * exp(ln p_j tau / T - sum) for the classes above.
   */
  readonly sums: { readonly full?: readonly number[]; readonly decoded: readonly number[] };
}

/** Temperatures that a page can show labels at. */
export const TEMPERATURES = [0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 14, 20, 30] as const;
const TOP = 5;

/** Some labels of one row, with their views if there are images. */
export async function showLabels(
  { archive, full, views }: Sources,
  row: number,
  positions: Uint32Array,
): Promise<readonly ShownLabel[]> {
  for (const position of positions) argument.count(position, 'sample', 0, archive.samples - 1);
  const { classes } = archive;
  const tau = rowTemperature(archive, row);
  const places = await placesOf(archive, row, positions);
  const decoded = await archive.labels(row, positions);
  const exact = full && (await fullLabels(full, places, tau));
  const nameOf = classNamesOf(archive, views);
  const shown: ShownLabel[] = [];
  for (const [i, position] of positions.entries()) {
    const part = (all: Float32Array) => all.subarray(i * classes, (i + 1) * classes);
    const [q, y] = [part(decoded), exact && part(exact)];
    shown.push({
      row,
      position,
      ...placeOf(places[i], views, nameOf),
      tau,
      ...(views && { view: await views.render(row, position) }),
      ...(y && { kl: labelDivergence(y, q, classes).kl }),
      classes: topOf(y ?? q).map((j) => ({
        name: nameOf(j),
        ...(y && { full: logOf(y[j]) }),
        decoded: logOf(q[j]),
      })),
      sums: { ...(y && { full: sumsOf(y, tau) }), decoded: sumsOf(q, tau) },
    });
  }
  return shown;
}

/** Names of the classes of labels. */
export function classNamesOf(
  { manifest, classes }: LabelArchive,
  views?: ViewImages,
): (index: number) => string {
  const own = manifest.classNames ?? views?.images.classNames;
  const names = own?.length === classes ? own : undefined;
  return (index) => names?.[index] ?? `class ${index}`;
}

function placeOf(
  { epoch, sample, mix }: Place,
  views: ViewImages | undefined,
  nameOf: (index: number) => string,
) {
  const mixed = mix !== undefined && mix.partner !== sample && mix.share < 1;
  const partner = mixed && {
    sample: mix.partner,
    ...named(mix.partner, views, nameOf),
    share: mix.share,
  };
  return { epoch, sample, ...named(sample, views, nameOf), ...(partner && { partner }) };
}

/** Name of the class of a sample's image, if it is known. */
function named(
  sample: number,
  views: ViewImages | undefined,
  nameOf: (index: number) => string,
): { readonly name?: string } {
  const { targets, classNames } = views?.images ?? {};
  const name = targets && classNames?.[targets[sample]];
  if (name === undefined) return {};
  // Folders of distilled images are named by the numbers of their classes.
  return { name: /^\d{5}$/.test(name) ? nameOf(Number(name)) : name };
}

function topOf(label: Float32Array): readonly number[] {
  const order = Array.from(label.keys());
  return order.sort((a, b) => label[b] - label[a] || a - b).slice(0, TOP);
}

function logOf(probability: number): number | null {
  return probability > 0 ? Math.log(probability) : null;
}

/** The largest term is taken out, so that no power underflows. */
function sumsOf(label: Float32Array, tau: number): readonly number[] {
  const largest = Math.log(label.reduce((a, b) => Math.max(a, b), 0));
  return TEMPERATURES.map((temperature) => {
    const power = tau / temperature;
    const sum = label.reduce(
      (total, p) => (p > 0 ? total + Math.exp(power * (Math.log(p) - largest)) : total),
      0,
    );
    return power * largest + Math.log(sum);
  });
}

/** Number of the temperature at which the likeliest classes have about half of the probability on average. */
export function legibleTemperature(labels: readonly ShownLabel[]): number {
  const peaks = TEMPERATURES.map((temperature, t) => {
    const tops = labels.map(({ classes: [first], sums, tau }) => {
      const [log, all] = sums.full ? [first.full, sums.full] : [first.decoded, sums.decoded];
      return Math.exp(((log ?? Number.NEGATIVE_INFINITY) * tau) / temperature - all[t]);
    });
    return tops.reduce((sum, p) => sum + p, 0) / tops.length;
  });
  const distance = (t: number) => Math.abs(peaks[t] - 0.5);
  return peaks.reduce((best, _, t) => (distance(t) < distance(best) ? t : best), 0);
}
