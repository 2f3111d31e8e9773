import { argument } from '../core/check.js';
import { below, CounterRng, STREAM } from '../core/philox.js';
import { SoftpackError } from '../errors.js';
import type { ConvNet } from '../nn/convnet.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { loadConvNet } from '../nn/weights.js';
import { type Drawn, judge, type Synthesiser } from './distilled.js';
import type { SynthesiseOptions } from './options.js';
import { toPixels } from './patches.js';
import { type RecoverMethod, recoverRecipe } from './recipe.js';
import { type Losses, recover } from './recover.js';

/** The teacher as a network with gradients. @throws `UNSUPPORTED` for kinds without them. */
export async function differentiableTeacher(
  path: string,
  { fingerprint }: Teacher,
): Promise<ConvNet> {
  if (fingerprint.kind === 'convnet') return (await loadConvNet(path)).model;
  throw new SoftpackError(
    'UNSUPPORTED',
    'this kind of teacher has no gradients here; rded needs none',
    {
      field: `teacher: ${path}`,
      expected: 'a .safetensors file of saveConvNet',
      found: fingerprint.kind,
    },
  );
}

/** Order of classes as a "sample" of the stream of their noise. */
const CLASS_ORDER = 0xffffffff;

/**
 * SRe2L and CDA as jobs of one image each of up to `batch` classes, which share views and statistics. Classes come in random
 * order: neighbours in a list are often alike, and their statistics are not those of all.
 */
export function recoverSynthesiser(
  teacher: Teacher,
  network: ConvNet,
  method: RecoverMethod,
  [from, end]: readonly [number, number],
  options: SynthesiseOptions,
): Synthesiser {
  const { ipc, seed = 0, batch = 100, signal } = options;
  argument.count(ipc, 'ipc', 1, 99_999);
  argument.count(seed, 'seed', 0);
  argument.count(batch, 'batch', 1, 2 ** 16);
  if (options.iterations !== undefined) argument.count(options.iterations, 'iterations', 1);
  if (options.lr !== undefined) argument.positive(options.lr, 'lr');
  if (options.bnWeight !== undefined) argument.number(options.bnWeight, 'bnWeight', 0, 1e6);
  const recipe = recoverRecipe(method, network.inputSize, options);
  const order = shuffled(from, end, seed);
  const perIndex = Math.ceil(order.length / batch);
  return {
    jobs: perIndex * ipc,
    settings: { ipc, seed, batch, ...recipe },
    async make(job, onStep) {
      const index = Math.floor(job / perIndex);
      const at = job % perIndex;
      // Parts of equal size: statistics of a few images are far from those of all.
      const [start, stop] = [at, at + 1].map((k) => Math.floor((k * order.length) / perIndex));
      const targets = order.slice(start, stop);
      const { normalisation } = teacher;
      const onIteration = (step: Losses & { readonly iteration: number }) =>
        onStep({ job, iterations: recipe.iterations, ...step });
      const context = { network, normalisation, recipe, seed, signal, onIteration };
      const { images, first, last } = await recover(context, { job, targets, index });
      const stride = network.inputSize ** 2 * 3;
      const drawn = targets.map((target, i): Drawn => {
        const values = images.subarray(i * stride, (i + 1) * stride);
        return { target, index, pixels: toPixels(values, normalisation) };
      });
      return {
        images: await judge(teacher, batch, drawn),
        facts: { iterations: recipe.iterations, first: { ...first }, last: { ...last } },
      };
    },
  };
}

function shuffled(from: number, end: number, seed: number): readonly number[] {
  const order = Array.from({ length: end - from }, (_, i) => from + i);
  const rng = new CounterRng(seed);
  for (let i = order.length - 1; i > 0; i--) {
    const j = below(rng.words(CLASS_ORDER, 0, STREAM.synthesis, i)[0], i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
