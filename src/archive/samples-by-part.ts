import type { PartOfEpoch } from './label-archive.js';

/** Samples of an archive that lie in one of its parts. */
export interface SamplesOfPart {
  readonly part: PartOfEpoch;
  /** Where they are in the list that was divided. */
  readonly positions: readonly number[];
  /** Their numbers in the part. */
  readonly own: Uint32Array;
}

/** @param parts of an epoch, in order of samples. */
export function samplesByPart(
  parts: readonly PartOfEpoch[],
  ids: Uint32Array,
): readonly SamplesOfPart[] {
  return parts.flatMap((part) => {
    const [from, to] = part.samples;
    const positions = Array.from(ids.keys()).filter((i) => ids[i] >= from && ids[i] < to);
    const own = Uint32Array.from(positions, (i) => ids[i] - from);
    return positions.length === 0 ? [] : [{ part, positions, own }];
  });
}

/** Puts rows of equal length where the list that was divided has them. */
export function scatterRows(
  rows: Float32Array,
  positions: readonly number[],
  out: Float32Array,
): void {
  const length = rows.length / positions.length;
  for (const [i, at] of positions.entries()) {
    out.set(rows.subarray(i * length, (i + 1) * length), at * length);
  }
}
