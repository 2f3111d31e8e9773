import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openArchive } from '#src/archive/archive.js';
import { CODECS } from '#src/codecs/registry.js';
import { loadKernels } from '#src/kernels/load.js';
import type { LabelSource } from '#src/labels/source.js';
import { archiveSource } from '#src/pipeline/archive-source.js';
import { type PackResult, packLogits } from '#src/pipeline/pack.js';
import { fullLabels, type LabelSet, labelParameters, type Setting } from './labels.js';
import type { Method } from './methods.js';
import type { Scale } from './recipe.js';

export type PackStep = Pick<PackResult, 'codec' | 'bytes' | 'ratio' | 'divergence'> & {
  readonly archive: string;
};

/** A choice as part of a step's key, without typed arrays, which depend on the set alone. */
export function keyOf(codec: Method['codec']): object {
  const plain = Object.entries(codec).filter(([, value]) => !ArrayBuffer.isView(value));
  // Steps of an earlier codec's archives are not this one's.
  const { revision } = CODECS.of(codec);
  return { ...Object.fromEntries(plain), ...(revision !== undefined && { revision }) };
}

/** Training steps of the codec. */
export function codecSteps(codec: Method['codec'], scale: Scale): number {
  return CODECS.of(codec).steps ? scale.codecSteps : 0;
}

/** The archive of a set's labels by one method, made if it is not there. */
export async function pack(method: Method, set: LabelSet, setting: Setting): Promise<PackStep> {
  const { plainBasisWithin: budget } = method;
  const packed = await packAsItIs(method, set, setting);
  if (budget === undefined) return packed;
  // What the basis would take more is left free: a little too much, for fewer components then fit.
  const free = await plainBasisExcess(packed.archive);
  const totalRatio = (packed.ratio.total * packed.bytes.total) / (budget - free);
  const codec = { ...method.codec, totalRatio };
  const smaller = await packAsItIs({ ...method, codec }, set, setting);
  const excess = await plainBasisExcess(smaller.archive);
  const total = smaller.bytes.total + excess;
  const ratio = (smaller.ratio.total * smaller.bytes.total) / total;
  return {
    ...smaller,
    bytes: { ...smaller.bytes, codec: smaller.bytes.codec + excess, total },
    ratio: { ...smaller.ratio, total: ratio },
  };
}

/** Bytes that mean and components take at 8 bits an entry, less those that they take. */
async function plainBasisExcess(folder: string): Promise<number> {
  await using archive = await openArchive(folder);
  const [steps, basis] = ['steps', 'basis'].map(
    (name) => archive.codecParts.tensors.get(name)?.data.length ?? 0,
  );
  return (steps / 2) * archive.classes - basis;
}

async function packAsItIs(method: Method, set: LabelSet, setting: Setting): Promise<PackStep> {
  const { workspace, scale, signal, onProgress } = setting;
  const { codec, prune, keep, shuffled, filter } = method;
  const labels = labelParameters(set, setting);
  const steps = codecSteps(codec, scale);
  const parameters = {
    ...{ labels, codec: keyOf(codec), prune, shuffled, steps },
    ...{ tau: method.tau, filter, keep },
  };
  const out = join(workspace.dir, 'archives', workspace.key('pack', parameters));
  const result = await workspace.step('pack', parameters, async () => {
    await rm(out, { recursive: true, force: true });
    await using full = await openArchive(await fullLabels(set, setting));
    const source = archiveSource(full, loadKernels());
    const { augmentation } = full.manifest;
    const tau = method.tau ?? full.manifest.tau;
    const { classes } = full;
    const targets = Uint32Array.from({ length: full.samples }, (_, i) => i % classes);
    const packed = await packLogits({
      source: shuffled ? shuffledSource(source) : source,
      labels: 'logits',
      out,
      codec,
      prune,
      keep,
      tau,
      filter: filter && { name: filter, targets },
      augmentation,
      training: { steps: scale.codecSteps },
      signal,
      onProgress: ({ phase, done, total }) =>
        onProgress(`${method.name}: ${phase} ${done}/${total}`),
    });
    await source.close();
    return {
      codec: packed.codec,
      bytes: packed.bytes,
      ratio: packed.ratio,
      divergence: packed.divergence,
    };
  });
  return { ...result, archive: out };
}

/** Every label is that of another sample, the same one in all epochs. */
function shuffledSource(source: LabelSource): LabelSource {
  const { samples, classes } = source;
  // A step that shares no factor with the number of samples visits each once.
  let step = Math.floor(samples * 0.618);
  while (gcd(step, samples) > 1) step++;
  return {
    ...source,
    async read(epoch, start, count) {
      const out = new Float32Array(count * classes);
      for (let i = 0; i < count; i++) {
        const from = ((start + i) * step + 1) % samples;
        out.set(await source.read(epoch, from, 1), i * classes);
      }
      return out;
    },
  };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
