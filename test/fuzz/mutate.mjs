// Changes valid files into others that are nearly valid.

/** Numbers at the edges of what counts, sizes and positions can be. */
const NUMBERS = [
  ...[0, -0, 1, -1, 2, 3, 7, 8, 255, 256, 4095, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1],
  ...[2 ** 32, 2 ** 33, 2 ** 40, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64, 1e300, 1e-9, 5e-324, 0.5],
  ...[-0.5, -(2 ** 31), -(2 ** 53), 1e9, 1e12],
];
const TEXTS = [
  ...['', '\0', '../x', '/etc/passwd', '__proto__', 'constructor', 'toString', 'NaN', '1e999'],
  ...['\u202e', '\ud800', '\n', 'F32', 'F64', 'I64', 'BF16', 'F8_E4M3', 'a'.repeat(5000), '-1'],
];
/** Bytes that mean something to some format. */
const TOKENS = [
  ...['"', '{', '}', '[', ']', ',', ':', '\\', '\n', '\0', 'null', 'true', '-', '1e9', '999999999'],
  ...[
    '"shape":',
    '"data_offsets":',
    '__metadata__',
    "'descr'",
    "'shape': (",
    'PK\x03\x04',
    'PK\x05\x06',
  ],
].map((text) => Buffer.from(text, 'latin1'));

const MOST_BYTES = 1 << 20;

/** Makes mutants from a stream of numbers in [0, 1). */
export class Mutator {
  #random;

  constructor(random) {
    this.#random = random;
  }

  below(n) {
    return Math.floor(this.#random() * n);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** A mutant of one of the seeds; `kind` (`json`, `safetensors`, `bytes`) tells what structure it may follow. */
  mutate(seeds, kind) {
    const seed = this.pick(seeds);
    let bytes = Buffer.from(seed);
    if (kind === 'json' && this.#random() < 0.7) bytes = this.json(bytes);
    else if (kind === 'safetensors' && this.#random() < 0.5) bytes = this.safetensors(bytes);
    else for (let n = 1 + this.below(4); n > 0; n--) bytes = this.bytes(bytes, seeds);
    return bytes.length > MOST_BYTES ? bytes.subarray(0, MOST_BYTES) : bytes;
  }

  bytes(given, seeds) {
    const bytes = Buffer.from(given);
    const at = this.below(bytes.length + 1);
    const length = Math.min(bytes.length - at, 1 + this.below(this.pick([2, 8, 64, 1024])));
    const [before, part, after] = [
      bytes.subarray(0, at),
      bytes.subarray(at, at + length),
      bytes.subarray(at + length),
    ];
    switch (this.below(9)) {
      case 0:
        if (length > 0) bytes[at] ^= 1 << this.below(8);
        return bytes;
      case 1:
        if (length > 0) bytes[at] = this.pick([0, 1, 0x7f, 0x80, 0xff, this.below(256)]);
        return bytes;
      case 2:
        return Buffer.concat([before, after]);
      case 3:
        return Buffer.concat([before, part, part, after]);
      case 4:
        return before;
      case 5:
        return Buffer.concat([before, this.pick(TOKENS), after]);
      case 6:
        return this.#number(bytes, at);
      case 7: {
        const other = this.pick(seeds);
        return Buffer.concat([before, other.subarray(this.below(other.length + 1))]);
      }
      default:
        return this.#digits(bytes);
    }
  }

  /** A 4- or 8-byte integer of either order in place of what is there. */
  #number(bytes, at) {
    const value = BigInt(Math.floor(Math.min(Math.abs(this.pick(NUMBERS)), 2 ** 64 - 2048)));
    const wide = this.#random() < 0.5;
    if (at + (wide ? 8 : 4) > bytes.length) return bytes;
    if (wide) bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
    else if (this.#random() < 0.5) bytes.writeUInt32LE(Number(BigInt.asUintN(32, value)), at);
    else bytes.writeUInt32BE(Number(BigInt.asUintN(32, value)), at);
    return bytes;
  }

  /** Another number in place of one that is written in digits. */
  #digits(bytes) {
    const text = bytes.toString('latin1');
    const found = [...text.matchAll(/\d+/g)];
    if (found.length === 0) return bytes;
    const { index, 0: digits } = this.pick(found);
    const rest = text.slice(index + digits.length);
    return Buffer.from(`${text.slice(0, index)}${this.pick(NUMBERS)}${rest}`, 'latin1');
  }

  /** The same JSON with one to three values changed. */
  json(bytes) {
    let value;
    try {
      value = JSON.parse(bytes.toString('utf8').replace(/^\ufeff/, ''));
    } catch {
      return this.bytes(bytes, [bytes]);
    }
    for (let n = 1 + this.below(3); n > 0; n--) value = this.#changed(value);
    return Buffer.from(JSON.stringify(value) ?? 'null');
  }

  #changed(value) {
    const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    // Going down is more probable than replacing: most of a manifest lies deep.
    if (keys.length === 0 || this.#random() < 0.12) return this.#replaced(value);
    const key = this.pick(keys);
    const copy = Array.isArray(value) ? [...value] : { ...value };
    switch (this.below(12)) {
      case 0:
        if (Array.isArray(copy)) copy.splice(Number(key), 1);
        else delete copy[key];
        break;
      case 1:
        if (Array.isArray(copy)) copy.splice(Number(key), 0, copy[key]);
        else copy[this.pick(TEXTS)] = copy[key];
        break;
      default:
        copy[key] = this.#changed(copy[key]);
    }
    return copy;
  }

  #replaced(value) {
    if (typeof value === 'number' && this.#random() < 0.8) {
      return this.pick([...NUMBERS, value + 1, value - 1, value * 2]);
    }
    if (typeof value === 'string' && this.#random() < 0.7) {
      return this.pick([...TEXTS, value.slice(1), `${value}x`, value.toUpperCase()]);
    }
    const deep = JSON.parse('['.repeat(200) + ']'.repeat(200));
    return this.pick([null, true, [], {}, [value], { a: value }, '', ...NUMBERS.slice(0, 8), deep]);
  }

  /** A safetensors file whose JSON header was changed, with the right length before it. */
  safetensors(bytes) {
    const length = bytes.length < 8 ? 0 : Number(bytes.readBigUInt64LE(0));
    if (length === 0 || 8 + length > bytes.length) return this.bytes(bytes, [bytes]);
    const header = this.json(bytes.subarray(8, 8 + length));
    // Most changes keep the position of the data, so that only the change itself is wrong.
    const padded = Buffer.from(header.toString('latin1').padEnd(length), 'latin1');
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(padded.length));
    return Buffer.concat([prefix, padded, bytes.subarray(8 + length)]);
  }
}

/** Mulberry32. */
export function randomStream(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
