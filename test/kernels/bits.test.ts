import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cpu, guarded, POISON, randomIndices, randomStream, reference } from './support.js';

/** Packing by strings of binary digits: least significant bit first. */
function packedByDigits(indices: Uint16Array, bits: number, before: Uint8Array, offset: number) {
  const digits = [...before].flatMap((byte) => [
    ...byte.toString(2).padStart(8, '0').split('').reverse(),
  ]);
  indices.forEach((index, i) => {
    const own = index.toString(2).padStart(bits, '0').split('').reverse();
    digits.splice(offset + i * bits, bits, ...own);
  });
  return Uint8Array.from(before, (_, i) =>
    Number.parseInt(
      digits
        .slice(8 * i, 8 * i + 8)
        .reverse()
        .join(''),
      2,
    ),
  );
}

describe.each([{ kernels: reference }, { kernels: cpu }])(
  'bits of $kernels.name',
  ({ kernels }) => {
    it('packs and unpacks every width at every bit offset, touching no other bit', () => {
      const random = randomStream(1);
      for (let bits = 1; bits <= 16; bits++) {
        for (let bitOffset = 0; bitOffset < 24; bitOffset++) {
          for (const count of [0, 1, 2, 7, 33]) {
            const indices = randomIndices(random, count, 2 ** bits);
            const { view: out, intact } = guarded(
              Uint8Array,
              Math.ceil((bitOffset + count * bits) / 8),
            );
            const before = out.slice();
            expect(before.every((byte) => byte === POISON)).toBe(true);
            kernels.pack({ indices, bits, out, bitOffset });
            expect(out).toEqual(packedByDigits(indices, bits, before, bitOffset));
            const back = guarded(Uint16Array, count);
            kernels.unpack({ packed: out, bits, out: back.view, bitOffset });
            expect(back.view).toEqual(indices);
            expect(intact() && back.intact()).toBe(true);
          }
        }
      }
    });

    it('returns any indices', () => {
      const width = fc.integer({ min: 1, max: 16 });
      const cases = width.chain((bits) =>
        fc.record({
          bits: fc.constant(bits),
          bitOffset: fc.nat(100),
          indices: fc.uint16Array({ max: 2 ** bits - 1, maxLength: 200 }),
        }),
      );
      fc.assert(
        fc.property(cases, ({ bits, bitOffset, indices }) => {
          const packed = new Uint8Array(Math.ceil((bitOffset + indices.length * bits) / 8));
          kernels.pack({ indices, bits, out: packed, bitOffset });
          const out = new Uint16Array(indices.length);
          kernels.unpack({ packed, bits, out, bitOffset });
          expect(out).toEqual(indices);
        }),
      );
    });
  },
);
