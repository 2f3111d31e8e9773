import { MEMORY } from '../../core/allocate.js';
import { SoftpackError } from '../../errors.js';
import type { Trellis } from '../../kernels/rans.js';
import type { CodecTraining } from '../descriptor.js';
import { thinned } from '../training.js';
import { BaseFit, mixesOf } from './base-vectors.js';
import type { TransformSized } from './choice.js';
import { type DrawnLabels, projected, thinnedMixes } from './drawn-labels.js';
import { type Learnt, learnCodec, type Settings } from './learn.js';
import { type PilotLabels, type Trial, tryStep } from './pilot.js';
import { centreLogits } from './project.js';
import { baseStep, roundToUnits } from './quantiser.js';

/** Labels that steps are tried on. */
const PILOT_LABELS = 2048;
/** Halvings of the range of steps. */
const HALVINGS = 12;
/** Trials with the codec itself, each nearer to the rate than the last. */
const TRIALS = 6;
/** Share of a rate within which it counts as reached. */
const TOLERANCE = 0.01;
/** Bytes that fitting takes for each entry of a base vector. */
const FIT_BYTES = 48;
/** Labels saying zero that hold a base vector back. */
const RIDGE = 0.5;

/** The codec of this choice; the largest within its rate if it has one. */
export async function searchCodec(
  choice: TransformSized,
  drawn: DrawnLabels,
  context: CodecTraining,
): Promise<Learnt> {
  const search = await Search.of(choice, drawn, context);
  return choice.rate === undefined ? search.learn(choice.step) : search.forRate(choice.rate);
}

class Search {
  readonly #choice: TransformSized;
  readonly #drawn: DrawnLabels;
  readonly #context: CodecTraining;
  readonly #pilot: PilotLabels;
  /** [samples, rank]. */
  readonly #bases: Float64Array | undefined;

  private constructor(
    choice: TransformSized,
    drawn: DrawnLabels,
    context: CodecTraining,
    pilot: PilotLabels,
    bases: Float64Array | undefined,
  ) {
    this.#choice = choice;
    this.#drawn = drawn;
    this.#context = context;
    this.#pilot = pilot;
    this.#bases = bases;
  }

  static async of(
    choice: TransformSized,
    drawn: DrawnLabels,
    context: CodecTraining,
  ): Promise<Search> {
    const { classes, kernels } = context;
    const some = thinned(drawn.centred, PILOT_LABELS, classes);
    const latents = await projected(some, drawn.components, classes, kernels);
    const mixes = thinnedMixes(drawn, some.length / classes);
    const bases = choice.bases === false ? undefined : await fitBases(drawn, context);
    return new Search(choice, drawn, context, { latents, mixes, rank: drawn.rank }, bases);
  }

  /** The codec of a step, with or without base vectors, whichever costs less. */
  learn(step: number): Promise<Learnt> {
    const { bases } = this.#choice;
    const trials = (bases === undefined ? [false, true] : [bases]).map((own) =>
      this.#try(step, own, this.#states),
    );
    const [first, second = first] = trials;
    return this.#learn(second.cost < first.cost ? second : first);
  }

  async forRate(rate: number): Promise<Learnt> {
    const budget = rate * this.#context.labels;
    const { bases } = this.#choice;
    const found = (bases === undefined ? [false, true] : [bases]).map((own) =>
      this.#stepFor(budget, own),
    );
    const [first, second = first] = found;
    const start = second.error < first.error ? second : first;
    return this.#near(start, budget);
  }

  get #states(): Trellis {
    return this.#choice.states ?? 4;
  }

  #try(step: number, withBases: boolean, trellis: Trellis): Trial {
    const bases = withBases && this.#bases ? roundedBases(this.#bases, step) : undefined;
    const { components } = this.#choice;
    const set = { ...this.#context, ...this.#drawn };
    return tryStep(set, this.#pilot, step, trellis, bases, components);
  }

  #learn({ step, rank, bases }: Pick<Trial, 'step' | 'rank' | 'bases'>): Promise<Learnt> {
    const settings: Settings = {
      ...{ components: rank, step, states: this.#states },
      ...(bases && this.#bases !== undefined ? { bases: this.#bases } : {}),
    };
    return learnCodec(this.#drawn, settings, this.#context);
  }

  /** The finest step whose labels fit, without a trellis, which is about as fine. */
  #stepFor(budget: number, bases: boolean): Trial {
    const deviation = Math.max(...this.#drawn.deviations, 1e-6);
    let [low, high] = [Math.log(deviation / 2000), Math.log(deviation * 20)];
    let best = this.#try(Math.exp(high), bases, 1);
    for (let i = 0; i < HALVINGS; i++) {
      const middle = (low + high) / 2;
      const trial = this.#try(Math.exp(middle), bases, 1);
      if (trial.bits > budget) low = middle;
      else [high, best] = [middle, trial];
    }
    return best;
  }

  /** The codec nearest below the budget, by the secant method on logarithms. */
  async #near(start: Trial, budget: number): Promise<Learnt> {
    // Bits fall about as steps grow.
    let [slope, step] = [-1, start.step];
    let best: Learnt | undefined;
    let last: { readonly step: number; readonly excess: number } | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < TRIALS; i++) {
      const { rank } = this.#try(step, start.bases, this.#states);
      const learnt = await this.#learn({ step, rank, bases: start.bases });
      least = Math.min(least, learnt.bits);
      const fits = learnt.bits <= budget;
      if (fits && learnt.bits > (best?.bits ?? -1)) {
        best?.codec.dispose();
        best = learnt;
      } else {
        learnt.codec.dispose();
      }
      if (fits && learnt.bits > (1 - TOLERANCE) * budget) break;
      const excess = Math.log(learnt.bits / ((1 - TOLERANCE / 2) * budget));
      if (last !== undefined && last.step !== step) {
        const found = (excess - last.excess) / Math.log(step / last.step);
        if (found < -0.1 && found > -4) slope = found;
      }
      last = { step, excess };
      step *= Math.exp(Math.min(Math.max(-excess / slope, -2), 2));
    }
    if (best !== undefined) return best;
    throw new SoftpackError('INVALID_ARGUMENT', 'these labels take more bits, tensors included', {
      field: 'codec.rate',
      expected: `at least ${(least / this.#context.labels).toPrecision(3)} bits per label`,
      found: (budget / this.#context.labels).toPrecision(3),
    });
  }
}

/** Base vectors of least squares for all labels; absent where no sample has several, and where they take much memory. */
async function fitBases(
  drawn: DrawnLabels,
  context: CodecTraining,
): Promise<Float64Array | undefined> {
  const { classes, labels, tau, kernels } = context;
  if (labels < 2 * context.samples && !drawn.mixed) return undefined;
  if (FIT_BYTES * context.samples * drawn.rank > MEMORY / 4) return undefined;
  const fit = new BaseFit(drawn.rank);
  if (drawn.count === labels) {
    fit.add(await projected(drawn.centred, drawn.components, classes, kernels), drawn.mixes);
  } else {
    await context.scanLogits(async (logits, known) => {
      const centred = centreLogits(logits, classes, tau, kernels, { mean: drawn.mean });
      fit.add(await projected(centred, drawn.components, classes, kernels), mixesOf(known));
    });
  }
  return fit.solve(RIDGE);
}

function roundedBases(exact: Float64Array, step: number): Float32Array {
  const unit = baseStep(step);
  const values = Float32Array.from(exact);
  const indices = new Int16Array(values.length);
  roundToUnits(values, 1 / unit, indices);
  return Float32Array.from(indices, (index) => index * unit);
}
