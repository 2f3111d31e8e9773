import { SoftpackError, throwIfAborted } from '../../errors.js';
import type { Trellis } from '../../kernels/rans.js';
import type { CodecTraining, Pilot } from '../descriptor.js';
import { gaussianRate } from '../math/gaussian-rate.js';
import { unreachableRate, upwards } from '../size-search.js';
import type { PredictiveSized, TransformSized } from './choice.js';
import type { TransformCodec } from './codec.js';
import { RATE_UNIT } from './config.js';
import type { DrawnLabels } from './drawn-labels.js';
import { HeldOutLabels } from './held-out.js';
import { type Learnt, learnCodec, type Settings } from './learn.js';
import { type Trial, tryStep } from './pilot.js';
import { type Predictor, predictorsOf } from './predictors.js';

/** Halvings of the range of steps. */
const HALVINGS = 12;
/** Trials with the codec itself, each nearer to the rate than the last. */
const TRIALS = 6;
/** Share of a rate within which it counts as reached. */
const TOLERANCE = 0.01;
/** The same of a divergence. */
const KL_TRIALS = 10;
const KL_TOLERANCE = 0.03;
/** Steps of the largest coefficient that is known: some room below 2^15 for others. */
const MOST_STEPS = 16_000;

export interface Found {
  readonly codec: TransformCodec;
  readonly pilot: Pilot;
}

/** The codec of this choice: the largest within its rate, or the smallest within its divergence, if it has one. */
export async function searchCodec(
  choice: TransformSized | PredictiveSized,
  drawn: DrawnLabels,
  context: CodecTraining,
): Promise<Found> {
  const search = await Search.of(choice, drawn, context);
  if (choice.kl !== undefined) return search.forDivergence(choice.kl);
  const learnt =
    choice.rate === undefined ? search.learn(choice.step) : search.forRate(choice.rate);
  return search.measured(await learnt);
}

class Search {
  readonly #choice: TransformSized | PredictiveSized;
  readonly #drawn: DrawnLabels;
  readonly #context: CodecTraining;
  readonly #predictors: readonly Predictor[];
  readonly #heldOut: HeldOutLabels;

  private constructor(
    choice: TransformSized | PredictiveSized,
    drawn: DrawnLabels,
    context: CodecTraining,
    predictors: readonly Predictor[],
    heldOut: HeldOutLabels,
  ) {
    this.#choice = choice;
    this.#drawn = drawn;
    this.#context = context;
    this.#predictors = predictors;
    this.#heldOut = heldOut;
  }

  static async of(
    choice: TransformSized | PredictiveSized,
    drawn: DrawnLabels,
    context: CodecTraining,
  ): Promise<Search> {
    const predictors = await predictorsOf(choice, drawn, context);
    const heldOut = await HeldOutLabels.draw(context, choice.name === 'predictive');
    return new Search(choice, drawn, context, predictors, heldOut);
  }

  async measured({ codec, bits }: Learnt): Promise<Found & { readonly bits: number }> {
    const { kl, distortion } = await this.#heldOut.measure(codec);
    const { deviations, rest } = this.#drawn;
    const variances = Array.from(deviations, (deviation) => deviation ** 2);
    const gaussianBits = gaussianRate(variances, rest, distortion);
    const bitsPerLabel = bits / this.#context.labels;
    return { codec, bits, pilot: { bitsPerLabel, kl, distortion, gaussianBits } };
  }

  /** The codec of a step with the predictor that costs least. */
  learn(step: number): Promise<Learnt> {
    const trials = this.#predictors.map((own) => this.#try(step, own, this.#states));
    return this.#learn(leastOf(trials, ({ cost }) => cost));
  }

