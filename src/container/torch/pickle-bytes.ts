import { invalidFile, type SoftpackError } from '../../errors.js';
import { viewOf } from './zip.js';

/** Bytes of a name: of a module, or of what it holds. */
export const MAX_NAME = 200;
const MAX_LONG = 32;

/** The pickle goes on beyond the bytes at hand. */
export class PickleEndsEarly extends Error {}

/** Operands of a pickle's opcodes, read one after the other. */
export class PickleBytes {
  readonly length: number;
  readonly #file: string;
  readonly #field: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #opcodeAt = 0;
  position = 0;

  constructor(file: string, field: string, bytes: Uint8Array) {
    this.length = bytes.length;
    this.#file = file;
    this.#field = field;
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  /** The next opcode, whose place errors name from here on. */
  opcode(): number {
    this.#opcodeAt = this.position;
    return this.u8();
  }

  fail(message: string, expected?: unknown, found?: unknown): never {
    throw this.error(message, expected, found);
  }

  error(message: string, expected?: unknown, found?: unknown): SoftpackError {
    const field = `${this.#field}, byte ${this.#opcodeAt}`;
    return invalidFile(this.#file, field, message, { expected, found });
  }

  /** Position of the next `count` bytes, which are used up. */
  #take(count: number): number {
    const at = this.position;
    if (count > this.#bytes.length - at) throw new PickleEndsEarly();
    this.position = at + count;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)];
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), false);
  }

  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.slice(at, at + count);
  }

  text(count: number): string {
    const at = this.#take(count);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        this.#bytes.subarray(at, at + count),
      );
    } catch {
      return this.fail('text is not UTF-8');
    }
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.position);
    const length = (end < 0 ? this.#bytes.length : end) - this.position;
    if (length > MAX_NAME) this.fail('name is too long', `at most ${MAX_NAME} bytes`, length);
    if (end < 0) throw new PickleEndsEarly();
    const name = this.text(length);
    this.position += 1;
    return name;
  }

  /** Signed, little-endian, of any length. */
  long(): number | bigint {
    const count = this.u8();
    if (count > MAX_LONG) this.fail('integer is too long', `at most ${MAX_LONG} bytes`, count);
    let value = 0n;
    for (const [i, byte] of this.bytes(count).entries()) value |= BigInt(byte) << BigInt(8 * i);
    value = BigInt.asIntN(8 * count, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }
}
