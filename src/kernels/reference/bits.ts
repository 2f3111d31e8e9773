/** Index of `bits` bits at bit `position` of `bytes`, least significant bit first. */
export function readIndex(bytes: Uint8Array, position: number, bits: number): number {
  let index = 0;
  for (let bit = 0; bit < bits; bit++) {
    const at = position + bit;
    index |= (((bytes[Math.floor(at / 8)] ?? 0) >> (at % 8)) & 1) << bit;
  }
  return index;
}

/** Writes `index` at bit `position`, leaving every other bit as it is. */
export function writeIndex(bytes: Uint8Array, position: number, bits: number, index: number): void {
  for (let bit = 0; bit < bits; bit++) {
    const at = position + bit;
    const byte = Math.floor(at / 8);
    const mask = 1 << (at % 8);
    const old = bytes[byte] ?? 0;
    bytes[byte] = (index >> bit) & 1 ? old | mask : old & ~mask;
  }
}
