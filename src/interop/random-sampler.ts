/** Orders of `torch.utils.data.RandomSampler`: MT19937 (Matsumoto and Nishimura 1998) and torch's shuffle. */

const STATE = 624;
const SHIFT = 397;

/** Words of the generator that `torch.Generator().manual_seed(seed)` is, for seeds below 2^32. */
class Mt19937 {
  readonly #state = new Uint32Array(STATE);
  #next = STATE;

  constructor(seed: number) {
    this.#state[0] = seed;
    for (let i = 1; i < STATE; i++) {
      const last = this.#state[i - 1];
      this.#state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
    }
  }

  word(): number {
    if (this.#next === STATE) this.#twist();
    let word = this.#state[this.#next++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < STATE; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % STATE] & 0x7fffffff);
      const odd = (mixed & 1) === 1 ? 0x9908b0df : 0;
      state[i] = state[(i + SHIFT) % STATE] ^ (mixed >>> 1) ^ odd;
    }
    this.#next = 0;
  }
}

/** Permutations that torch draws for an epoch; it uses the first. Recent versions draw two, older ones one. */
export type DrawsPerEpoch = 1 | 2;

/**
 * Sample ids of every epoch, in order, as one `RandomSampler` with a generator seeded once gives them.
 * Memory: one permutation.
 */
export function* torchOrders(
  samples: number,
  seed: number,
  drawsPerEpoch: DrawsPerEpoch,
): Generator<Uint32Array, never> {
  const random = new Mt19937(seed);
  for (;;) {
    yield permutation(samples, random);
    for (let extra = 1; extra < drawsPerEpoch; extra++) permutation(samples, random);
  }
}

function permutation(samples: number, random: Mt19937): Uint32Array {
  const ids = Uint32Array.from({ length: samples }, (_, i) => i);
  for (let i = 0; i < samples - 1; i++) {
    const other = i + (random.word() % (samples - i));
    const id = ids[i];
    ids[i] = ids[other];
    ids[other] = id;
  }
  return ids;
}
