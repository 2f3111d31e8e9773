import { isTypedArray } from './arrays.js';
import { argument } from './check.js';

/** Ids have 32 bits. */
const MOST_SAMPLES = 2 ** 32;

/** Samples by global id: `count` consecutive ones, or a list in any order. */
export type SampleRange = { readonly start: number; readonly count: number } | Uint32Array;

/** Both lists, one after the other. */
export function concatenateIds(first: ArrayLike<number>, second: ArrayLike<number>): Uint32Array {
  const all = new Uint32Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

/** @throws SoftpackError `INVALID_ARGUMENT` for what is neither a range nor a list of ids. */
export function sampleIds(samples: SampleRange | readonly number[]): Uint32Array {
  if (isTypedArray(samples, 'Uint32Array')) return samples;
  if (isList(samples)) {
    return Uint32Array.from(samples, (id, i) =>
      argument.count(id, `samples[${i}]`, 0, MOST_SAMPLES - 1),
    );
  }
  const { start, count } = argument.object(samples, 'samples');
  const first = argument.count(start, 'samples.start', 0, MOST_SAMPLES);
  const length = argument.count(count, 'samples.count', 0, MOST_SAMPLES - first);
  return Uint32Array.from({ length }, (_, i) => first + i);
}

function isList(samples: unknown): samples is readonly number[] {
  return Array.isArray(samples);
}
