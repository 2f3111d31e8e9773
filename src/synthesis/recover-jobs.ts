import { argument } from '../core/check.js';
import { below, CounterRng, STREAM } from '../core/philox.js';
import type { DifferentiableNetwork } from '../nn/network.js';
import { fileSha256 } from '../nn/teachers/fingerprint.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { type Drawn, judge, type Synthesiser } from './distilled.js';
import { statisticsFor } from './held-statistics.js';
import type { Losses } from './losses.js';
import type { SynthesisRequest } from './options.js';
import { toPixels } from './patches.js';
import { type RecoverMethod, type RecoverRecipe, recoverRecipe } from './recipe.js';
import { type RecoverJob, recover } from './recover.js';

/** Order of classes as a "sample" of the stream of their noise. */
const CLASS_ORDER = 0xffffffff;

export interface RecoverInputs {
  readonly teacher: Teacher;
  readonly network: DifferentiableNetwork;
  /** First class and the one after the last. */
  readonly range: readonly [number, number];
}

/**
 * SRe2L, CDA and LPLD as jobs of up to `batch` images, which share views. Classes come in random order: neighbours in a list are often
 * alike, and their statistics are not those of all.
 *
 * @throws `INVALID_ARGUMENT` with the numbers if there are no statistics to hold images to.
 */
export async function recoverSynthesiser(
  { teacher, network, range }: RecoverInputs,
  method: RecoverMethod,
  options: SynthesisRequest,
): Promise<Synthesiser> {
  requireRecoverOptions(options, Math.min(...teacher.size));
  const { ipc, seed = 0, batch = 100, signal, statistics: file } = options;
  const { size, normalisation } = teacher;
  const recipe = recoverRecipe(method, Math.min(...size), options);
  const { batches } = recipe;
  const statistics = await statisticsFor({ teacher, network, range, batches, file });
  const plan = jobsOf(shuffled(range, seed), ipc, batch, batches);
  return {
    jobs: plan.map(({ images }) => images.length),
    settings: {
      ...{ ipc, seed, batch, ...recipe },
      ...(file === undefined ? {} : { statistics: await fileSha256(file) }),
    },
    async make(job, onStep) {
      const { targets, images } = plan[job];
      const onIteration = (step: Losses & { readonly iteration: number }) =>
        onStep({ job, ...step, iterations: recipe.iterations, bnWeight: recipe.bnWeight });
      const context = { network, size, normalisation, recipe, seed, signal, onIteration };
      const held = { groups: targets.length, statistics: statistics(targets) };
      const made = await recover(context, { job, images, ...held });
      const stride = size[0] * size[1] * 3;
      const drawn = images.map((image, i): Drawn => {
        const values = made.images.subarray(i * stride, (i + 1) * stride);
        return { ...image, pixels: toPixels(values, normalisation) };
      });
      const [bnOfNoise, bn] = made.wholeBn;
      return {
        images: await judge(teacher, batch, drawn),
        facts: {
          iterations: recipe.iterations,
          ...{ first: { ...made.first }, last: { ...made.last }, whole: { bnOfNoise, bn } },
        },
      };
    },
  };
}

function requireRecoverOptions(options: SynthesisRequest, side: number): void {
  const { ipc, seed = 0, batch = 100, iterations, lr, bnWeight } = options;
  const { firstBn, minCrop, curriculum, jitter } = options;
  argument.count(ipc, 'ipc', 1, 99_999);
  argument.count(seed, 'seed', 0);
  argument.count(batch, 'batch', 1, 2 ** 16);
  if (iterations !== undefined) argument.count(iterations, 'iterations', 1);
  if (lr !== undefined) argument.positive(lr, 'lr');
  if (bnWeight !== undefined) argument.number(bnWeight, 'bnWeight', 0, 1e6);
  if (firstBn !== undefined) argument.number(firstBn, 'firstBn', 0, 1e6);
  if (minCrop !== undefined) argument.number(minCrop, 'minCrop', 0.001, 1);
  if (curriculum !== undefined) argument.number(curriculum, 'curriculum', 0, 1);
  if (jitter !== undefined) argument.count(jitter, 'jitter', 0, side - 1);
}

interface PlannedJob extends Pick<RecoverJob, 'images'> {
  /** Classes whose statistics are held to, a group of images each; one for batches across classes. */
  readonly targets: readonly number[];
}

/** Parts of equal size: statistics of a few images are far from those of all. */
function jobsOf(
  order: readonly number[],
  ipc: number,
  batch: number,
  batches: RecoverRecipe['batches'],
): readonly PlannedJob[] {
  const indices = Array.from({ length: ipc }, (_, index) => index);
  if (batches === 'across classes') {
    return indices.flatMap((index) =>
      equalParts(order, batch).map((targets) => ({
        targets: targets.slice(0, 1),
        images: targets.map((target) => ({ target, index })),
      })),
    );
  }
  return equalParts(order, Math.max(1, Math.floor(batch / ipc))).map((targets) => ({
    targets,
    images: targets.flatMap((target) => indices.map((index) => ({ target, index }))),
  }));
}

function equalParts(order: readonly number[], most: number): readonly (readonly number[])[] {
  const parts = Math.ceil(order.length / most);
  const edge = (k: number) => Math.floor((k * order.length) / parts);
  return Array.from({ length: parts }, (_, k) => order.slice(edge(k), edge(k + 1)));
}

function shuffled([from, end]: readonly [number, number], seed: number): readonly number[] {
  const order = Array.from({ length: end - from }, (_, i) => from + i);
  const rng = new CounterRng(seed);
  for (let i = order.length - 1; i > 0; i--) {
    const j = below(rng.words(CLASS_ORDER, 0, STREAM.synthesis, i)[0], i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
