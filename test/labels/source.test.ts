import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { memoryLabelSource, openLabelSource } from '#src/labels/source.js';
import { temporaryDirectory } from '../temporary.js';

const golden = (name: string) => fileURLToPath(new URL(`golden/${name}`, import.meta.url));
const expected: Record<'<f2' | '<f4' | 'bf16', number[]> = JSON.parse(
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
    ['bf16.npy', undefined, 'BF16', 'bf16'],
    ['bf16.safetensors', undefined, 'BF16', 'bf16'],
    ['big-endian.npy', undefined, 'F32', '<f4'],
    ['big-endian-f2.npy', undefined, 'F16', '<f2'],
    ['fortran.npy', undefined, 'F32', '<f4'],
    ['fortran-big-endian-f8.npy', undefined, 'F64', '<f4'],
    ['stored.npz', undefined, 'F32', '<f4'],
    ['stored.npz', 'logits', 'F32', '<f4'],
    ['deflated.npz', undefined, 'F64', '<f4'],
    ['several.npz', 'a', 'F16', '<f2'],
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
    await using fortran = await openLabelSource(golden('fortran-one-epoch.npy'));
    await using npz = await openLabelSource(golden('several.npz'), { tensor: 'b' });
    expect([...(await fortran.read(0, 1, 2))]).toEqual(expected['<f2'].slice(20));
    expect([...(await npz.read(0, 0, 3))]).toEqual(expected['<f4'].slice(0, 15));
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

  test.each(['masked.npy', 'masked-f8.npy'])('sets masks far below their row: %s', async (name) => {
    await using source = await openLabelSource(golden(name));
    const logits = await source.read(0, 0, 3);
    const plain = expected['<f4'];
    const most = Math.max(...plain.slice(5, 7), ...plain.slice(8, 10));
    expect([...logits]).toEqual(plain.slice(0, 15).map((z, i) => (i === 7 ? most - 60_000 : z)));
    const rest = await source.read(1, 0, 3);
    expect([...rest.subarray(0, 5)]).toEqual([...Array(4).fill(plain[19] - 60_000), plain[19]]);
    expect([...rest.subarray(5, 10)]).toEqual(plain.slice(20, 25));
    expect([...rest.subarray(11)]).toEqual(Array(4).fill(Math.fround(plain[25] - 60_000)));
  });

  test.each([
    ['infinite.npy', 'epoch 1, sample 1, class 2', Number.POSITIVE_INFINITY],
    ['masked-whole.npy', 'epoch 0, sample 2, class 0', Number.NEGATIVE_INFINITY],
  ])('refuses %s, naming epoch, sample and class', async (name, where, found) => {
    await using source = await openLabelSource(golden(name));
    const reading = source.read(where.startsWith('epoch 1') ? 1 : 0, 0, 3);
    const field = expect.stringContaining(`${name}: ${where}`);
    await expect(reading).rejects.toMatchObject({ code: 'NON_FINITE', field, found });
  });

  test.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, 250), 'INVALID_FILE'],
    ['without a directory', (bytes: Buffer) => bytes.fill(0, 180), 'INVALID_FILE'],
    ['damaged inside', (bytes: Buffer) => bytes.fill(0x55, 60, 70), 'CORRUPT_DATA'],
    ['with a wrong checksum', (bytes: Buffer) => swapCrc(bytes), 'CORRUPT_DATA'],
    ['of a huge array', (bytes: Buffer) => hugeSize(bytes), 'INVALID_FILE'],
  ])('refuses an .npz file that is %s', async (name, damage, code) => {
    const bytes = Buffer.from(await readFile(golden('deflated.npz')));
    const path = await directory.file(`${name}.npz`, damage(bytes));
    await expect(openLabelSource(path)).rejects.toMatchObject({ code });
  });

  test.each([
    ['missing', 'none.npy', undefined, 'NOT_FOUND'],
    ['a directory', '.', undefined, 'INVALID_FILE'],
    ['text', 'make.py', undefined, 'INVALID_FILE'],
    ['one axis', 'vector.npy', undefined, 'INVALID_FILE'],
    ['several tensors, none named', 'many.safetensors', undefined, 'INVALID_ARGUMENT'],
    ['no such tensor', 'many.safetensors', 'logits', 'NOT_FOUND'],
    ['several arrays, none named', 'several.npz', undefined, 'INVALID_ARGUMENT'],
    ['no such array', 'several.npz', 'logits', 'NOT_FOUND'],
    ['integers of several arrays', 'several.npz', 'ids', 'UNSUPPORTED'],
    ['one array with a name', 'f4.npy', 'logits', 'INVALID_ARGUMENT'],
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
    logits[10] = Number.POSITIVE_INFINITY;
    await expect(memoryLabelSource(logits, shape).read(1, 1, 1)).rejects.toMatchObject({
      code: 'NON_FINITE',
      field: 'logits: epoch 1, sample 1, class 1',
    });
    // Large values may overflow a float32 sum; they are finite all the same.
    const large = memoryLabelSource(new Float32Array(12).fill(3e38), shape);
    expect(await large.read(0, 0, 2)).toHaveLength(6);
  });
});

/** Offset of the entry in the central directory. */
function directoryEntry(bytes: Buffer): number {
  return bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1'));
}

function swapCrc(bytes: Buffer): Buffer {
  const at = directoryEntry(bytes) + 16;
  bytes.writeUInt32LE((bytes.readUInt32LE(at) ^ 1) >>> 0, at);
  return bytes;
}

function hugeSize(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(0xfffffff0, directoryEntry(bytes) + 24);
  return bytes;
}
