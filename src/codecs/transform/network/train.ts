import { STREAM } from '../../../core/philox.js';
import { RandomSequence } from '../../../core/random.js';
import { throwIfAborted } from '../../../errors.js';
import type { Kernels } from '../../../kernels/types.js';
import { AdamW } from '../../math/adamw.js';
import { BaseFit } from '../base-vectors.js';
import { RowAdam } from './row-adam.js';
import { CELLS, SHARE, VIEW_NUMBERS } from './views.js';

/** Numbers of a cell's embedding. */
export const NUMBERS = 32;
export const HIDDEN = 256;
/** What the inner layer sees: the sums of both images' cells, the numbers of the view, and one. */
export const INPUTS = 2 * NUMBERS + VIEW_NUMBERS + 1;
/** What the outer layer sees: the hidden units, the sum of both sums, and one. */
export const OUTER_INPUTS = HIDDEN + NUMBERS + 1;
/** Embeddings are rounded to multiples of this; their deviation is of the order of 1. */
export const EMBEDDING_STEP = 0.5;

/** Labels of an update: of few labels few, so that there are some dozen updates in a pass. */
const BATCH = 512;
const LEAST_BATCH = 64;
const BATCHES = 64;
const RATE = 0.012;
/** Of the layers; see row-adam.ts. */
const DECAY = 0.1;
/** Share of the updates in which rates rise. */
const RISING = 0.15;
const NOISE = 2 ** 16;
/** Largest difference of embeddings from base vectors to begin with. */
const START = 0.5;
/** Share of a running mean that a batch replaces. */
const RENEWED = 0.02;

/** Labels to learn from. */
export interface PredictedLabels {
  readonly count: number;
  readonly samples: number;
  /** [count]. */
  readonly sample: Uint32Array;
  readonly partner: Uint32Array;
  /** [count, VIEW_NUMBERS]. */
  readonly views: Int16Array;
  /** [count, components]: of deviation 1. */
  readonly latents: Float32Array;
  readonly components: number;
  /** [components]: error of the quantiser, below which there is nothing to gain, in squared deviations. */
  readonly floors: Float64Array;
}

/** Weights of the network in float32. */
export interface FloatNetwork {
  /** [samples, CELLS, NUMBERS]. */
  readonly embeddings: Float32Array;
  /** [INPUTS, HIDDEN]. */
  readonly inner: Float32Array;
  /** [OUTER_INPUTS, components]. */
  readonly outer: Float32Array;
}

/**
 * Learns embeddings and layers together. Minimises the sum of the components' errors in relation to what they are by
 * then, so the logarithm of each, which is what its codes take.
 */
export async function trainNetwork(
  labels: PredictedLabels,
  passes: number,
  kernels: Kernels,
  options: { readonly seed: number; readonly signal?: AbortSignal },
): Promise<FloatNetwork> {
  const training = new Training(labels, kernels, options.seed);
  const each = Math.floor(labels.count / training.batch);
  const total = passes * each;
  for (let pass = 0; pass < passes; pass++) {
    training.shuffle();
    for (let step = 0; step < each; step++) {
      throwIfAborted(options.signal);
      await training.update(step, rateAt((pass * each + step) / total));
    }
  }
  return training.network;
}

/** From 0 to 1 and back. */
function rateAt(done: number): number {
  if (done < RISING) return (done + 0.01) / (RISING + 0.01);
  return (1 + Math.cos((Math.PI * (done - RISING)) / (1 - RISING))) / 2;
}

class Training {
  readonly network: FloatNetwork;
  readonly #labels: PredictedLabels;
  readonly #kernels: Kernels;
  readonly #random: RandomSequence;
  readonly #order: Uint32Array;
  readonly #inner: AdamW;
  readonly #outer: AdamW;
  readonly #embeddings: RowAdam;
  readonly #squares: Float64Array;
  /** Labels of an update. */
  readonly batch: number;
  /** Up to twice what rounding changes embeddings by, drawn once. */
  readonly #noise: Float32Array;
  readonly #in: Float32Array;
  readonly #out: Float32Array;
  readonly #pre: Float32Array;
  readonly #found: Float32Array;
  readonly #gradients: Record<'in' | 'out' | 'pre' | 'inner' | 'outer', Float32Array>;