  async forRate(rate: number): Promise<Learnt> {
    const budget = rate * this.#context.labels;
    const found = this.#predictors.map((own) =>
      this.#stepFor(own, (trial) => trial.bits <= budget),
    );
    return this.#near(
      leastOf(found, ({ error }) => error),
      budget,
    );
  }

  /** The coarsest step whose labels diverge by no more than this, nearly. */
  async forDivergence(most: number): Promise<Found> {
    const [finest, coarsest] = [this.#finest, this.#steps()[1]];
    let [fine, coarse] = [finest, coarsest];
    let best: Found | undefined;
    let step = Math.max(this.#stepOfDivergence(most), finest);
    let least = Number.POSITIVE_INFINITY;
    let last: { readonly step: number; readonly excess: number } | undefined;
    // Errors grow about with the square of the step.
    let slope = 2;
    for (let i = 0; i < KL_TRIALS; i++) {
      throwIfAborted(this.#context.signal);
      // Where nothing else was near enough, the finest codec there is tells what can be reached.
      if (i === KL_TRIALS - 1 && best === undefined) step = finest;
      const found = await this.measured(await this.learn(step));
      const { kl } = found.pilot;
      least = Math.min(least, kl);
      if (kl <= most) {
        best?.codec.dispose();
        [best, fine] = [found, step];
      } else {
        found.codec.dispose();
        coarse = step;
      }
      if (kl <= most && (kl > (1 - KL_TOLERANCE) * most || step === coarsest)) break;
      if (kl > most && step === finest) break;
      const excess = Math.log(Math.max(kl, 1e-300) / ((1 - KL_TOLERANCE / 2) * most));
      if (last !== undefined && last.step !== step) {
        const own = (excess - last.excess) / Math.log(step / last.step);
        if (own > 0.2 && own < 4) slope = own;
      }
      last = { step, excess };
      step *= Math.exp(Math.min(Math.max(-excess / slope, -2), 2));
      if (!(step > fine && step < coarse)) step = Math.sqrt(fine * coarse);
    }
    if (best !== undefined) return best;
    throw new SoftpackError('INVALID_ARGUMENT', 'no step of this codec brings labels this near', {
      field: 'codec.kl',
      expected: `at least ${upwards(least)} nats`,
      found: most,
    });
  }

  get #states(): Trellis {
    return this.#choice.states ?? 4;
  }

  #try(step: number, candidate: Predictor, trellis: Trellis): OwnTrial {
    const { components } = this.#choice;
    const set = { ...this.#context, ...candidate.drawn };
    const trial = tryStep(set, candidate.pilot, step, trellis, candidate, components);
    return { ...trial, candidate };
  }

  #learn({ step, rank, candidate }: Tried): Promise<Learnt> {
    const { bases, network } = candidate;
    const settings: Settings = {
      ...{ name: this.#choice.name, components: rank, step, states: this.#states },
      ...(bases && { bases }),
      ...(network && { network }),
    };
    return learnCodec(candidate.drawn, settings, this.#context);
  }

  /** The finest step of a codec: indices of finer ones would not fit 16 bits, or tell of what float32 rounds. */
  get #finest(): number {
    return Math.max(this.#steps()[0], this.#drawn.largest / MOST_STEPS);
  }

  /** The finest and the coarsest step to try. */
  #steps(): readonly [number, number] {
    const { deviations, mean } = this.#drawn;
    const deviation = Math.max(...deviations, 1e-6);
    const size = mean.reduce((most, value) => Math.max(most, Math.abs(value)), deviation);
    return [deviation / 2000, size * 20];
  }

  /** The finest step whose labels fit, without a trellis, which is about as fine. */
  #stepFor(candidate: Predictor, fits: (trial: Trial) => boolean): OwnTrial {
    let [low, high] = this.#steps().map(Math.log);
    let best = this.#try(Math.exp(high), candidate, 1);
    for (let i = 0; i < HALVINGS; i++) {
      const middle = (low + high) / 2;
      const trial = this.#try(Math.exp(middle), candidate, 1);
      if (!fits(trial)) low = middle;
      else [high, best] = [middle, trial];
    }
    return best;
  }

  /** About the step of labels that diverge by this: an error e of centred logits makes |e|^2 / (2 classes tau^2) nats. */
  #stepOfDivergence(most: number): number {
    const { classes, tau, temperatures = [{ tau, share: 1 }] } = this.#context;
    const inverse = temperatures.reduce((sum, own) => sum + own.share / own.tau ** 2, 0);
    const errorAt = (trial: Trial) => ((trial.error + this.#drawn.rest) * inverse) / (2 * classes);
    let [low, high] = this.#steps().map(Math.log);
    for (let i = 0; i < HALVINGS; i++) {
      const middle = (low + high) / 2;
      const [simplest] = this.#predictors;
      if (errorAt(this.#try(Math.exp(middle), simplest, 1)) > most) high = middle;
      else low = middle;
    }
    return Math.exp(low);
  }

  /** The codec nearest below the budget, by the secant method on logarithms. */
  async #near(start: OwnTrial, budget: number): Promise<Learnt> {
    const finest = this.#finest;
    // Bits fall about as steps grow.
    let [slope, step] = [-1, Math.max(start.step, finest)];
    let best: Learnt | undefined;
    let last: { readonly step: number; readonly excess: number } | undefined;
    for (let i = 0; i < TRIALS; i++) {
      const { candidate } = start;
      const learnt = await this.#learn(this.#try(step, candidate, this.#states));
      const fits = learnt.bits <= budget;
      if (fits && learnt.bits > (best?.bits ?? -1)) {
        best?.codec.dispose();
        best = learnt;
      } else {
        learnt.codec.dispose();
      }
      if (fits && (learnt.bits > (1 - TOLERANCE) * budget || step === finest)) break;
      const excess = Math.log(learnt.bits / ((1 - TOLERANCE / 2) * budget));
      if (last !== undefined && last.step !== step) {
        const found = (excess - last.excess) / Math.log(step / last.step);
        if (found < -0.1 && found > -4) slope = found;
      }
      last = { step, excess };
      step = Math.max(finest, step * Math.exp(Math.min(Math.max(-excess / slope, -2), 2)));
    }
    if (best !== undefined) return best;
    const smallest = await this.#smallest();
    if (smallest.bits <= budget) return smallest;
    smallest.codec.dispose();
    const { labels } = this.#context;
    const rate = Math.ceil((RATE_UNIT * smallest.bits) / labels) / RATE_UNIT;
    throw unreachableRate(rate, budget / labels);
  }

  /** What any rate is enough for that is enough for any codec, nearly: labels that say next to nothing. */
  #smallest(): Promise<Learnt> {
    const { components: rank = 1 } = this.#choice;
    const [candidate] = this.#predictors;
    return this.#learn({ step: this.#steps()[1], rank, candidate });
  }
}

interface OwnTrial extends Trial {
  readonly candidate: Predictor;
}

type Tried = Pick<OwnTrial, 'step' | 'rank' | 'candidate'>;

function leastOf<Item>(items: readonly Item[], cost: (item: Item) => number): Item {
  return items.reduce((least, own) => (cost(own) < cost(least) ? own : least));
}
