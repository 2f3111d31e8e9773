import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import { NpyWriter, readNpyHeader } from '#src/labels/npy.js';
import type { ByteFile } from '#src/store/byte-store.js';
import { temporaryDirectory } from '../temporary.js';

const golden = (name: string) => readFile(new URL(`golden/${name}`, import.meta.url));
const directory = await temporaryDirectory();

function inMemory(bytes: Uint8Array, name = 'x.npy'): ByteFile {
  return {
    name,
    size: bytes.length,
    async read(offset, into) {
      if (offset + into.length > bytes.length) throw new Error('read beyond the end');
      into.set(bytes.subarray(offset, offset + into.length));
    },
    close: async () => {},
  };
}

/** A version 1 file with this dict and this many zero bytes of data. */
function npy(dict: string, dataBytes: number, version = [1, 0]): Uint8Array {
  const header = Buffer.from(`${dict}\n`, 'latin1');
  const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), ...version, 0, 0]);
  prefix.writeUInt16LE(header.length, 8);
  return Buffer.concat([prefix, header, Buffer.alloc(dataBytes)]);
}

describe('readNpyHeader', () => {
  test.each([
    ['f2.npy', 'F16', [2, 3, 5]],
    ['f4.npy', 'F32', [2, 3, 5]],
    ['f8.npy', 'F64', [2, 3, 5]],
    ['one-epoch.npy', 'F32', [3, 5]],
    ['vector.npy', 'F32', [30]],
    ['version2.npy', 'F32', [2, 3, 5]],
    ['version3.npy', 'F32', [2, 3, 5]],
  ])('reads what NumPy wrote: %s', async (name, dtype, shape) => {
    const file = inMemory(await golden(name), name);
    const order = { bigEndian: false, fortranOrder: false };
    expect(await readNpyHeader(file)).toEqual({ dtype, shape, dataOffset: 128, ...order });
  });

  test.each([
    ['fortran.npy', { dtype: 'F32', bigEndian: false, fortranOrder: true }],
    ['big-endian.npy', { dtype: 'F32', bigEndian: true, fortranOrder: false }],
    ['bf16.npy', { dtype: 'BF16', bigEndian: false, fortranOrder: false }],
  ])('reads other orders and types: %s', async (name, header) => {
    const file = inMemory(await golden(name), name);
    expect(await readNpyHeader(file)).toEqual({ ...header, shape: [2, 3, 5], dataOffset: 128 });
  });

  test.each([
    ['object.npy', 'Python objects', '|O'],
    ['int.npy', 'not an array of floats', '<i4'],
    ['record.npy', 'not an array of floats', "[('a', '<f4'), ('b', '<i4')]"],
  ])('refuses what NumPy wrote: %s', async (name, words, found) => {
    await expect(readNpyHeader(inMemory(await golden(name), name))).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining(words),
      found,
    });
  });

  const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

  test.each([
    ['double quotes', '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}', [2, 3]],
    ['long integers', good.replace('(2, 3)', '(2L, 3L,)'), [2, 3]],
    ['another order', "{'shape': (), 'fortran_order': False, 'descr': '<f4'}", []],
  ])('takes other spellings: %s', async (_, dict, shape) => {
    const bytes = 4 * shape.reduce((a, b) => a * b, 1);
    expect(await readNpyHeader(inMemory(npy(dict, bytes)))).toMatchObject({ dtype: 'F32', shape });
  });

  test.each([
    ['empty file', new Uint8Array(), 'magic'],
    ['another format', Buffer.from('epoch,sample,logit\n1,2,3\n'), 'magic'],
    ['cut in the header', npy(good, 24).slice(0, 40), 'header length'],
    ['cut in the data', npy(good, 23), 'size'],
    ['trailing bytes', npy(good, 25), 'size'],
    ['no dict', npy('[1, 2]', 24), 'header'],
    ['code for a value', npy(good.replace("'<f4'", '__import__("os")'), 24), 'header'],
    ['key missing', npy("{'descr': '<f4', 'shape': (2, 3)}", 24), 'header'],
    ['key twice', npy(good.replace('}', "'shape': (2, 3)}"), 24), 'header'],
    ['extra key', npy(good.replace('}', "'x': (2, 3)}"), 24), 'header'],
    ['shape is no tuple', npy(good.replace('(2, 3)', '(6)'), 24), 'header.shape'],
    ['shape is a string', npy(good.replace('(2, 3)', "'2, 3'"), 24), 'header.shape'],
    ['shape with a gap', npy(good.replace('(2, 3)', '(2,, 3)'), 24), 'header.shape'],
    ['order is a string', npy(good.replace('False', "'no'"), 24), 'header.fortran_order'],
    ['huge shape', npy(good.replace('(2, 3)', `(${'9'.repeat(400)}, 0)`), 24), 'size'],
  ])('refuses a malformed file: %s', async (_, bytes, field) => {
    await expect(readNpyHeader(inMemory(bytes))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `x.npy: ${field}`,
    });
  });

  test('refuses versions it does not know', async () => {
    for (const version of [
      [0, 0],
      [1, 1],
      [4, 0],
    ]) {
      await expect(readNpyHeader(inMemory(npy(good, 24, version)))).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        found: version.join('.'),
      });
    }
  });

  test('gives a header that fits the file, or a typed error, for any damage', async () => {
    const intact = await golden('f4.npy');
    const damage = fc.array(fc.tuple(fc.nat(135), fc.nat(255)), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(damage, fc.nat(300), async (changes, length) => {
        const bytes = Uint8Array.from(intact);
        for (const [at, value] of changes) bytes[at] = value;
        const cut = bytes.slice(0, length);
        const header = await readNpyHeader(inMemory(cut)).catch((error: unknown) => error);
        if (header instanceof SoftpackError) return;
        const { dtype, shape, dataOffset } = header as Awaited<ReturnType<typeof readNpyHeader>>;
        const elements = shape.reduce((a, b) => a * b, 1);
        const width = { F16: 2, BF16: 2, F32: 4, F64: 8 }[dtype];
        expect(dataOffset + width * elements).toBe(cut.length);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('NpyWriter', () => {
  test.each([
    ['f4.npy', [2, 3, 5]],
    ['one-epoch.npy', [3, 5]],
    ['vector.npy', [30]],
  ])('writes the bytes that NumPy writes: %s', async (name, shape) => {
    const expected = await golden(name);
    const values = new Float32Array(Uint8Array.from(expected.subarray(128)).buffer);
    const path = directory.path(name);
    const writer = await NpyWriter.create(path, shape);
    await writer.write(values.subarray(0, 7));
    await writer.write(values.subarray(7, 7));
    await writer.write(values.subarray(7));
    expect(existsSync(path)).toBe(false);
    await writer.finish();
    expect(await readFile(path)).toEqual(expected);
  });

  test('leaves no file when elements are missing or the work is given up', async () => {
    const path = directory.path('short.npy');
    const writer = await NpyWriter.create(path, [2, 2]);
    await writer.write(new Float32Array(3));
    await expect(writer.write(new Float32Array(2))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      expected: 'at most 1',
      found: 2,
    });
    await expect(writer.finish()).rejects.toMatchObject({ code: 'INCOMPLETE' });
    const dropped = await NpyWriter.create(path, [1]);
    await dropped[Symbol.asyncDispose]();
    const names = readdirSync(dirname(path));
    expect(names.filter((name) => name.startsWith('short.npy'))).toEqual([]);
  });
});
