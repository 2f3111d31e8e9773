import fc from 'fast-check';
import { expect, test } from 'vitest';
import { below, CounterRng, philox4x32, STREAM, unit } from '#src/core/philox.js';

const word = fc.nat({ max: 0xffffffff });

/** Philox4x32-10 in arbitrary precision, straight from the paper. */
function philoxBigInt(counter: readonly number[], key: readonly number[]): number[] {
  const mask = 0xffffffffn;
  let [a, b, c, d] = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const p = 0xd2511f53n * a;
    const q = 0xcd9e8d57n * c;
    [a, b, c, d] = [(q >> 32n) ^ b ^ k0, q & mask, (p >> 32n) ^ d ^ k1, p & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [a, b, c, d].map(Number);
}

function philox(counter: readonly number[], key: readonly number[]): number[] {
  const out = new Uint32Array(4).fill(0xaaaaaaaa);
  const [c0, c1, c2, c3] = counter;
  philox4x32(c0, c1, c2, c3, key[0], key[1], out);
  return [...out];
}

test.each([
  // The known-answer vectors of the Random123 distribution.
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
])('philox4x32 answers the known vectors %#', (counter, key, expected) => {
  expect(philox(counter, key)).toEqual(expected);
});

test('philox4x32 agrees with big-integer arithmetic', () => {
  fc.assert(
    fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
      expect(philox(counter, key)).toEqual(philoxBigInt(counter, key));
    }),
    { numRuns: 500 },
  );
});

test('the seed fills both key words', () => {
  const seed = 5 * 2 ** 32 + 7;
  const words = new CounterRng(seed).words(1, 2, STREAM.mix, 3);
  expect([...words]).toEqual(philoxBigInt([1, 2, STREAM.mix, 3], [7, 5]));
});

test('unit and below stay in range at the ends', () => {
  expect(unit(0)).toBe(0);
  expect(unit(0xffffffff)).toBeLessThan(1);
  expect(below(0, 7)).toBe(0);
  expect(below(0xffffffff, 7)).toBe(6);
  expect(below(0xffffffff, 2 ** 20)).toBe(2 ** 20 - 1);
});
