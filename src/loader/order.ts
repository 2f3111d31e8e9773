import { philox4x32 } from '../core/philox.js';

const ROUNDS = 6;

/**
 * A pseudo-random permutation of 0 .. count - 1 for one (seed, epoch), computed an element at a time: a
 * balanced Feistel network on the smallest even number of bits that holds `count`, walked until it lands
 * inside (fewer than 4 steps on average). No index array, so O(1) memory and O(1) resume at any count.
 */
export class EpochOrder {
  readonly count: number;
  readonly #halfBits: number;
  readonly #keys: Uint32Array;

  /** 1 <= count <= 2^32; `seed` a non-negative safe integer. */
  constructor(count: number, seed: number, epoch: number) {
    this.count = count;
    this.#halfBits = Math.max(1, Math.ceil(Math.log2(count) / 2));
    this.#keys = new Uint32Array(8);
    const [low, high] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
    philox4x32(epoch, 0, 0, 0, low, high, this.#keys.subarray(0, 4));
    philox4x32(epoch, 1, 0, 0, low, high, this.#keys.subarray(4, 8));
  }

  /** The sample at a position of the epoch. */
  at(position: number): number {
    let value = position;
    do value = this.#permute(value);
    while (value >= this.count);
    return value;
  }

  #permute(value: number): number {
    const size = 2 ** this.#halfBits;
    let left = Math.floor(value / size);
    let right = value % size;
    for (let round = 0; round < ROUNDS; round++) {
      [left, right] = [right, left ^ (mix(right ^ this.#keys[round]) & (size - 1))];
    }
    return left * size + right;
  }
}

/** The 32-bit finaliser of MurmurHash3 (public domain constants): every input bit reaches every output bit. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
