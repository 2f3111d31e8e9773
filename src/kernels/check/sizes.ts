import { floats } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import { SoftpackError } from '../../errors.js';

/** Checks that several operations share. */

/** Indices are at most 16 bits wide. */
const MAX_BITS = 16;
const MAX_LEVELS = 2 ** MAX_BITS;
const MAX_THREADS = 256;

/** The arguments of an operation: an object, whatever else. */
export function given<Args extends object>(args: Args): Args {
  return argument.object(args, 'arguments') as unknown as Args;
}

export function size(field: string, value: unknown, least = 0): number {
  return argument.count(value, field, least);
}

export function bitWidth(value: unknown): number {
  return argument.count(value, 'bits', 1, MAX_BITS);
}

export function threads(value: unknown): number {
  return argument.count(value ?? 0, 'threads', 0, MAX_THREADS);
}

export function flag(field: string, value: unknown): boolean {
  return argument.flag(value ?? false, field);
}

/** One of `known`, or undefined for the default. */
export function choice(field: string, value: unknown, known: readonly string[]): void {
  if (value !== undefined) argument.oneOf(value, field, known);
}

/**
 * A number that is above zero, and so is its inverse, once rounded to float32: the kernels compute in it, and divide
 * by temperatures and by sums that are as small as a clamp head's eps.
 */
export function positive(field: string, value: unknown): void {
  const rounded = typeof value === 'number' ? Math.fround(value) : Number.NaN;
  const valid = rounded > 0 && rounded < Infinity && Math.fround(1 / rounded) < Infinity;
  argument.that(valid, value, field, 'a float32 number above 0, from 3e-39 on');
}

export function quotient(field: string, length: number, divisor: number, by: string): number {
  argument.that(length % divisor === 0, length, field, `a multiple of ${by} = ${divisor}`);
  return length / divisor;
}

/** A codebook of 1 to 2^bits codewords. */
export function codebookOf(value: unknown, width: number, bits = MAX_BITS) {
  const codebook = floats('codebook', value);
  const levels = quotient('codebook', codebook.length, width, 'width');
  const most = Math.min(2 ** bits, MAX_LEVELS);
  argument.that(levels >= 1 && levels <= most, levels, 'codebook', `1 to ${most} codewords`);
  return { codebook, levels };
}

export function holdsBits(field: string, array: Uint8Array, bits: number): void {
  const bytes = Math.ceil(bits / 8);
  argument.that(array.length >= bytes, array.length, field, `at least ${bytes} bytes`);
}

/** Resources that an encoder or decoder holds until it is disposed. */
export function present<T>(field: string, held: T | undefined): T {
  if (held === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'already disposed', { field });
  }
  return held;
}
