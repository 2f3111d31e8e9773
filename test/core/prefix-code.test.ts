import fc from 'fast-check';
import { expect, it } from 'vitest';
import { areCodeLengths, codeLengths, MAX_CODE_BITS, PrefixCode } from '#src/core/prefix-code.js';

const counts = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 30 })), {
  ...{ minLength: 2, maxLength: 60 },
});

it('codes are distinct beginnings, and each is found whatever follows it', () => {
  fc.assert(
    fc.property(counts, fc.nat(2 ** MAX_CODE_BITS - 1), (own, rest) => {
      const { codes, lengths, table } = new PrefixCode(codeLengths(own));
      expect(areCodeLengths(lengths)).toBe(true);
      for (const [symbol, count] of own.entries()) {
        expect(lengths[symbol] > 0).toBe(count > 0);
        if (count === 0) continue;
        const bits = (rest << lengths[symbol]) | codes[symbol];
        const found = table[bits & (2 ** MAX_CODE_BITS - 1)];
        expect([found >> 4, found & 15]).toEqual([symbol, lengths[symbol]]);
      }
    }),
  );
});

it('symbols take less than a bit more than their entropy where no code has to be shortened', () => {
  const few = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 2, maxLength: 40 });
  fc.assert(
    fc.property(few, (own) => {
      const total = own.reduce((a, b) => a + b, 0);
      const lengths = codeLengths(own);
      const entropy = own.reduce((sum, n) => sum - (n / total) * Math.log2(n / total), 0);
      const mean = own.reduce((sum, n, i) => sum + (n / total) * lengths[i], 0);
      expect(mean).toBeGreaterThanOrEqual(entropy - 1e-9);
      expect(mean).toBeLessThan(entropy + 1);
    }),
  );
});

it('shortens codes of very rare symbols, and gives a single one a bit', () => {
  const skewed = Array.from({ length: 40 }, (_, i) => 2 ** i);
  const lengths = codeLengths(skewed);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(MAX_CODE_BITS);
  expect(lengths[39]).toBe(1);
  expect(Array.from(codeLengths([0, 7, 0]))).toEqual([0, 1, 0]);
});

it.each([
  ['too long', [1, 13]],
  ['too many', [1, 1, 12]],
])('tells lengths that are %s', (_, lengths) => {
  expect(areCodeLengths(Uint8Array.from(lengths))).toBe(false);
});
