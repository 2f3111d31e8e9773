/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
 * (SC 2011): four 32-bit words are a pure function of a 128-bit counter and a 64-bit key.
 *
 * softpack's counter is (sample, epoch, stream, draw) and its key the 64-bit seed, so that any draw of any
 * label is found in O(1), in any order, on any machine, and no draw is ever stored.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** High 32 bits of the 64-bit product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const carry = aLow * bHigh + (middle % 0x10000);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** Writes the four words of counter (c0, c1, c2, c3) under key (k0, k1) to `out`. */
export function philox4x32(
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
  out: Uint32Array,
): void {
  let [x0, x1, x2, x3] = [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
  let [key0, key1] = [k0 >>> 0, k1 >>> 0];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, x0);
    const low0 = Math.imul(MULTIPLIER_0, x0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, x2);
    const low1 = Math.imul(MULTIPLIER_1, x2) >>> 0;
    x0 = (high1 ^ x1 ^ key0) >>> 0;
    x1 = low1;
    x2 = (high0 ^ x3 ^ key1) >>> 0;
    x3 = low0;
    key0 = (key0 + WEYL_0) >>> 0;
    key1 = (key1 + WEYL_1) >>> 0;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

/** Purposes of draws: the third word of the counter. Numbers are part of the archive format. */
export const STREAM = {
  crop: 0,
  flip: 1,
  mix: 2,
  codec: 3,
  training: 4,
  synthesis: 5,
  tokens: 6,
  synthesisShift: 7,
  answers: 8,
  reuse: 9,
} as const;
export type Stream = (typeof STREAM)[keyof typeof STREAM];

/** Draws of one seed, addressed by (sample, epoch, stream, draw). Not safe to share between threads. */
export class CounterRng {
  readonly #key0: number;
  readonly #key1: number;
  readonly #words = new Uint32Array(4);

  /** `seed` is a non-negative safe integer: its low 32 bits are key word 0, the rest key word 1. */
  constructor(seed: number) {
    this.#key0 = seed >>> 0;
    this.#key1 = Math.floor(seed / 2 ** 32) >>> 0;
  }

  /** Four words; the array is reused by the next call. */
  words(sample: number, epoch: number, stream: Stream, draw: number): Uint32Array {
    philox4x32(sample, epoch, stream, draw, this.#key0, this.#key1, this.#words);
    return this.#words;
  }
}

/** Maps a word to [0, 1), exactly representable in float64. */
export function unit(word: number): number {
  return word * 2 ** -32;
}

/** Maps a word to an integer in [0, bound), by the high half of the product (bias < bound / 2^32). */
export function below(word: number, bound: number): number {
  return Math.floor((word * bound) / 2 ** 32);
}
