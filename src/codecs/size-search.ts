import { isSoftpackError, SoftpackError } from '../errors.js';
import type { ByteRequest, NamedChoice } from './descriptor.js';

/** Bits per label that leave the codes `ratio` times smaller than float16. */
function bitsForRatio(classes: number, ratio: number): number {
  requireRatio(ratio);
  // A hair above, so that a ratio which parameters meet exactly is not lost to rounding.
  return (16 * classes * (1 + 1e-12)) / ratio;
}

/**
 * Number of units of `bitsEach` that fit the ratio, at most `most`. `INVALID_ARGUMENT`, with the highest ratio that can be
 * reached, if not even one does.
 */
export function unitsForRatio(
  name: string,
  { classes, ratio }: { readonly classes: number; readonly ratio: number },
  bitsEach: number,
  most: number,
): number {
  const units = Math.floor(bitsForRatio(classes, ratio) / bitsEach);
  if (units >= 1) return Math.min(units, most);
  const highest = Number(((16 * classes) / bitsEach).toPrecision(3));
  throw unreachableRatio(`at most ${highest} for ${classes} classes with ${name}`, ratio);
}

export function requireRatio(ratio: number): void {
  if (!(ratio >= 1)) throw unreachableRatio('a number of at least 1', ratio);
}

export function unreachableRatio(expected: string, found: number): SoftpackError {
  const details = { field: 'ratio', expected, found };
  return new SoftpackError('INVALID_ARGUMENT', 'compression ratio out of reach', details);
}

/** For labels that cannot be stored in `found` bits each, as they take `least`. */
export function unreachableRate(least: number, found: number): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'these labels take more bits, tensors included', {
    field: 'codec.rate',
    expected: `at least ${upwards(least)} bits per label`,
    found: Number(found.toPrecision(3)),
    cause: { least } satisfies LeastRate,
  });
}

interface LeastRate {
  readonly least: number;
}

/** The least rate that an error of {@link unreachableRate} tells. */
export function leastRateOf(error: unknown): number | undefined {
  if (!isSoftpackError(error) || error.field !== 'codec.rate') return undefined;
  return (error.cause as Partial<LeastRate> | undefined)?.least;
}

/** Three digits, rounded up: a rate that is said to be enough must be. */
export function upwards(value: number): number {
  const unit = 10 ** (Math.floor(Math.log10(value)) - 2);
  return Number((Math.ceil(value / unit) * unit).toPrecision(3));
}

/** The choice of the largest integer in [least, high] that fits the budget; undefined if not even `least` does. */
export function largestFitting<Sized extends NamedChoice>(
  { budget, bytesOf }: Pick<ByteRequest<Sized>, 'budget' | 'bytesOf'>,
  high: number,
  at: (value: number) => Sized,
  least = 1,
): Sized | undefined {
  return largest(
    high,
    (value) => {
      const choice = at(value);
      return bytesOf(choice) <= budget ? choice : undefined;
    },
    least,
  );
}

/** The result for the largest integer in [least, high] that has one; results end when sizes outgrow the budget. */
export function largest<T>(
  high: number,
  at: (value: number) => T | undefined,
  least = 1,
): T | undefined {
  let best = at(least);
  if (best === undefined) return undefined;
  let [low, top] = [least, high];
  while (low < top) {
    const middle = Math.ceil((low + top) / 2);
    const found = at(middle);
    if (found === undefined) top = middle - 1;
    else [low, best] = [middle, found];
  }
  return best;
}
