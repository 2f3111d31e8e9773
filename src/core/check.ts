import { excerpt, SoftpackError, type SoftpackErrorCode } from '../errors.js';
import { isJsonObject, type JsonObject, type JsonValue } from './json.js';

const DIGEST = /^[0-9a-f]{64}$/;
/** No separators, no dot in front: a manifest cannot point outside its own directory. */
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** Whether a test of a stranger's value holds; false if even looking at it throws, as with a revoked proxy. */
export function holds(test: () => boolean): boolean {
  try {
    return test();
  } catch {
    return false;
  }
}

/** One broken rule. */
export interface Problem {
  readonly field: string;
  readonly message: string;
  readonly expected: unknown;
  readonly found: unknown;
  /** Default: `INVALID_ARGUMENT`. */
  readonly code?: SoftpackErrorCode;
  /** The problem as it was thrown. */
  readonly error?: SoftpackError;
}

/**
 * Checks of single values, for arguments, files and configurations alike: each returns the value with its type, or
 * throws an error that names the document and the field.
 */
export class FieldChecker {
  /** For error messages: a file or an argument; empty for fields that speak for themselves. */
  readonly name: string;
  readonly #code: SoftpackErrorCode;
  readonly #message: string;

  constructor(name: string, code: SoftpackErrorCode, message = 'not valid') {
    this.name = name;
    this.#code = code;
    this.#message = message;
  }

  that<T>(valid: boolean, found: T, field: string, expected: string): T {
    if (!valid) this.fail(field, this.#message, expected, found ?? 'nothing');
    return found;
  }

  /** For rules that need their own words. */
  fail(field: string, message: string, expected: unknown, found: unknown): void {
    this.report({
      field: this.name === '' ? field : `${this.name}: ${field}`,
      message,
      expected,
      found: excerpt(found),
    });
  }

  protected report({ message, ...details }: Problem): void {
    throw new SoftpackError(this.#code, message, details);
  }

  count(value: unknown, field: string, least: number, most = Number.MAX_SAFE_INTEGER): number {
    const valid = Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
    if (valid) return value as number;
    const range =
      most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
    return this.that(false, value, field, `a whole number ${range}`) as number;
  }

  powerOfTwo(value: unknown, field: string, least: number, most: number): number {
    const valid =
      typeof value === 'number' &&
      value >= least &&
      value <= most &&
      Number.isInteger(Math.log2(value));
    return this.that(valid, value, field, `a power of two from ${least} to ${most}`) as number;
  }

  positive(value: unknown, field: string): number {
    const valid = typeof value === 'number' && value > 0 && value < Number.POSITIVE_INFINITY;
    return this.that(valid, value, field, 'a number > 0') as number;
  }

  /** A number from `least` to `most`, both included. */
  number(value: unknown, field: string, least: number, most: number): number {
    const valid = typeof value === 'number' && value >= least && value <= most;
    return this.that(valid, value, field, `a number from ${least} to ${most}`) as number;
  }

  /** A number between 0 and 1, neither of them included. */
  share(value: unknown, field: string): number {
    const valid = typeof value === 'number' && value > 0 && value < 1;
    return this.that(valid, value, field, 'a number in (0, 1)') as number;
  }

  flag(value: unknown, field: string): boolean {
    return this.that(typeof value === 'boolean', value, field, 'true or false') as boolean;
  }

  oneOf<T extends string>(value: unknown, field: string, names: readonly T[]): T {
    return this.that(names.includes(value as T), value, field, names.join('|')) as T;
  }

  text(value: unknown, field: string, pattern = /^.+$/s): string {
    const valid = typeof value === 'string' && pattern.test(value);
    return this.that(valid, value, field, `text like ${pattern.source}`) as string;
  }

  digest(value: unknown, field: string): string {
    return this.text(value, field, DIGEST);
  }

  list(value: unknown, field: string): readonly JsonValue[] {
    return this.that(
      holds(() => Array.isArray(value)),
      value,
      field,
      'a list',
    ) as readonly JsonValue[];
  }

  texts(value: unknown, field: string): readonly string[] {
    return this.list(value, field).map((item, i) => this.text(item, `${field}[${i}]`));
  }

  object(value: unknown, field: string): JsonObject {
    return this.that(
      holds(() => isJsonObject(value)),
      value,
      field,
      'an object',
    ) as JsonObject;
  }

  range(value: unknown, field: string): readonly [number, number] {
    const edges = this.list(value, field).map((item) => this.count(item, field, 0));
    const [begin, end] = edges;
    this.that(edges.length === 2 && begin < end, value, field, '[begin, end], begin < end');
    return [begin, end];
  }

  fileName(value: unknown, field: string): string {
    return this.text(value, field, FILE_NAME);
  }
}

/** Checks arguments: the field alone says which one is wrong. */
export const argument = new FieldChecker('', 'INVALID_ARGUMENT');

/** All rules that `check` breaks, at most one per field, instead of an error for the first. */
export function problemsOf(
  name: string,
  message: string,
  check: (checker: FieldChecker) => void,
): readonly Problem[] {
  const collector = new ProblemCollector(name, 'INVALID_ARGUMENT', message);
  check(collector);
  return [...collector.problems.values()];
}

class ProblemCollector extends FieldChecker {
  readonly problems = new Map<string, Problem>();

  protected override report(problem: Problem): void {
    if (!this.problems.has(problem.field)) this.problems.set(problem.field, problem);
  }
}

/** Throws one error that lists every problem, if there is any. */
export function requireNoProblems(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const errors = problems.map(
    ({ code = 'INVALID_ARGUMENT', message, error, ...details }) =>
      error ?? new SoftpackError(code, message, details),
  );
  const [first] = errors;
  if (errors.length === 1) throw first;
  const { code, field, expected, found } = first;
  const error = new SoftpackError(code, '', { field, expected, found });
  error.message = `${errors.length} problems:\n${errors.map(({ message }) => `- ${message}`).join('\n')}`;
  throw error;
}
