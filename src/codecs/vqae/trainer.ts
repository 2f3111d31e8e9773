import { argument } from '../../core/check.js';
import { STREAM } from '../../core/philox.js';
import { RandomSequence } from '../../core/random.js';
import { errorCode, SoftpackError, throwIfAborted } from '../../errors.js';
import type { Kernels } from '../../kernels/types.js';
import type { TrainingCheckpoints } from '../checkpoints.js';
import { VqaeCodec } from './codec.js';
import { checkVqaeConfig, fewestLabels, segmentsOf, type VqaeConfig } from './config.js';
import { VqaeGradients, type VqaeLosses, type VqaeParameters } from './gradients.js';
import { INITIAL_LABELS, initialise } from './initialise.js';
import { checkVqaeTraining, type VqaeTrainingOptions } from './options.js';
import { VqaeState } from './state.js';

export interface VqaeProgress {
  readonly step: number;
  readonly steps: number;
  readonly stepsPerSecond: number;
  readonly secondsLeft: number;
  /** Losses of the last step, as shares of the labels' variance. */
  readonly losses: VqaeLosses;
}

export interface VqaeTraining {
  readonly codec: VqaeCodec;
  /** Losses as shares of the labels' variance, one entry per step. */
  readonly curve: readonly VqaeLosses[];
  /** Codewords revived over the whole run. */
  readonly revived: number;
  readonly stepsPerSecond: number;
}

export interface VqaeTrainingHooks {
  readonly onProgress?: (progress: VqaeProgress) => void;
  /** Resumed from, and kept every minute and when the signal is aborted: the codec is that of an undisturbed run. */
  readonly checkpoints?: TrainingCheckpoints;
  /** @internal Milliseconds. */
  readonly checkpointInterval?: number;
  readonly signal?: AbortSignal;
}

/** Milliseconds of training that a killed process loses at most. */
const CHECKPOINT_INTERVAL = 60_000;
/** Steps between checks for codewords that nothing chose since the last check; none in the last quarter. */
const REVIVE_EVERY = 50;

/**
 * Trains the paper's VQAE on soft labels (section 3.3): AdamW on P, D and the codebook, straight-through
 * gradients in closed form, cosine step size, dead codewords moved onto random segments.
 *
 * Inside, labels are centred and scaled to mean squared norm m; both fold into P, D and a bias of c floats
 * (labels sum to 1, so that (y - mean) P = y (P - 1 (mean P))), so the codes carry deviations alone.
 */
export class VqaeTrainer {
  readonly #config: VqaeConfig;
  readonly #kernels: Kernels;
  readonly #options: Required<VqaeTrainingOptions>;
  readonly #labels: Float32Array;
  readonly #count: number;
  readonly #mean: Float32Array;
  readonly #scale: number;
  readonly #random: RandomSequence;

