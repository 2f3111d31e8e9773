import { SoftpackError } from '../errors.js';
import { readBits, writeBits } from './bits.js';

/** Fields of any number of bits up to 32, one after the other, least significant bit first. */
export class BitWriter {
  #bytes: Uint8Array;
  #position: number;

  /** @param position zero bits before the first field. */
  constructor(position = 0) {
    this.#position = position;
    this.#bytes = new Uint8Array(Math.ceil(position / 8) + 1024);
  }

  get position(): number {
    return this.#position;
  }

  write(value: number, bits: number): void {
    const end = Math.ceil((this.#position + bits) / 8);
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(2 * end);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    writeBits(this.#bytes, this.#position, bits, value);
    this.#position += bits;
  }

  /** Writes all bits of another one. */
  append(other: BitWriter): void {
    const bytes = other.bytes();
    for (const [i, byte] of bytes.entries()) this.write(byte, Math.min(8, other.position - 8 * i));
  }

  /** What was written, filled up with zeros to whole bytes. */
  bytes(): Uint8Array {
    return this.#bytes.slice(0, Math.ceil(this.#position / 8));
  }
}

/** Reads what {@link BitWriter} wrote; `INVALID_ARGUMENT` beyond the end. */
export class BitReader {
  readonly #bytes: Uint8Array;
  position: number;

  constructor(bytes: Uint8Array, position = 0) {
    this.#bytes = bytes;
    this.position = position;
  }

  read(bits: number): number {
    this.require(bits);
    const value = readBits(this.#bytes, this.position, bits);
    this.position += bits;
    return value;
  }

  /** Fills `out` with fields of 1 to 25 bits, which are read 32 bits at a time. */
  readInto(bits: number, out: Int32Array | Uint8Array): void {
    this.require(bits * out.length);
    const bytes = this.#bytes;
    const mask = 2 ** bits - 1;
    let at = Math.floor(this.position / 8);
    let skip = this.position % 8;
    for (let i = 0; i < out.length; i++) {
      const low = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      out[i] = (low >>> skip) & mask;
      skip += bits;
      at += skip >> 3;
      skip &= 7;
    }
    this.position += bits * out.length;
  }

  /** That so many bits are left. */
  require(bits: number): void {
    const end = this.position + bits;
    if (end <= 8 * this.#bytes.length) return;
    const details = { field: 'codes', expected: `at least ${end} bits` };
    const found = 8 * this.#bytes.length;
    throw new SoftpackError('INVALID_ARGUMENT', 'codes end early', { ...details, found });
  }
}

/** A number below `range` in floor(log2 range) bits, or one more for the larger ones. */
export function writeBelow(writer: BitWriter, value: number, range: number): void {
  const bits = Math.floor(Math.log2(range));
  const short = 2 ** (bits + 1) - range;
  if (value < short) {
    writer.write(value, bits);
  } else {
    // The first bits tell that one more follows, so they come first.
    const long = value + short;
    writer.write(Math.floor(long / 2), bits);
    writer.write(long % 2, 1);
  }
}

/** The inverse of {@link writeBelow}. */
export function readBelow(reader: BitReader, range: number): number {
  const bits = Math.floor(Math.log2(range));
  const short = 2 ** (bits + 1) - range;
  const first = reader.read(bits);
  return first < short ? first : 2 * first + reader.read(1) - short;
}