  constructor(labels: PredictedLabels, kernels: Kernels, seed: number) {
    const { count, samples, components } = labels;
    this.#labels = labels;
    this.#kernels = kernels;
    const wanted = Math.min(BATCH, Math.max(LEAST_BATCH, Math.floor(count / BATCHES)));
    this.batch = Math.min(wanted, count);
    this.#random = new RandomSequence(seed, STREAM.codec, 3);
    this.#order = Uint32Array.from({ length: count }, (_, i) => i);
    const uniform = (length: number, size: number) =>
      Float32Array.from({ length }, () => (2 * this.#random.uniform() - 1) * size);
    const inner = uniform(INPUTS * HIDDEN, 1 / Math.sqrt(INPUTS));
    const outer = uniform(OUTER_INPUTS * components, 1 / Math.sqrt(OUTER_INPUTS) / 4);
    const embeddings = uniform(samples * CELLS * NUMBERS, START);
    startFrom(labels, embeddings, outer);
    this.network = { embeddings, inner, outer };
    this.#inner = new AdamW(inner.length, { beta2: 0.999, weightDecay: DECAY });
    this.#outer = new AdamW(outer.length, { beta2: 0.999, weightDecay: DECAY });
    this.#embeddings = new RowAdam(embeddings, CELLS * NUMBERS);
    this.#squares = new Float64Array(components).fill(1);
    const { batch } = this;
    this.#noise = uniform(NOISE, EMBEDDING_STEP);
    this.#in = new Float32Array(batch * INPUTS);
    this.#out = new Float32Array(batch * OUTER_INPUTS);
    this.#pre = new Float32Array(batch * HIDDEN);
    this.#found = new Float32Array(batch * components);
    this.#gradients = {
      in: new Float32Array(batch * INPUTS),
      out: new Float32Array(batch * OUTER_INPUTS),
      pre: new Float32Array(batch * HIDDEN),
      inner: new Float32Array(inner.length),
      outer: new Float32Array(outer.length),
    };
  }

  shuffle(): void {
    const order = this.#order;
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
  }

  async update(step: number, share: number): Promise<void> {
    const batch = this.batch;
    const chosen = this.#order.subarray(step * batch, (step + 1) * batch);
    this.#readInputs(chosen);
    const { components } = this.#labels;
    const { inner, outer } = this.network;
    const own = this.#gradients;
    const forward = { rows: batch, inner: INPUTS, columns: HIDDEN };
    await this.#product({ a: this.#in, b: inner, out: this.#pre, ...forward });
    this.#readHidden();
    const second = { rows: batch, inner: OUTER_INPUTS, columns: components };
    await this.#product({ a: this.#out, b: outer, out: this.#found, ...second });
    this.#compare(chosen);
    const found = this.#found;
    const [ta, tb] = [{ transposeA: true }, { transposeB: true }];
    const outerShape = { rows: OUTER_INPUTS, inner: batch, columns: components, ...ta };
    await this.#product({ a: this.#out, b: found, out: own.outer, ...outerShape });
    const outShape = { rows: batch, inner: components, columns: OUTER_INPUTS, ...tb };
    await this.#product({ a: found, b: outer, out: own.out, ...outShape });
    this.#passHidden();
    const innerShape = { rows: INPUTS, inner: batch, columns: HIDDEN, ...ta };
    await this.#product({ a: this.#in, b: own.pre, out: own.inner, ...innerShape });
    const inShape = { rows: batch, inner: HIDDEN, columns: INPUTS, ...tb };
    await this.#product({ a: own.pre, b: inner, out: own.in, ...inShape });
    this.#passEmbeddings(chosen);
    this.#inner.update(inner, own.inner, share * RATE);
    this.#outer.update(outer, own.outer, share * RATE);
    this.#embeddings.update(share * RATE);
  }

  #product(args: Parameters<Kernels['projectAsync']>[0]): Promise<void> {
    return this.#kernels.projectAsync(args);
  }

  #readInputs(chosen: Uint32Array): void {
    const { sample, partner, views } = this.#labels;
    const { embeddings } = this.network;
    const all = this.#in.fill(0);
    for (const [i, label] of chosen.entries()) {
      const at = i * INPUTS;
      for (const [image, id] of [sample[label], partner[label]].entries()) {
        for (let cell = 0; cell < CELLS; cell++) {
          const share = views[label * VIEW_NUMBERS + image * CELLS + cell] / SHARE;
          if (share === 0) continue;
          const from = (id * CELLS + cell) * NUMBERS;
          const noise = this.#random.below(NOISE - NUMBERS);
          for (let k = 0; k < NUMBERS; k++) {
            all[at + image * NUMBERS + k] +=
              share * (embeddings[from + k] + this.#noise[noise + k]);
          }
        }
      }
      for (let k = 0; k < VIEW_NUMBERS; k++) {
        all[at + 2 * NUMBERS + k] = views[label * VIEW_NUMBERS + k] / SHARE;
      }
      all[at + INPUTS - 1] = 1;
    }
  }

