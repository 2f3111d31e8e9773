import xxhash from 'xxhash-wasm';

const PIECE_BYTES = 1 << 20;

export interface Xxh64 {
  /** xxh64 with seed 0. */
  hash(bytes: Uint8Array): bigint;
  /** The same over the concatenation of several pieces. */
  stream(): { update(bytes: Uint8Array): void; digest(): bigint };
}

let loaded: Promise<Xxh64> | undefined;

export function loadXxh64(): Promise<Xxh64> {
  loaded ??= xxhash().then(({ h64Raw, create64 }) => ({
    hash: (bytes) => h64Raw(bytes),
    stream() {
      const state = create64();
      return {
        update(bytes) {
          // In small pieces: the library copies its input into memory that it never frees.
          for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
            state.update(bytes.subarray(at, at + PIECE_BYTES));
          }
        },
        digest: () => state.digest(),
      };
    },
  }));
  return loaded;
}
