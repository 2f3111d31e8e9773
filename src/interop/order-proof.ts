import { float16ToFloat32 } from '../core/half.js';
import { SoftpackError } from '../errors.js';
import { argMax } from '../labels/arg-max.js';
import type { LabelBatch } from './layouts/batch.js';
import { type DrawsPerEpoch, torchOrders } from './random-sampler.js';

/** Top classes of an epoch's labels, in the order of the files. */
export interface TopClasses {
  readonly classes: readonly number[];
  /** Whether the image itself, not its partner, is most of the view. */
  readonly own: readonly boolean[];
}

/** How often the top class of a label is the class of its image's folder. */
export interface Agreement {
  /** Labels of views that show the image itself for the most part. */
  readonly labels: number;
  /** Share of these labels, 0 to 1. */
  readonly share: number;
  /** What a wrong order would give: the shares of both classes multiplied. */
  readonly chance: number;
}

export class TopClassCounter {
  readonly #classes: number[] = [];
  readonly #own: boolean[] = [];

  add(batch: LabelBatch, size: readonly [number, number]): void {
    const row = new Float32Array(batch.classes);
    for (let i = 0; i < batch.count; i++) {
      float16ToFloat32(batch.halves.subarray(i * row.length, (i + 1) * row.length), row);
      this.#classes.push(argMax(row));
      const { box, weight = 1 } = batch.views?.[i] ?? {};
      const share = box === undefined ? weight : 1 - (box[2] * box[3]) / (size[0] * size[1]);
      this.#own.push(share > 0.5);
    }
  }

  result(): TopClasses {
    return { classes: this.#classes, own: this.#own };
  }
}

/** Over some epochs, each with the image ids of its labels; `undefined` if no view shows its own image for the most. */
export function agreementOf(
  epochs: readonly (TopClasses & { readonly ids: Uint32Array })[],
  targets: Uint32Array,
): Agreement | undefined {
  const seen = new Map<number, number>();
  const wanted = new Map<number, number>();
  let [labels, agreeing] = [0, 0];
  for (const { classes, own, ids } of epochs) {
    for (const [i, found] of classes.entries()) {
      if (!own[i]) continue;
      const target = targets[ids[i]];
      labels += 1;
      agreeing += found === target ? 1 : 0;
      seen.set(found, (seen.get(found) ?? 0) + 1);
      wanted.set(target, (wanted.get(target) ?? 0) + 1);
    }
  }
  if (labels === 0) return undefined;
  const products = [...seen].map(([c, count]) => (count * (wanted.get(c) ?? 0)) / labels ** 2);
  return { labels, share: agreeing / labels, chance: products.reduce((a, b) => a + b, 0) };
}

/** Labels in a wrong order agree so often with less than this probability. */
const SIGNIFICANCE = 1e-4;

/** A one-sided binomial test: hardly possible by chance. Small differences in many labels pass it too. */
function isSignificant({ labels, share, chance }: Agreement): boolean {
  if (chance <= 0 || chance >= 1 || share <= chance) return false;
  const agreeing = Math.round(share * labels);
  // log P(X = k), k from `agreeing` on, by recurrence.
  let logTerm = logBinomial(labels, agreeing, chance);
  let tail = 0;
  for (let k = agreeing; k <= labels; k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log((labels - k) / (k + 1)) + Math.log(chance / (1 - chance));
  }
  return tail < SIGNIFICANCE;
}

function logBinomial(n: number, k: number, p: number): number {
  let log = k * Math.log(p) + (n - k) * Math.log(1 - p);
  for (let i = 1; i <= k; i++) log += Math.log((n - k + i) / i);
  return log;
}

/** The odds are at least twice those of chance: what no wrong order of many labels reaches. */
function isLarge({ share, chance }: Agreement): boolean {
  return share * (1 - chance) >= 2 * chance * (1 - share) && share > chance;
}

/** An order that is known to be the right one. */
export interface ProvedOrder {
  readonly drawsPerEpoch: DrawsPerEpoch;
  readonly agreement: Agreement;
}

interface TriedOrder {
  readonly drawsPerEpoch: DrawsPerEpoch;
  readonly all: Agreement | undefined;
  /** Agreement in the last epoch; all versions of torch give the first epoch the same order. */
  readonly last: Agreement | undefined;
}

/**
 * The order of images that SRe2L and CDA imply, proved by the labels of epochs 0 and 1: together they can hardly agree
 * by chance, and epoch 1 agrees far more by one rule than by chance and than by the other rule.
 *
 * @throws `INVALID_FILE` with the agreement by either rule if the labels prove none.
 */
export function proveOrder(
  folder: string,
  epochs: readonly TopClasses[],
  { seed, targets }: { readonly seed: number; readonly targets: Uint32Array },
): ProvedOrder {
  const tried = ([2, 1] as const).map((drawsPerEpoch): TriedOrder => {
    const orders = torchOrders(targets.length, seed, drawsPerEpoch);
    const ordered = epochs.map((top) => ({ ...top, ids: orders.next().value }));
    const last = agreementOf(ordered.slice(-1), targets);
    return { drawsPerEpoch, all: agreementOf(ordered, targets), last };
  });
  const [best] = [...tried].sort((a, b) => (b.last?.share ?? 0) - (a.last?.share ?? 0));
  const { drawsPerEpoch, all, last } = best;
  const alone = epochs.length === 1 || tried[0].last?.share !== tried[1].last?.share;
  if (all && last && alone && isSignificant(all) && isLarge(last)) {
    return { drawsPerEpoch, agreement: all };
  }
  const percent = (share = 0) => `${(100 * share).toFixed(1)} %`;
  const words = tried.map(
    (order) => `${percent(order.last?.share)} by ${RULES[order.drawsPerEpoch]}`,
  );
  throw new SoftpackError(
    'INVALID_FILE',
    "labels do not agree with their images' folders in the order of torch's RandomSampler",
    {
      field: `${folder}: order of epoch ${epochs.length - 1}`,
      expected: `far more than ${percent(last?.chance)}, which is chance (right images? right seed?)`,
      found: words.join(', '),
    },
  );
}

const RULES = { 1: 'one permutation per epoch', 2: 'two permutations per epoch' } as const;
