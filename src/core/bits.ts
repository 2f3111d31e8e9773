/** Fields of 1 to 32 bits inside bytes, least significant bit first: the packing of every row of codes. */

/** The field of `bits` bits that starts at bit `position`; bytes beyond the end count as 0. */
export function readBits(bytes: Uint8Array, position: number, bits: number): number {
  let at = Math.floor(position / 8);
  let skip = position % 8;
  let value = 0;
  let filled = 0;
  while (filled < bits) {
    const take = Math.min(8 - skip, bits - filled);
    const part = ((bytes[at] ?? 0) >> skip) & ((1 << take) - 1);
    value += part * 2 ** filled;
    filled += take;
    skip = 0;
    at++;
  }
  return value;
}

/** Writes `value` at bit `position`, leaving every other bit as it is. */
export function writeBits(bytes: Uint8Array, position: number, bits: number, value: number): void {
  let at = Math.floor(position / 8);
  let skip = position % 8;
  let rest = value;
  let left = bits;
  while (left > 0) {
    const take = Math.min(8 - skip, left);
    const size = 2 ** take;
    bytes[at] = (bytes[at] & ~((size - 1) << skip)) | ((rest % size) << skip);
    rest = Math.floor(rest / size);
    left -= take;
    skip = 0;
    at++;
  }
}

/** Bits that distinguish `count` values; at least 1. */
export function bitsFor(count: number): number {
  return Math.max(1, Math.ceil(Math.log2(count)));
}
