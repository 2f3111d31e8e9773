/**
 * Prefix codes: symbols take the more bits the rarer they are. A code is known by the lengths of its symbols (0: none). Codes
 * are given out by length, then by symbol, each the one before it plus 1, and are written from their first bit on.
 */

/** Longest code; every beginning of that many bits has an entry in a reader's table. */
export const MAX_CODE_BITS = 12;

/** Lengths of Huffman's code of symbols that are counted so often, with counts drawn together until all are short enough. */
export function codeLengths(counts: readonly number[]): Uint8Array {
  for (let own = counts; ; own = own.map((count) => Math.ceil(count / 2))) {
    const lengths = huffmanLengths(own);
    if (lengths.every((length) => length <= MAX_CODE_BITS)) return lengths;
  }
}

function huffmanLengths(counts: readonly number[]): Uint8Array {
  const lengths = new Uint8Array(counts.length);
  let trees = counts.flatMap((count, symbol) => (count > 0 ? [{ count, symbols: [symbol] }] : []));
  if (trees.length === 1) lengths[trees[0].symbols[0]] = 1;
  while (trees.length > 1) {
    // Sorting is stable: the same counts give the same code everywhere.
    trees.sort((a, b) => a.count - b.count);
    const [a, b, ...others] = trees;
    const symbols = [...a.symbols, ...b.symbols];
    for (const symbol of symbols) lengths[symbol]++;
    trees = [...others, { count: a.count + b.count, symbols }];
  }
  return lengths;
}

/** Whether codes of such lengths exist: none too long, not more than there is room for. */
export function areCodeLengths(lengths: Uint8Array): boolean {
  let room = 2 ** MAX_CODE_BITS;
  for (const length of lengths) {
    if (length > MAX_CODE_BITS) return false;
    if (length > 0) room -= 2 ** (MAX_CODE_BITS - length);
  }
  return room >= 0;
}

export class PrefixCode {
  /** [symbols]. */
  readonly lengths: Uint8Array;
  /** [symbols], the first bit of a code being the least significant one. */
  readonly codes: Uint16Array;
  /** [2^12] by the next bits: the symbol x 16 + its length; 0 where no code begins so. */
  readonly table: Uint16Array;

  constructor(lengths: Uint8Array) {
    this.lengths = lengths;
    this.codes = new Uint16Array(lengths.length);
    this.table = new Uint16Array(2 ** MAX_CODE_BITS);
    let code = 0;
    for (let length = 1; length <= MAX_CODE_BITS; length++, code *= 2) {
      for (const [symbol, own] of lengths.entries()) {
        if (own !== length) continue;
        this.#add(symbol, length, reversed(code, length));
        code++;
      }
    }
  }

  #add(symbol: number, length: number, code: number): void {
    this.codes[symbol] = code;
    for (let rest = code; rest < this.table.length; rest += 2 ** length) {
      this.table[rest] = symbol * 16 + length;
    }
  }
}

function reversed(code: number, bits: number): number {
  let out = 0;
  for (let i = 0; i < bits; i++) out |= ((code >> i) & 1) << (bits - 1 - i);
  return out;
}
