import { typedArray } from '../core/arrays.js';
import { argument } from '../core/check.js';

/**
 * Entropy coding of small integers: interleaved rANS with static tables of integers. native/core/rans.h describes
 * the bytes of a stream; all kernels write and read the same.
 */

/** Frequencies of a table add up to this. */
export const RANS_SLOTS = 4096;
/** Symbols of a table: `value + 128` for values -127 to 127, and 0 for all others. */
export const RANS_SYMBOLS = 256;
export const RANS_MAX_LANES = 32;

/** States that a column walks through by the parity of its values; 1 for none. */
export type Trellis = 1 | 4 | 8;

/** Next state by `2 * state + parity`, and the context of each state, which selects one of a row's two tables. */
export const TRELLISES: Readonly<
  Record<4 | 8, { readonly next: Uint8Array; readonly context: Uint8Array }>
> = {
  4: { next: Uint8Array.of(0, 2, 2, 0, 1, 3, 3, 1), context: Uint8Array.of(0, 0, 1, 1) },
  8: {
    next: Uint8Array.of(0, 1, 3, 2, 5, 4, 6, 7, 1, 0, 2, 3, 4, 5, 7, 6),
    context: Uint8Array.of(0, 1, 0, 1, 0, 1, 0, 1),
  },
};

/** Static tables, shared by all streams of a codec. */
export class RansTables {
  /** [tables, 256]. */
  readonly frequencies: Uint16Array;
  readonly count: number;
  #entries: Uint32Array | undefined;

  /** `INVALID_ARGUMENT` unless the frequencies of each table add up to 4096. */
  constructor(frequencies: Uint16Array) {
    this.frequencies = typedArray('frequencies', frequencies, 'Uint16Array').slice();
    const { length } = frequencies;
    argument.that(length % RANS_SYMBOLS === 0, length, 'frequencies', 'a multiple of 256 elements');
    this.count = length / RANS_SYMBOLS;
    for (let table = 0; table < this.count; table++) {
      const own = this.frequencies.subarray(table * RANS_SYMBOLS, (table + 1) * RANS_SYMBOLS);
      const sum = own.reduce((total, frequency) => total + frequency, 0);
      argument.that(sum === RANS_SLOTS, sum, `frequencies of table ${table}`, 'a sum of 4096');
    }
  }

  /** [tables, 4096]: frequency - 1 | (slot - start) << 12 | value << 24. */
  get entries(): Uint32Array {
    this.#entries ??= this.#makeEntries();
    return this.#entries;
  }

  #makeEntries(): Uint32Array {
    const entries = new Uint32Array(this.count * RANS_SLOTS);
    let at = 0;
    for (const [i, frequency] of this.frequencies.entries()) {
      const value = ((i % RANS_SYMBOLS) - 128) << 24;
      for (let j = 0; j < frequency; j++) entries[at++] = (frequency - 1) | (j << 12) | value;
    }
    return entries;
  }
}

/** Parameters that encoder and decoder of a stream must share. */
export interface RansModel {
  readonly tables: RansTables;
  /** Index of the table of each row; with a trellis [rows, 2], one per context. */
  readonly rowTables: Uint16Array;
  readonly trellis: Trellis;
}

export interface EncodeRansArgs extends RansModel {
  /** [rows, columns]. */
  readonly values: Int16Array;
  readonly columns: number;
  /** A power of two up to 32; by default as many as cost less than 1 % of the stream. */
  readonly lanes?: number;
}

export interface DecodeRansArgs extends RansModel {
  readonly bytes: Uint8Array;
  /** [rows, columns]. */
  readonly out: Int16Array;
  readonly columns: number;
}

/** Bytes that a stream of `values` values takes at most. */
export function ransCapacity(values: number): number {
  return 16 + 4 * RANS_MAX_LANES + 5 * values;
}
