import { SoftpackError } from '../errors.js';

/** Of a caller's config, or of one from a file. */
export type ConfigErrorCode = 'INVALID_ARGUMENT' | 'INVALID_FILE';

/** Throws for the first field of a codec's config that is out of range, naming it. */
export class ConfigCheck {
  readonly #codec: string;
  readonly #code: ConfigErrorCode;

  constructor(codec: string, code: ConfigErrorCode) {
    this.#codec = codec;
    this.#code = code;
  }

  that(valid: boolean, field: string, expected: string, found: unknown): void {
    if (valid) return;
    throw new SoftpackError(this.#code, `not a valid ${this.#codec} codec`, {
      field: `codec config ${field}`,
      expected,
      found,
    });
  }

  count(value: unknown, field: string, low = 1, high = Number.MAX_SAFE_INTEGER): void {
    const valid = Number.isSafeInteger(value) && Number(value) >= low && Number(value) <= high;
    const range = high === Number.MAX_SAFE_INTEGER ? `from ${low} on` : `from ${low} to ${high}`;
    this.that(valid, field, `a whole number ${range}`, value);
  }

  powerOfTwo(value: unknown, field: string, low: number, high: number): void {
    this.count(value, field, low, high);
    this.that(Number.isInteger(Math.log2(Number(value))), field, 'a power of two', value);
  }

  positive(value: unknown, field: string): void {
    const valid = typeof value === 'number' && value > 0 && value < Number.POSITIVE_INFINITY;
    this.that(valid, field, 'a positive number', value);
  }

  /** Floor of a clamp head. */
  floor(value: unknown, field: string): void {
    const valid = typeof value === 'number' && value > 0 && value < 1;
    this.that(valid, field, 'a number in (0, 1)', value);
  }

  oneOf(value: unknown, field: string, names: readonly string[]): void {
    this.that(names.includes(value as string), field, names.join('|'), value);
  }
}
