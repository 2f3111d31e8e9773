import fc from 'fast-check';
import { expect, it } from 'vitest';
import { bitsFor, readBits, writeBits } from '#src/core/bits.js';

/** A field as its binary digits, least significant first: the definition of the packing. */
function digitsOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

const fields = fc.record({
  bytes: fc.uint8Array({ minLength: 12, maxLength: 12 }),
  position: fc.nat(64),
  bits: fc.integer({ min: 1, max: 32 }),
  value: fc.nat(2 ** 32 - 1),
});

it('reads the field of any width at any bit', () => {
  fc.assert(
    fc.property(fields, ({ bytes, position, bits }) => {
      const expected = (digitsOf(bytes) >> BigInt(position)) & ((1n << BigInt(bits)) - 1n);
      expect(BigInt(readBits(bytes, position, bits))).toBe(expected);
    }),
  );
});

it('writes a field over whatever is there and touches no other bit', () => {
  fc.assert(
    fc.property(fields, ({ bytes, position, bits, value }) => {
      const mask = ((1n << BigInt(bits)) - 1n) << BigInt(position);
      const expected = (digitsOf(bytes) & ~mask) | ((BigInt(value) << BigInt(position)) & mask);
      const written = bytes.slice();
      writeBits(written, position, bits, value % 2 ** bits);
      expect(digitsOf(written)).toBe(expected);
    }),
  );
});

it('counts the bits that tell things apart', () => {
  expect([1, 2, 3, 4, 5, 256, 257, 65536].map(bitsFor)).toEqual([1, 1, 2, 2, 3, 8, 9, 16]);
});