  #readHidden(): void {
    const [pre, all, first] = [this.#pre, this.#out, this.#in];
    for (let i = 0; i < this.batch; i++) {
      const at = i * OUTER_INPUTS;
      for (let k = 0; k < HIDDEN; k++) all[at + k] = Math.max(pre[i * HIDDEN + k], 0);
      for (let k = 0; k < NUMBERS; k++) {
        all[at + HIDDEN + k] = first[i * INPUTS + k] + first[i * INPUTS + NUMBERS + k];
      }
      all[at + OUTER_INPUTS - 1] = 1;
    }
  }

  /** Turns what was found into the gradient of the loss. */
  #compare(chosen: Uint32Array): void {
    const { latents, components, floors } = this.#labels;
    const found = this.#found;
    const sums = new Float64Array(components);
    for (const [i, label] of chosen.entries()) {
      for (let j = 0; j < components; j++) {
        const at = i * components + j;
        const error = found[at] - latents[label * components + j];
        sums[j] += error * error;
        found[at] = error;
      }
    }
    const factors = this.#squares.map((square, j) => {
      const now = (1 - RENEWED) * square + (RENEWED * sums[j]) / this.batch;
      this.#squares[j] = now;
      return 2 / (this.batch * (now + floors[j]));
    });
    for (let i = 0; i < found.length; i++) found[i] *= factors[i % components];
  }

  #passHidden(): void {
    const { out, pre } = this.#gradients;
    for (let i = 0; i < this.batch; i++) {
      for (let k = 0; k < HIDDEN; k++) {
        const at = i * HIDDEN + k;
        pre[at] = this.#pre[at] > 0 ? out[i * OUTER_INPUTS + k] : 0;
      }
    }
  }

  #passEmbeddings(chosen: Uint32Array): void {
    const { sample, partner, views } = this.#labels;
    const { in: own, out } = this.#gradients;
    const gradient = new Float32Array(NUMBERS);
    for (const [i, label] of chosen.entries()) {
      for (const [image, id] of [sample[label], partner[label]].entries()) {
        for (let k = 0; k < NUMBERS; k++) {
          gradient[k] = own[i * INPUTS + image * NUMBERS + k] + out[i * OUTER_INPUTS + HIDDEN + k];
        }
        for (let cell = 0; cell < CELLS; cell++) {
          const share = views[label * VIEW_NUMBERS + image * CELLS + cell] / SHARE;
          if (share !== 0) this.#embeddings.add(id, cell * NUMBERS, gradient, share);
        }
      }
    }
  }
}

/** Begins with base vectors of the leading components, the same in all cells, which the outer layer passes on. */
function startFrom(labels: PredictedLabels, embeddings: Float32Array, outer: Float32Array): void {
  const { samples, components, latents, sample, partner, views, count } = labels;
  const fit = new BaseFit(components);
  const lambda = Float32Array.from({ length: count }, (_, i) => {
    const numbers = views.subarray(i * VIEW_NUMBERS, i * VIEW_NUMBERS + CELLS);
    return numbers.reduce((sum, own) => sum + own, 0) / SHARE;
  });
  fit.add(latents, { sample, partner, lambda });
  const bases = fit.solve();
  const kept = Math.min(NUMBERS, components);
  outer.fill(0, HIDDEN * components, (HIDDEN + NUMBERS) * components);
  for (let k = 0; k < kept; k++) {
    let squares = 1e-9;
    for (let at = k; at < bases.length; at += components) squares += bases[at] ** 2;
    const deviation = Math.sqrt(squares / samples);
    outer[(HIDDEN + k) * components + k] = deviation;
    for (let cell = 0; cell < samples * CELLS; cell++) {
      const base = bases[Math.floor(cell / CELLS) * components + k] ?? 0;
      embeddings[cell * NUMBERS + k] += base / deviation;
    }
  }
}
