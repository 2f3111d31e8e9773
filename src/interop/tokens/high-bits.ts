/** Fields of up to 64 bits, most significant bit first; of those above 53 the lowest are lost to float64. */
export class HighBitReader {
  readonly #bytes: Uint8Array;
  #position: number;

  constructor(bytes: Uint8Array, begin: number) {
    this.#bytes = bytes;
    this.#position = 8 * begin;
  }

  read(bits: number): number {
    let value = 0;
    let left = bits;
    while (left > 0) {
      const used = this.#position & 7;
      const take = Math.min(8 - used, left);
      const byte = this.#bytes[this.#position >>> 3];
      value = value * 2 ** take + ((byte >>> (8 - used - take)) & ((1 << take) - 1));
      this.#position += take;
      left -= take;
    }
    return value;
  }
}

/** Writes what {@link HighBitReader} reads, into zeroed bytes. */
export class HighBitWriter {
  readonly bytes: Uint8Array;
  #position = 0;

  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
  }

  write(value: number, bits: number): void {
    for (let bit = bits - 1; bit >= 0; bit--) {
      const one = Math.floor(value / 2 ** bit) & 1;
      this.bytes[this.#position >>> 3] |= one << (7 - (this.#position & 7));
      this.#position += 1;
    }
  }
}
