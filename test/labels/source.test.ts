import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { memoryLabelSource, openLabelSource } from '#src/labels/source.js';
import { temporaryDirectory } from '../temporary.js';

const golden = (name: string) => fileURLToPath(new URL(`golden/${name}`, import.meta.url));
const expected: Record<'<f2' | '<f4', number[]> = JSON.parse(
  await readFile(golden('expected.json'), 'utf8'),
);
const directory = await temporaryDirectory();

describe('openLabelSource', () => {
  test.each([
    ['f2.npy', undefined, 'F16', '<f2'],
    ['f4.npy', undefined, 'F32', '<f4'],
    ['f8.npy', undefined, 'F64', '<f4'],
    ['f16.safetensors', undefined, 'F16', '<f2'],
    ['many.safetensors', 'a', 'F32', '<f4'],
  ] as const)('reads any range of %s', async (name, tensor, dtype, rounding) => {
    await using source = await openLabelSource(golden(name), tensor ? { tensor } : {});
    const { epochs, samples, classes } = source;
    expect({ epochs, samples, classes, dtype: source.dtype }).toEqual({
      epochs: 2,
      samples: 3,
      classes: 5,
      dtype,
    });
    for (let epoch = 0; epoch < 2; ++epoch) {
      for (let start = 0; start <= 3; ++start) {
        for (let count = 0; start + count <= 3; ++count) {
          const begin = (epoch * 3 + start) * 5;
          const values = expected[rounding].slice(begin, begin + count * 5);
          expect([...(await source.read(epoch, start, count))]).toEqual(values);
        }
      }
    }
  });

  test('takes [samples, classes] for one epoch', async () => {
    await using npy = await openLabelSource(golden('one-epoch.npy'));
    await using safetensors = await openLabelSource(golden('many.safetensors'), { tensor: 'b' });
    expect([npy.epochs, npy.samples, npy.classes]).toEqual([1, 3, 5]);
    expect([...(await npy.read(0, 1, 2))]).toEqual(expected['<f4'].slice(20));
    expect([...(await safetensors.read(0, 0, 3))]).toEqual(expected['<f4'].slice(0, 15));
  });

  test('knows formats by their bytes, not their names', async () => {
    const path = await directory.file('labels.bin', await readFile(golden('f2.npy')));
    await using source = await openLabelSource(path);
    expect(source.dtype).toBe('F16');
  });

  test('names epoch, sample and class of what is not finite', async () => {
    await using source = await openLabelSource(golden('nan.npy'));
    await expect(source.read(1, 0, 3)).rejects.toMatchObject({
      code: 'NON_FINITE',
      field: expect.stringMatching(/nan\.npy: epoch 1, sample 0, class 3$/),
      found: Number.NaN,
    });
    expect(await source.read(1, 1, 2)).toHaveLength(10);
  });

  test.each([
    ['missing', 'none.npy', undefined, 'NOT_FOUND'],
    ['a directory', '.', undefined, 'INVALID_FILE'],
    ['text', 'make.py', undefined, 'INVALID_FILE'],
    ['one axis', 'vector.npy', undefined, 'INVALID_FILE'],
    ['several tensors, none named', 'many.safetensors', undefined, 'INVALID_ARGUMENT'],
    ['no such tensor', 'many.safetensors', 'logits', 'NOT_FOUND'],
    ['integers', 'many.safetensors', 'ids', 'UNSUPPORTED'],
  ])('refuses a file that is %s', async (_, name, tensor, code) => {
    const opening = openLabelSource(golden(name), tensor ? { tensor } : {});
    await expect(opening).rejects.toMatchObject({ code });
  });

  test('refuses ranges outside the labels', async () => {
    await using source = await openLabelSource(golden('f2.npy'));
    for (const [epoch, start, count, field] of [
      [2, 0, 1, 'epoch'],
      [-1, 0, 1, 'epoch'],
      [0.5, 0, 1, 'epoch'],
      [0, 4, 0, 'start'],
      [0, 2, 2, 'count'],
      [0, 0, -1, 'count'],
    ] as const) {
      await expect(source.read(epoch, start, count)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field,
      });
    }
  });

  test('reports a file that was cut after it was opened', async () => {
    const { truncate } = await import('node:fs/promises');
    const path = await directory.file('cut.npy', await readFile(golden('f4.npy')));
    await using source = await openLabelSource(path);
    await truncate(path, 200);
    await expect(source.read(1, 0, 3)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });
});

describe('memoryLabelSource', () => {
  const shape = { epochs: 2, samples: 2, classes: 3 };

  test('gives copies of ranges', async () => {
    const logits = Float32Array.from({ length: 12 }, (_, i) => i);
    const source = memoryLabelSource(logits, shape);
    const piece = await source.read(1, 1, 1);
    piece.fill(-1);
    expect([...(await source.read(1, 0, 2))]).toEqual([6, 7, 8, 9, 10, 11]);
  });

  test('checks its shape and its values', async () => {
    expect(() => memoryLabelSource(new Float32Array(11), shape)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', expected: 12, found: 11 }),
    );
    const logits = new Float32Array(12);
    logits[10] = Number.NEGATIVE_INFINITY;
    await expect(memoryLabelSource(logits, shape).read(1, 1, 1)).rejects.toMatchObject({
      code: 'NON_FINITE',
      field: 'logits: epoch 1, sample 1, class 1',
    });
    // Large values may overflow a float32 sum; they are finite all the same.
    const large = memoryLabelSource(new Float32Array(12).fill(3e38), shape);
    expect(await large.read(0, 0, 2)).toHaveLength(6);
  });
});
