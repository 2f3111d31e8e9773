import {
  appendFile,
  copyFile,
  mkdir,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type LabelSource, memoryLabelSource } from '#src/labels/source.js';
import { packLogits } from '#src/pipeline/pack.js';
import type { PackOptions } from '#src/pipeline/pack-options.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

const shape = { epochs: 5, samples: 64, classes: 20 };
const source = memoryLabelSource(syntheticLogits(320, 20), shape);
const temporary = await temporaryDirectory();

const augmentation = {
  ...{ generator: 'philox4x32-10', seed: 3, size: [8, 8], flip: 0.5 },
  crop: { scale: [0.5, 1], ratio: [0.75, 1.333] },
  mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
} as const;

/** The source, and the epochs that were read from it. */
function counted() {
  const epochs: number[] = [];
  const counting: LabelSource = {
    ...source,
    read(epoch, start, count) {
      epochs.push(epoch);
      return source.read(epoch, start, count);
    },
  };
  return { source: counting, epochs };
}

function pack(name: string, change: Partial<PackOptions> = {}) {
  const training = { steps: 30, batch: 64 };
  const codec = { dh: 20, dc: 5, k: 8 };
  return packLogits({ source, out: temporary.path(name), codec, training, ...change });
}

/** Packs until `rows` rows are written. */
async function interrupt(name: string, rows: number, change: Partial<PackOptions> = {}) {
  const controller = new AbortController();
  const last = rows * (change.prune === undefined ? shape.samples : change.prune.batchSize);
  const call = pack(name, {
    ...change,
    signal: controller.signal,
    onProgress: ({ phase, done }) => phase === 'encode' && done === last && controller.abort(),
  });
  await expect(call).rejects.toMatchObject({ code: 'ABORTED' });
}

const TRAINING = 'unfinished-pack.training.safetensors';

/** Packs until `last` steps are trained. */
async function trainUntil(name: string, last: number, change: Partial<PackOptions> = {}) {
  const controller = new AbortController();
  let first: number | undefined;
  const call = pack(name, {
    ...change,
    signal: controller.signal,
    onProgress: ({ phase, done }) => {
      if (phase !== 'train') return;
      first ??= done;
      if (done === last) controller.abort();
    },
  });
  await expect(call).rejects.toMatchObject({ code: 'ABORTED' });
  return { first };
}

async function filesOf(name: string): Promise<Map<string, Buffer>> {
  const directory = temporary.path(name);
  const names = (await readdir(directory)).sort();
  const read = async (file: string) => [file, await readFile(join(directory, file))] as const;
  return new Map(await Promise.all(names.map(read)));
}

