import { excerpt, SoftpackError, type SoftpackErrorCode } from '../errors.js';
import { isJsonObject, type JsonObject, type JsonValue } from './json.js';

const DIGEST = /^[0-9a-f]{64}$/;
/** No separators, no dot in front: a manifest cannot point outside its own directory. */
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** Checks of single fields of a JSON document; each throws an error naming the document and the field. */
export class FieldChecker {
  /** For error messages: a file, or the argument that a caller gave. */
  readonly name: string;
  readonly #code: SoftpackErrorCode;

  constructor(name: string, code: SoftpackErrorCode) {
    this.name = name;
    this.#code = code;
  }

  that<T>(valid: boolean, found: T, field: string, expected: string): T {
    if (valid) return found;
    throw new SoftpackError(this.#code, 'not valid', {
      field: `${this.name}: ${field}`,
      expected,
      found: excerpt(found ?? 'nothing'),
    });
  }

  count(value: JsonValue | undefined, field: string, least: number): number {
    const valid = Number.isSafeInteger(value) && Number(value) >= least;
    return this.that(valid, value, field, `a whole number from ${least} on`) as number;
  }

  positive(value: JsonValue | undefined, field: string): number {
    return this.that(Number(value) > 0 && typeof value === 'number', value, field, '> 0') as number;
  }

  text(value: JsonValue | undefined, field: string, pattern = /^.+$/s): string {
    const valid = typeof value === 'string' && pattern.test(value);
    return this.that(valid, value, field, `text like ${pattern.source}`) as string;
  }

  digest(value: JsonValue | undefined, field: string): string {
    return this.text(value, field, DIGEST);
  }

  list(value: JsonValue | undefined, field: string): readonly JsonValue[] {
    return this.that(Array.isArray(value), value, field, 'a list') as readonly JsonValue[];
  }

  texts(value: JsonValue | undefined, field: string): readonly string[] {
    return this.list(value, field).map((item, i) => this.text(item, `${field}[${i}]`));
  }

  object(value: JsonValue | undefined, field: string): JsonObject {
    return this.that(isJsonObject(value), value, field, 'an object') as JsonObject;
  }

  range(value: JsonValue | undefined, field: string): readonly [number, number] {
    const edges = this.list(value, field).map((item) => this.count(item, field, 0));
    const [begin, end] = edges;
    this.that(edges.length === 2 && begin < end, value, field, '[begin, end], begin < end');
    return [begin, end];
  }

  fileName(value: JsonValue | undefined, field: string): string {
    return this.text(value, field, FILE_NAME);
  }
}
