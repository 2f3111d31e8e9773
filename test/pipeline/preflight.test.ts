import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type LabelSource, memoryLabelSource } from '#src/labels/source.js';
import { packLogits } from '#src/pipeline/pack.js';
import type { PackOptions } from '#src/pipeline/pack-options.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

const shape = { epochs: 2, samples: 60, classes: 12 };
const temporary = await temporaryDirectory();

/** A source that must not be read. */
const unread: LabelSource = {
  ...shape,
  dtype: 'F32',
  fingerprint: () => Promise.reject(new Error('the source was read')),
  read: () => Promise.reject(new Error('the source was read')),
  close: async () => {},
  [Symbol.asyncDispose]: async () => {},
};

function pack(change: Partial<PackOptions>) {
  const out = temporary.path('never');
  return packLogits({ source: unread, out, codec: { name: 'topk', k: 2 }, ...change });
}

const finished = temporary.path('finished');
const begun = temporary.path('begun');
{
  const source = memoryLabelSource(syntheticLogits(120, 12), shape);
  const codec = { name: 'topk', k: 2 } as const;
  await packLogits({ source, out: finished, codec });
  const stop = new AbortController();
  const onProgress = () => stop.abort();
  const call = packLogits({ source, out: begun, codec, onProgress, signal: stop.signal });
  await expect(call).rejects.toMatchObject({ code: 'ABORTED' });
  await writeFile(temporary.path('file'), 'mine');
  await symlink(finished, temporary.path('link'));
}

describe('output that cannot be', () => {
  test.each([
    ['a file', 'file', 'ALREADY_EXISTS', 'folder'],
    ['below a file', 'file/labels', 'ALREADY_EXISTS', 'folder'],
    ['deep below a file', 'file/a/b/labels', 'ALREADY_EXISTS', 'folder'],
    ['in a finished archive', 'finished/labels', 'INVALID_ARGUMENT', 'inside the archive'],
    ['deep in a finished archive', 'finished/a/b', 'INVALID_ARGUMENT', 'inside the archive'],
    ['in one, by a link', 'link/labels', 'INVALID_ARGUMENT', 'inside the archive'],
    ['in an unfinished archive', 'begun/labels', 'INVALID_ARGUMENT', 'inside the archive'],
    ['a path with NUL', 'a\0b', 'INVALID_ARGUMENT', 'NUL'],
    ['a name too long', 'x'.repeat(300), 'INVALID_ARGUMENT', 'too long'],
  ])('%s', async (_, name, code, words) => {
    const call = pack({ out: temporary.path(name) });
    await expect(call).rejects.toMatchObject({ code });
    await expect(call).rejects.toThrow(words);
  });

  test('in a folder that may not be written', async ({ skip }) => {
    if (process.getuid?.() === 0) skip('root may write everywhere');
    const locked = temporary.path('locked');
    await mkdir(locked);
    await chmod(locked, 0o500);
    const call = pack({ out: join(locked, 'labels') });
    await expect(call).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
  });
});

describe('a codec that cannot be', () => {
  test.each<[string, PackOptions['codec'], string, string]>([
    ['dh not divisible', { dh: 100, dc: 30, k: 4 }, 'INVALID_ARGUMENT', 'dh'],
    ['more than all classes', { name: 'topk', k: 13 }, 'INVALID_ARGUMENT', 'k: '],
    ['components beyond classes', { name: 'pca', k: 99 }, 'INVALID_ARGUMENT', 'k: '],
    ['levels of no power of two', { name: 'scalar', levels: 5 }, 'INVALID_ARGUMENT', 'levels'],
    ['a ratio too high', { totalRatio: 200 }, 'INVALID_ARGUMENT', 'ratio'],
    ['codes of a ratio too high', { ratio: 200 }, 'INVALID_ARGUMENT', 'ratio'],
    ['tensors beyond the labels', { dh: 12, dc: 12, k: 1024 }, 'TOO_FEW_LABELS', 'labels'],
    ['no such codec', { name: 'zip' } as never, 'INVALID_ARGUMENT', 'codec'],
  ])('%s', async (_, codec, code, words) => {
    const call = pack({ codec });
    await expect(call).rejects.toMatchObject({ code });
    await expect(call).rejects.toThrow(words);
  });
});

test.each<[Partial<PackOptions>, string]>([
  [{ codec: { ratio: 8 }, training: { steps: 0.5 } }, 'training.steps'],
  [{ trainingLabels: 0 }, 'trainingLabels'],
  [{ trainingLabels: Number.NaN }, 'trainingLabels'],
])('training that cannot be: %o', async (change, field) => {
  await expect(pack(change)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field });
});

test('one error lists every problem', async () => {
  const call = pack({ out: temporary.path('file'), codec: { name: 'topk', k: 13 } });
  await expect(call).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  await expect(call).rejects.toThrow('2 problems');
  await expect(call).rejects.toThrow('not a folder');
  await expect(call).rejects.toThrow('k: ');
  const other = pack({ source: temporary.path('absent.npy'), out: temporary.path('file') });
  await expect(other).rejects.toThrow('absent.npy');
  await expect(other).rejects.toThrow('not a folder');
});
