import { requireMemory } from '../../../core/allocate.js';
import { STREAM } from '../../../core/philox.js';
import { RandomSequence } from '../../../core/random.js';
import type { Kernels } from '../../../kernels/types.js';
import type { CodecTraining } from '../../descriptor.js';
import { BaseFit } from '../base-vectors.js';
import { type DrawnLabels, joinPieces, projected } from '../drawn-labels.js';
import { joinMixes, type Mixes, mixesOf, pickMixes } from '../mixes.js';
import { centreLogits } from '../project.js';
import type { Turn } from '../turn.js';
import { Network } from './network.js';
import { type FloatNetwork, trainNetwork } from './train.js';
import { viewNumbers } from './views.js';

/** Passes through all labels, fewer where these are many. */
const PASSES = 24;
const FEWEST_PASSES = 4;
const SEEN_LABELS = 2 ** 23;
/** Error of a component that codes leave, about, in mean squares of whole labels: less need not be predicted. */
const FLOOR = 2e-4;
/** Largest deviation that float16 holds. */
const LARGEST = 60_000;
/** Bytes that a label takes besides its latents, of which there are two copies. */
const MIX_BYTES = 160;
/** Of all labels that are learnt from, the same on every machine: 2.8 million labels of 170 components. */
const MOST_BYTES = 4 * 2 ** 30;

/** A network, and base vectors of what it leaves over. */
export interface LearntPredictor {
  readonly network: LearntNetwork;
  /** [samples, rank]. */
  readonly bases: Float64Array;
}

/** Weights before they are rounded. */
export class LearntNetwork {
  readonly #weights: FloatNetwork;
  readonly #deviations: Float64Array;

  constructor(weights: FloatNetwork, deviations: Float64Array) {
    this.#weights = weights;
    this.#deviations = deviations;
  }

  /** Of the components of a turned basis, whose deviations are given. */
  async turned(turn: Turn, deviations: Float64Array): Promise<LearntNetwork> {
    const { outer } = this.#weights;
    const [from, rank] = [this.#deviations, deviations.length];
    const to = deviations.map((deviation) => Math.max(deviation, 1e-9));
    const vectors = await turn.vectors(outer.map((weight, i) => weight * from[i % rank]));
    const own = vectors.map((value, i) => value / to[i % rank]);
    return new LearntNetwork({ ...this.#weights, outer: own }, to);
  }

  /** Of so many components. */
  rounded(components: number, kernels: Kernels): Network {
    return Network.rounded(this.#weights, this.#deviations, components, kernels);
  }
}

/**
 * Learns from all labels that will be stored, or a draw of as many as {@link MOST_BYTES} hold; `undefined` where there is
 * no record of what views show, or one label per image.
 */
export async function learnPredictor(
  drawn: DrawnLabels,
  context: CodecTraining,
  seed: number,
): Promise<LearntPredictor | undefined> {
  const { kernels, signal } = context;
  const { rank } = drawn;
  const deviations = drawn.deviations.map((deviation) => Math.max(deviation, 1e-9));
  if (drawn.mixes.places === undefined || context.labels < 2 * context.samples) return undefined;
  if (deviations.some((deviation) => deviation > LARGEST)) return undefined;
  const { latents, mixes, samples } = await readAll(drawn, context, seed);
  const { places, sample, partner, lambda } = mixes;
  if (places === undefined) return undefined;
  const energy = deviations.reduce((sum, deviation) => sum + deviation ** 2, drawn.rest);
  const labels = {
    ...{ count: sample.length, samples, sample, partner, components: rank },
    views: viewNumbers(places, lambda),
    latents: latents.map((value, i) => value / deviations[i % rank]),
    floors: deviations.map((deviation) => (FLOOR * energy) / deviation ** 2),
  };
  const fitting = Math.floor(SEEN_LABELS / labels.count);
  const passes = Math.min(PASSES, Math.max(FEWEST_PASSES, fitting));
  const weights = await trainNetwork(labels, passes, kernels, { seed, signal });
  const network = new LearntNetwork(weights, deviations);
  network.rounded(rank, kernels).addTo(latents, rank, mixes, -1);
  const fit = new BaseFit(rank);
  fit.add(latents, mixes);
  const bases = new Float64Array(samples * rank);
  bases.set(fit.solve());
  return { network, bases };
}

interface ReadLabels {
  /** [labels, rank]. */
  readonly latents: Float32Array;
  readonly mixes: Mixes;
  /** One more than the largest id: rows may be batches of other samples. */
  readonly samples: number;
}

async function readAll(
  drawn: DrawnLabels,
  { labels, classes, tau, kernels, scanLogits }: CodecTraining,
  seed: number,
): Promise<ReadLabels> {
  const { rank, components } = drawn;
  if (drawn.count === labels) {
    const latents = await projected(drawn.centred, components, classes, kernels);
    return { latents, mixes: drawn.mixes, samples: samplesIn(drawn.mixes, 0) };
  }
  const bytes = labels * (8 * rank + MIX_BYTES);
  requireMemory(Math.min(bytes, MOST_BYTES), 'predictive (network: false does without)');
  const share = MOST_BYTES / bytes;
  const random = new RandomSequence(seed, STREAM.codec, 4);
  const pieces: Float32Array[] = [];
  const mixes: Mixes[] = [];
  let samples = 0;
  await scanLogits(async (logits, known) => {
    const centred = centreLogits(logits, classes, tau, kernels, { mean: drawn.mean });
    const latents = await projected(centred, components, classes, kernels);
    const own = mixesOf(known, true);
    samples = samplesIn(own, samples);
    if (share >= 1) {
      pieces.push(latents);
      mixes.push(own);
      return;
    }
    const all = Uint32Array.from({ length: own.sample.length }, (_, i) => i);
    const chosen = all.filter(() => random.uniform() < share);
    const kept = new Float32Array(chosen.length * rank);
    for (const [i, at] of chosen.entries()) {
      kept.set(latents.subarray(at * rank, (at + 1) * rank), i * rank);
    }
    pieces.push(kept);
    mixes.push(pickMixes(own, chosen));
  });
  return { latents: joinPieces(pieces), mixes: joinMixes(mixes), samples };
}

function samplesIn({ sample, partner }: Mixes, least: number): number {
  const most = (count: number, id: number) => Math.max(count, id + 1);
  return partner.reduce(most, sample.reduce(most, least));
}
