import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float16ToFloat32, float32ToFloat16 } from '#src/core/half.js';

const ALL_HALVES = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of a half float from its definition, in float64. */
function halfValue(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = (half & 1023) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** Nearest half by search over all finite ones, ties to the even pattern; 65,536 stands for infinity. */
function nearestHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  const patternValue = (pattern: number) => (pattern === 0x7c00 ? 65536 : halfValue(pattern));
  let low = 0;
  let high = 0x7c00;
  if (magnitude >= 65536) return sign | high;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (patternValue(middle) <= magnitude) low = middle;
    else high = middle;
  }
  const below = magnitude - patternValue(low);
  const above = patternValue(high) - magnitude;
  if (below === above) return sign | (low % 2 === 0 ? low : high);
  return sign | (below < above ? low : high);
}

function encode(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length).fill(0xaaaa);
  float32ToFloat16(values, out);
  return out;
}

describe('float16ToFloat32', () => {
  test('gives the defined value of all 65,536 patterns', () => {
    const out = new Float32Array(65536).fill(-1);
    float16ToFloat32(ALL_HALVES, out);
    const wrong = ALL_HALVES.filter((half) => !Object.is(out[half], halfValue(half)));
    expect(wrong).toEqual(new Uint16Array());
  });

  test('reads and writes through views into larger shared buffers', () => {
    const halves = new Uint16Array(new SharedArrayBuffer(64), 6, 3);
    halves.set([0x3c00, 0xc000, 0x0001]);
    const whole = new Float32Array(new SharedArrayBuffer(64)).fill(7);
    float16ToFloat32(halves, whole.subarray(5, 8));
    expect([...whole.subarray(4, 9)]).toEqual([7, 1, -2, 2 ** -24, 7]);
  });
});

describe('float32ToFloat16', () => {
  test('inverts decoding for every pattern that is not NaN, and keeps NaN', () => {
    const values = new Float32Array(65536);
    float16ToFloat32(ALL_HALVES, values);
    const halves = encode(values);
    const wrong = ALL_HALVES.filter((half) => {
      if (!Number.isNaN(halfValue(half))) return halves[half] !== half;
      return !Number.isNaN(halfValue(halves[half])) || (halves[half] ^ half) >> 15 !== 0;
    });
    expect(wrong).toEqual(new Uint16Array());
  });

  test('rounds the middle between any two neighbours to even, and its neighbours to the nearest', () => {
    const middles: number[] = [];
    for (let half = 0; half < 0x7c00; ++half) {
      const next = half + 1 === 0x7c00 ? 65536 : halfValue(half + 1);
      middles.push((halfValue(half) + next) / 2);
    }
    const values = new Float32Array(middles.length * 6);
    const bits = new Uint32Array(values.buffer);
    for (const [i, middle] of middles.entries()) {
      for (const [s, sign] of [1, -1].entries()) {
        const at = i * 6 + s * 3;
        values.fill(sign * middle, at, at + 3);
        bits[at] -= 1;
        bits[at + 2] += 1;
      }
    }
    const halves = encode(values);
    const wrong = [...values].filter((value, i) => halves[i] !== nearestHalf(value));
    expect(wrong).toEqual([]);
  });

  test('agrees with a search for any float32 bit pattern', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffffffff }), { maxLength: 200 }), (bits) => {
        const values = new Float32Array(Uint32Array.from(bits).buffer);
        for (const [i, half] of encode(values).entries()) {
          if (Number.isNaN(values[i])) expect(halfValue(half)).toBeNaN();
          else expect(half).toBe(nearestHalf(values[i]));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('refuses an output of another length', () => {
    expect(() => float32ToFloat16(new Float32Array(3), new Uint16Array(4))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', expected: 3, found: 4 }),
    );
  });
});