describe('an interrupted pack', () => {
  test.each<[string, Partial<PackOptions>]>([
    ['vqae', {}],
    ['vqae of a ratio', { codec: { ratio: 8 } }],
    ['none', { codec: { name: 'none' } }],
    ['topk', { codec: { name: 'topk', k: 3 } }],
    ['pca', { codec: { name: 'pca', k: 3 } }],
    ['rpca', { codec: { name: 'rpca', k: 3 } }],
    ['scalar', { codec: { name: 'scalar', levels: 4 } }],
    ['vq', { codec: { name: 'vq', dc: 5, k: 8 } }],
    [
      'mean',
      { codec: { name: 'mean', groups: Uint32Array.from({ length: 64 }, (_, i) => i % 9) } },
    ],
    ['transform', { codec: { name: 'transform', step: 1 } }],
    ['transform of a rate, mixed', { codec: { name: 'transform', rate: 60 }, augmentation }],
    [
      'pruned transform',
      {
        ...{ codec: { name: 'transform', step: 1, bases: true }, augmentation },
        prune: { ratio: 2, batchSize: 16 },
      },
    ],
    ['predictive', { codec: { name: 'predictive', step: 1, network: true }, augmentation }],
    ['pruned pca', { codec: { name: 'pca', k: 3 }, prune: { ratio: 2, batchSize: 16 } }],
  ])(
    '%s goes on at its next row, without reading, training or encoding again',
    async (name, change) => {
      const whole = await pack(`${name}, whole`, change);
      await interrupt(name, 1, change);
      await interrupt(name, 3, change);
      const { source, epochs } = counted();
      const phases = new Set<string>();
      const onProgress: PackOptions['onProgress'] = ({ phase }) => phases.add(phase);
      const resumed = await pack(name, { ...change, source, onProgress });
      expect([...phases]).toEqual(['encode']);
      if (change.prune === undefined) expect([...new Set(epochs)]).toEqual([3, 4]);
      expect(resumed.divergence).toEqual(whole.divergence);
      expect(resumed.training?.curve).toEqual(whole.training?.curve);
      expect(await filesOf(name)).toEqual(await filesOf(`${name}, whole`));
    },
  );

  test('resumes its training, at the bytes of an undisturbed run', async () => {
    const whole = await pack('trained at once');
    const steps: number[] = [];
    for (const stop of [1, 2, 17, 29]) {
      const stopped = await trainUntil('trained in parts', stop);
      expect(stopped.first).toBe((steps.at(-1) ?? 0) + 1);
      steps.push(stop);
      expect([...(await filesOf('trained in parts')).keys()]).toEqual([TRAINING]);
    }
    const resumed = await pack('trained in parts');
    expect(resumed.training?.curve).toEqual(whole.training?.curve);
    expect(resumed.divergence).toEqual(whole.divergence);
    expect(await filesOf('trained in parts')).toEqual(await filesOf('trained at once'));
  });

  test('trains from scratch for another request, or if the state of its training is damaged', async () => {
    await pack('trained whole');
    await trainUntil('trained otherwise', 9, { training: { steps: 30, batch: 64, seed: 5 } });
    expect((await trainUntil('trained otherwise', 3)).first).toBe(1);
    const path = temporary.path(`trained otherwise/${TRAINING}`);
    const bytes = await readFile(path);
    bytes[bytes.length - 300] ^= 1;
    await writeFile(path, bytes);
    expect((await trainUntil('trained otherwise', 3)).first).toBe(1);
    await pack('trained otherwise');
    expect(await filesOf('trained otherwise')).toEqual(await filesOf('trained whole'));
  });

  test('measures its rows again if what was measured is lost', async () => {
    const whole = await pack('measured');
    await interrupt('forgotten', 2);
    await rm(temporary.path('forgotten/unfinished-pack.jsonl'));
    expect((await pack('forgotten')).divergence).toEqual(whole.divergence);
    await interrupt('torn', 2);
    await appendFile(temporary.path('torn/unfinished-pack.jsonl'), '{"epoch":1,"sums":[1,2');
    expect((await pack('torn')).divergence).toEqual(whole.divergence);
    expect(await filesOf('torn')).toEqual(await filesOf('measured'));
  });

  test.each([
    ['cut off', (path: string) => truncate(path, 100)],
    ['empty', (path: string) => writeFile(path, '')],
    [
      'with a flipped bit',
      async (path: string) => {
        const bytes = await readFile(path);
        bytes[bytes.length - 300] ^= 1;
        await writeFile(path, bytes);
      },
    ],
  ])('trains from scratch if the kept codec is %s', async (name, damage) => {
    await pack(`whole, not ${name}`);
    await interrupt(name, 2);
    await damage(temporary.path(`${name}/unfinished-pack.safetensors`));
    await pack(name);
    expect(await filesOf(name)).toEqual(await filesOf(`whole, not ${name}`));
  });

  test('removes the temporary file of a state that a kill kept from its name', async () => {
    await pack('neat');
    await interrupt('littered', 2);
    for (const state of ['unfinished-pack.safetensors', TRAINING]) {
      await writeFile(temporary.path(`littered/${state}.tmp-0123456789abcdef`), 'half');
    }
    await pack('littered');
    expect(await filesOf('littered')).toEqual(await filesOf('neat'));
  });

  test('killed after its manifest is tidied up', async () => {
    const whole = await pack('tidy');
    await interrupt('at the end', shape.epochs - 1);
    const states = ['unfinished-pack.safetensors', 'unfinished-pack.jsonl'];
    const end = temporary.path('at the end');
    await mkdir(temporary.path('kept'));
    for (const name of states) await copyFile(join(end, name), temporary.path(`kept/${name}`));
    expect((await pack('at the end')).divergence).toEqual(whole.divergence);
    expect(await filesOf('at the end')).toEqual(await filesOf('tidy'));
    for (const name of states) await copyFile(temporary.path(`kept/${name}`), join(end, name));
    const { source, epochs } = counted();
    const { training: _, ...told } = whole;
    expect(await pack('at the end', { source })).toMatchObject(told);
    expect(epochs).toEqual([]);
    expect(await filesOf('at the end')).toEqual(await filesOf('tidy'));
  });

  test.each<[string, Partial<PackOptions>]>([
    ['training.seed', { training: { steps: 30, batch: 64, seed: 1 } }],
    ['training.steps', { training: { steps: 31, batch: 64 } }],
    ['codec.k', { codec: { dh: 20, dc: 5, k: 4 } }],
    ['tau', { tau: 3 }],
    ['source.sha256', { source: memoryLabelSource(syntheticLogits(320, 20, 1), shape) }],
  ])('is refused if %s differs, before any work', async (field, change) => {
    await interrupt(`other ${field}`, 2);
    const phases: string[] = [];
    const onProgress: PackOptions['onProgress'] = ({ phase }) => phases.push(phase);
    const call = pack(`other ${field}`, { ...change, onProgress });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(call).rejects.toThrow(field);
    expect(phases).toEqual([]);
  });
});

