import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BitReader, BitWriter, readBelow, writeBelow } from '#src/core/bit-stream.js';
import { readMultiset, readSet, writeMultiset, writeSet } from '#src/kernels/reference/set-code.js';

/** The binary interpolative code written anew, on a string of bits. */
function bitsOfSet(values: readonly number[], low: number, high: number): string {
  if (values.length === 0) return '';
  const middle = values.length >> 1;
  const least = low + middle;
  const range = high - (values.length - 1 - middle) - least + 1;
  const left = bitsOfSet(values.slice(0, middle), low, values[middle] - 1);
  const right = bitsOfSet(values.slice(middle + 1), values[middle] + 1, high);
  return minimalBinary(values[middle] - least, range) + left + right;
}

/** Truncated binary: the first 2^(b+1) - range values in b bits; a field's least significant bit comes first. */
function minimalBinary(value: number, range: number): string {
  let b = 0;
  while (2 ** (b + 1) <= range) b++;
  const short = 2 ** (b + 1) - range;
  const field = (v: number, bits: number) =>
    v
      .toString(2)
      .padStart(bits, '0')
      .slice(-bits || undefined)
      .split('')
      .reverse()
      .join('');
  if (value < short) return b === 0 ? '' : field(value, b);
  const long = value + short;
  return (b === 0 ? '' : field(long >> 1, b)) + String(long & 1);
}

const bitsOf = (writer: BitWriter) =>
  Array.from(writer.bytes(), (byte) =>
    byte.toString(2).padStart(8, '0').split('').reverse().join(''),
  )
    .join('')
    .slice(0, writer.position);

const set = fc
  .integer({ min: 1, max: 300_000 })
  .chain((range) =>
    fc.tuple(
      fc.constant(range),
      fc.uniqueArray(fc.integer({ min: 0, max: range - 1 }), { maxLength: 50 }),
    ),
  );

it('writes sets as the code is defined, and reads them back', () => {
  fc.assert(
    fc.property(set, fc.integer({ min: 0, max: 9 }), ([range, values], before) => {
      const sorted = values.sort((a, b) => a - b);
      const writer = new BitWriter();
      writer.write(0, before);
      writeSet(writer, sorted, range);
      expect(bitsOf(writer).slice(before)).toBe(bitsOfSet(sorted, 0, range - 1));
      const out = new Uint32Array(sorted.length);
      const reader = new BitReader(writer.bytes(), before);
      readSet(reader, out, range);
      expect(Array.from(out)).toEqual(sorted);
      expect(reader.position).toBe(writer.position);
    }),
  );
});

it('writes and reads numbers that repeat', () => {
  const numbers = fc.array(fc.integer({ min: 0, max: 4095 }), { maxLength: 20 });
  fc.assert(
    fc.property(numbers, (values) => {
      const sorted = values.sort((a, b) => a - b);
      const writer = new BitWriter();
      writeMultiset(writer, sorted, 4096);
      const out = new Uint32Array(sorted.length);
      readMultiset(new BitReader(writer.bytes()), out, 4096);
      expect(Array.from(out)).toEqual(sorted);
    }),
  );
});

it('a whole range takes no bits, a number below 2^32 takes 32', () => {
  const writer = new BitWriter();
  writeSet(writer, [0, 1, 2, 3, 4], 5);
  expect(writer.position).toBe(0);
  writeBelow(writer, 2 ** 32 - 1, 2 ** 32);
  expect(writer.position).toBe(32);
  expect(readBelow(new BitReader(writer.bytes()), 2 ** 32)).toBe(2 ** 32 - 1);
});

it('bits that end early are an error', () => {
  const writer = new BitWriter();
  writeSet(writer, [3, 70, 900], 1000);
  const reader = new BitReader(writer.bytes().subarray(0, 2));
  expect(() => readSet(reader, new Uint32Array(3), 1000)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'codes' }),
  );
});

it('fields read at once are those read one by one', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 4, maxLength: 60 }),
      fc.integer({ min: 1, max: 25 }),
      fc.nat(20),
      (bytes, bits, position) => {
        const count = Math.floor((8 * bytes.length - position) / bits);
        const reader = new BitReader(bytes, position);
        const expected = Int32Array.from({ length: count }, () => reader.read(bits));
        const out = new Int32Array(count);
        const all = new BitReader(bytes, position);
        all.readInto(bits, out);
        expect(out).toEqual(expected);
        expect(all.position).toBe(reader.position);
        expect(() => all.readInto(bits, new Int32Array(1))).toThrow('codes end early');
      },
    ),
  );
});