  /** `labels`: probabilities [count, c] at the config's temperature; kept, not copied or changed. */
  constructor(
    config: VqaeConfig,
    labels: Float32Array,
    kernels: Kernels,
    options: VqaeTrainingOptions = {},
  ) {
    this.#config = checkVqaeConfig(config);
    checkVqaeTraining(options, argument);
    this.#kernels = kernels;
    this.#labels = labels;
    this.#count = labels.length / config.classes;
    this.#options = {
      steps: options.steps ?? 1000,
      batch: Math.min(options.batch ?? 512, Math.max(this.#count, 1)),
      learningRate: options.learningRate ?? 0.03,
      weightDecay: options.weightDecay ?? 0,
      alpha: options.alpha ?? 1,
      beta: options.beta ?? 0.25,
      initialisation: options.initialisation ?? 'principal',
      seed: options.seed ?? 0,
      threads: options.threads ?? 0,
    };
    checkEnough(config, this.#count);
    this.#random = new RandomSequence(this.#options.seed, STREAM.codec);
    this.#mean = meanLabel(labels, config.classes);
    const variance = varianceOf(labels, this.#mean);
    // Equal labels leave nothing to code; any scale will do.
    this.#scale = variance > 0 ? Math.sqrt(segmentsOf(config) / variance) : 1;
  }

  async train(hooks: VqaeTrainingHooks = {}): Promise<VqaeTraining> {
    const { steps } = this.#options;
    const { checkpoints, checkpointInterval = CHECKPOINT_INTERVAL, signal } = hooks;
    const state = this.#resume(checkpoints) ?? (await this.#start());
    const gradients = this.#gradients();
    const labels = new Float32Array(this.#options.batch * this.#config.classes);
    const first = state.curve.length;
    const start = performance.now();
    let kept = { step: first, at: start };
    for (let step = first; step < steps; step++) {
      const now = performance.now();
      const due = signal?.aborted || now - kept.at >= checkpointInterval;
      if (due && step > kept.step) {
        await checkpoints?.keep(state.tensors(this.#random.drawn));
        kept = { step, at: now };
      }
      throwIfAborted(signal);
      await this.#step(state, gradients, labels);
      const stepsPerSecond = ((step + 1 - first) * 1000) / (performance.now() - start);
      hooks.onProgress?.({
        step: step + 1,
        steps,
        stepsPerSecond,
        secondsLeft: (steps - step - 1) / stepsPerSecond,
        losses: state.curve[step],
      });
    }
    const stepsPerSecond = ((steps - first) * 1000) / (performance.now() - start);
    const { curve, revived } = state;
    return { codec: this.#finish(state.parameters), curve, revived, stepsPerSecond };
  }

  async #step(state: VqaeState, gradients: VqaeGradients, labels: Float32Array): Promise<void> {
    const { steps, alpha, beta, learningRate } = this.#options;
    const { parameters, usage, curve } = state;
    const step = curve.length;
    this.#drawBatch(labels);
    const losses = await gradients.decoderPass(parameters, labels, { alpha, beta });
    const rate = 0.5 * learningRate * (1 + Math.cos((Math.PI * step) / steps));
    const encoderPass = gradients.encoderPass(labels);
    state.update('decoder', gradients, rate);
    state.update('codebook', gradients, rate);
    await encoderPass;
    state.update('projection', gradients, rate);
    for (const code of gradients.codes) usage[code]++;
    if ((step + 1) % REVIVE_EVERY === 0) {
      if (step < 0.75 * steps) {
        state.revived += this.#revive(parameters.codebook, gradients.latent, usage);
      }
      usage.fill(0);
    }
    const m = segmentsOf(this.#config);
    curve.push({
      reconstruction: losses.reconstruction / m,
      quantisation: losses.quantisation / m,
    });
  }

  #gradients(): VqaeGradients {
    const { batch, threads } = this.#options;
    return new VqaeGradients(this.#config, batch, this.#kernels, threads);
  }

  async #start(): Promise<VqaeState> {
    const parameters = await this.#initialise();
    return VqaeState.start(parameters, this.#config, this.#options.weightDecay);
  }

  /** `undefined` if nothing was kept, or nothing that fits. */
  #resume({ last }: Partial<TrainingCheckpoints> = {}): VqaeState | undefined {
    if (last === undefined) return undefined;
    try {
      const { state, words } = VqaeState.from(last, this.#config, this.#options.weightDecay);
      if (state.curve.length > this.#options.steps) return undefined;
      this.#random.skipTo(words);
      return state;
    } catch (error) {
      if (errorCode(error) === 'INVALID_FILE') return undefined;
      throw error;
    }
  }

  async #initialise(): Promise<VqaeParameters> {
    const { classes } = this.#config;
    const rows = this.#random.distinct(Math.min(this.#count, INITIAL_LABELS), this.#count);
    const sample = new Float32Array(rows.length * classes);
    this.#gather(rows, sample);
    const kind = this.#options.initialisation;
    return initialise(kind, sample, this.#config, this.#kernels, this.#random);
  }

  #drawBatch(out: Float32Array): void {
    const rows = new Uint32Array(out.length / this.#config.classes);
    for (let i = 0; i < rows.length; i++) rows[i] = this.#random.below(this.#count);
    this.#gather(rows, out);
  }

  /** Centred, scaled labels of the given rows. */
  #gather(rows: Uint32Array, out: Float32Array): void {
    const { classes } = this.#config;
    const mean = this.#mean;
    const scale = this.#scale;
    for (const [i, row] of rows.entries()) {
      const from = row * classes;
      const to = i * classes;
      for (let j = 0; j < classes; j++) out[to + j] = scale * (this.#labels[from + j] - mean[j]);
    }
  }

  /** Moves codewords without a member since the last check onto random latent segments; returns how many. */
  #revive(codebook: Float32Array, latent: Float32Array, usage: Uint32Array): number {
    const { dc } = this.#config;
    let revived = 0;
    for (const [code, members] of usage.entries()) {
      if (members > 0) continue;
      const from = this.#random.below(latent.length / dc) * dc;
      codebook.set(latent.subarray(from, from + dc), code * dc);
      revived++;
    }
    return revived;
  }

  /** Folds centring and scale into P and D. */
  #finish({ projection, decoder, codebook }: VqaeParameters): VqaeCodec {
    const { classes, dh } = this.#config;
    const offset = new Float64Array(dh);
    for (let i = 0; i < classes; i++) {
      for (let j = 0; j < dh; j++) offset[j] += this.#mean[i] * projection[i * dh + j];
    }
    const folded = new Float32Array(projection.length);
    for (let i = 0; i < classes; i++) {
      for (let j = 0; j < dh; j++) {
        folded[i * dh + j] = this.#scale * (projection[i * dh + j] - offset[j]);
      }
    }
    return new VqaeCodec(
      this.#config,
      {
        projection: folded,
        decoder: decoder.map((value) => value / this.#scale),
        codebook: codebook.slice(),
        bias: this.#mean.slice(),
      },
      this.#kernels,
    );
  }
}

function checkEnough(config: VqaeConfig, count: number): void {
  const needed = fewestLabels(config);
  if (Number.isInteger(count) && count >= needed) return;
  throw new SoftpackError('TOO_FEW_LABELS', `cannot train a codebook of ${config.k} codewords`, {
    field: 'labels',
    expected: `at least ${needed} rows of ${config.classes} probabilities`,
    found: count,
  });
}

function meanLabel(labels: Float32Array, classes: number): Float32Array {
  const sums = new Float64Array(classes);
  for (let at = 0; at < labels.length; at += classes) {
    for (let j = 0; j < classes; j++) sums[j] += labels[at + j];
  }
  return Float32Array.from(sums, (sum) => (sum * classes) / labels.length);
}

/** Mean over labels of ||y - mean||^2. */
function varianceOf(labels: Float32Array, mean: Float32Array): number {
  const classes = mean.length;
  let sum = 0;
  for (let at = 0; at < labels.length; at += classes) {
    for (let j = 0; j < classes; j++) sum += (labels[at + j] - mean[j]) ** 2;
  }
  return (sum * classes) / labels.length;
}
