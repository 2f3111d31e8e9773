/** Samples by global id: `count` consecutive ones, or a list in any order. */
export type SampleRange = { readonly start: number; readonly count: number } | Uint32Array;

export function sampleIds(samples: SampleRange): Uint32Array {
  if (samples instanceof Uint32Array) return samples;
  return Uint32Array.from({ length: samples.count }, (_, i) => samples.start + i);
}