describe('a finished pack', () => {
  test.each<[string, PackOptions['codec']]>([
    ['vqae', { dh: 20, dc: 5, k: 8 }],
    ['vqae by ratio', { ratio: 8 }],
    ['none', { name: 'none' }],
    ['mean', { name: 'mean' }],
  ])('%s is accepted by an equal run, which does nothing', async (name, codec) => {
    const whole = await pack(`finished ${name}`, { codec });
    const files = await filesOf(`finished ${name}`);
    const phases: string[] = [];
    const onProgress: PackOptions['onProgress'] = ({ phase }) => phases.push(phase);
    const again = { codec, acceptFinished: true, onProgress };
    const { training: _, ...told } = whole;
    expect(await pack(`finished ${name}`, again)).toMatchObject(told);
    expect(phases).toEqual([]);
    expect(await filesOf(`finished ${name}`)).toEqual(files);
  });

  test.each<[string, Partial<PackOptions>]>([
    ['training.steps', { training: { steps: 31, batch: 64 } }],
    ['codec.dc', { codec: { dh: 20, dc: 4, k: 8 } }],
    ['eps', { eps: 1e-7 }],
    ['prune', { prune: { ratio: 2, batchSize: 8 } }],
    ['source.sha256', { source: memoryLabelSource(syntheticLogits(320, 20, 1), shape) }],
  ])('is refused, whole, if %s differs', async (field, change) => {
    await pack('made otherwise', { acceptFinished: true });
    const files = await filesOf('made otherwise');
    const call = pack('made otherwise', { ...change, acceptFinished: true });
    await expect(call).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(call).rejects.toThrow(field);
    expect(await filesOf('made otherwise')).toEqual(files);
  });
});

describe('two packs at once', () => {
  test('the second is refused before it reads a label, and leaves the first alone', async () => {
    const whole = await pack('alone');
    const calls: string[] = [];
    let second: Promise<unknown> | undefined;
    const untouched = {
      ...source,
      read: () => Promise.reject(new Error('the source was read')),
    };
    await pack('both', {
      onProgress: ({ phase }) => {
        calls.push(phase);
        second ??= pack('both', { source: untouched }).catch((error: unknown) => error);
      },
    });
    expect(calls[0]).toBe('read');
    expect(await second).toMatchObject({ code: 'LOCKED' });
    expect(await filesOf('both')).toEqual(await filesOf('alone'));
    expect(whole.labels).toBe(320);
  });

  test('that start together: one packs, the others are told who does', async () => {
    const runs = Array.from({ length: 4 }, () => pack('together').catch((error: unknown) => error));
    const ends = await Promise.all(runs);
    const codes = ends.map((end) => (end as { code?: string }).code ?? 'packed').sort();
    expect(codes).toEqual(['LOCKED', 'LOCKED', 'LOCKED', 'packed']);
    expect(await filesOf('together')).toEqual(await filesOf('alone'));
  });

  test('a run that ends before it has anything to keep leaves no folder behind', async () => {
    const refused = pack('nothing', { source: memoryLabelSource(new Float32Array(6400), shape) });
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await readdir(temporary.path(''))).not.toContain('nothing');
  });
});
