import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readTokenArray } from '#src/interop/tokens/arrays.js';
import { readIntegerArray } from '#src/interop/tokens/integer-array.js';
import { all, bytesOf, dense, memoryFile } from './fixture.js';

interface Stored {
  readonly descr: string;
  readonly fortran: boolean;
  readonly shape: readonly number[];
}

/** A .npy file, as numpy.save writes it, of elements in C order. */
function npy({ descr, fortran, shape }: Stored, elements: ArrayLike<number>): Uint8Array {
  const width = Number(descr.slice(2));
  const data = Buffer.alloc(elements.length * width);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  for (let i = 0; i < elements.length; i++) {
    const at = width * (fortran ? fortranPlace(i, shape) : i);
    SETTERS[descr.slice(1)](view, at, elements[i], descr[0] !== '>');
  }
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
  const order = fortran ? 'True' : 'False';
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${tuple}, }`.padEnd(117);
  return Buffer.concat([Buffer.from(`\x93NUMPY\x01\x00v\x00${text}\n`, 'latin1'), bytesOf(data)]);
}

/** By definition: coordinates of element `i` in C order, weighted by the sizes of the axes before each. */
function fortranPlace(i: number, shape: readonly number[]): number {
  const at = shape.map((size, axis) => {
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return Math.floor(i / inner) % size;
  });
  return at.reduce((sum, x, axis) => sum + x * shape.slice(0, axis).reduce((a, b) => a * b, 1), 0);
}

type Setter = (view: DataView, at: number, value: number, little: boolean) => void;
const SETTERS: Readonly<Record<string, Setter>> = {
  i1: (view, at, value) => view.setInt8(at, value),
  u2: (view, at, value, little) => view.setUint16(at, value, little),
  i4: (view, at, value, little) => view.setInt32(at, value, little),
  u4: (view, at, value, little) => view.setUint32(at, value, little),
  i8: (view, at, value, little) => view.setBigInt64(at, BigInt(value), little),
  f4: (view, at, value, little) => view.setFloat32(at, value, little),
  f8: (view, at, value, little) => view.setFloat64(at, value, little),
};

const integerTypes = fc.constantFrom('|i1', '<u2', '>u2', '<i4', '>i4', '>u4', '<i8', '>i8');
const shapes = fc.record({
  texts: fc.integer({ min: 1, max: 5 }),
  positions: fc.integer({ min: 1, max: 6 }),
  ids: fc.integer({ min: 2, max: 7 }),
});

test('labels, ids and lengths are the same in any width, byte order and order of axes', async () => {
  await fc.assert(
    fc.asyncProperty(
      shapes,
      fc.constantFrom('<f4', '>f4', '<f8', '>f8'),
      ...([integerTypes, integerTypes, fc.boolean(), fc.boolean()] as const),
      fc.infiniteStream(fc.nat(1000)),
      async ({ texts, positions, ids }, float, idType, lengthType, fortran, idFortran, draws) => {
        const draw = () => draws.next().value as number;
        const logits = Float32Array.from({ length: texts * positions * ids }, () => draw() / 8);
        const tokens = Int32Array.from({ length: texts * positions }, () => draw() % ids);
        const lengths = Int32Array.from({ length: texts }, () => draw() % (positions + 1));
        const file = (stored: Stored, values: ArrayLike<number>) =>
          memoryFile(npy(stored, values)).file;
        const shape = [texts, positions];
        const read = await all(
          await readTokenArray(file({ descr: float, fortran, shape: [...shape, ids] }, logits), {
            kind: 'logits',
            tokens: await readIntegerArray(
              file({ descr: idType, fortran: idFortran, shape }, tokens),
            ),
            lengths: await readIntegerArray(
              file({ descr: lengthType, fortran: idFortran, shape: [texts] }, lengths),
            ),
          }),
        );
        expect(read.map(({ rows }) => rows)).toEqual([...lengths]);
        for (const [i, sequence] of read.entries()) {
          const [begin, rows] = [i * positions, lengths[i]];
          expect(sequence.tokens).toEqual(tokens.slice(begin, begin + rows));
          expect(await dense(sequence).read(0, rows)).toEqual(
            logits.slice(begin * ids, (begin + rows) * ids),
          );
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('integers of an .npz file are chosen by name', async () => {
  const bytes = await readFile(join(import.meta.dirname, '../../labels/golden/several.npz'));
  const read = (name?: string) => readIntegerArray(memoryFile(bytes).file, name, 'tokensTensor');
  const { shape, read: at } = await read('ids');
  expect([shape, [...(await at(1, 2))]]).toEqual([[3], [1, 2]]);
  await expect(read()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'tokensTensor' });
  await expect(read('a')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await expect(read('none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
