import { isTypedArray } from './arrays.js';

/** Samples by global id: `count` consecutive ones, or a list in any order. */
export type SampleRange = { readonly start: number; readonly count: number } | Uint32Array;

/** Both lists, one after the other. */
export function concatenateIds(first: ArrayLike<number>, second: ArrayLike<number>): Uint32Array {
  const all = new Uint32Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

export function sampleIds(samples: SampleRange): Uint32Array {
  if (isTypedArray(samples, 'Uint32Array')) return samples;
  return Uint32Array.from({ length: samples.count }, (_, i) => samples.start + i);
}
