import type { TokenCodecConfig } from './config.js';

/** Entries of a label that the id which follows may be told by. */
const MOST_RANKS = 32;

/** Entries of a label that have a symbol: ids that are listed or, without any, those that were drawn. */
export function textRanks({
  k,
  samples,
  draws,
}: Pick<TokenCodecConfig, 'k' | 'samples' | 'draws'>): number {
  const drawn = draws === 'counted' ? samples : 0;
  return Math.min(k > 0 ? k : drawn, MOST_RANKS);
}

/**
 * Ids [labels, width] of labels that are in the order of names, the most probable first; equal ones stay as they are. Entries behind
 * the last one of a label have probability 0 and stay there.
 */
export function byProbability(
  ids: Int32Array,
  probabilities: Float32Array,
  width: number,
): Int32Array {
  const out = new Int32Array(ids.length);
  const values = new Float32Array(width);
  for (let row = 0; row < ids.length; row += width) {
    for (let i = 0; i < width; i++) {
      const value = probabilities[row + i];
      let at = i;
      for (; at > 0 && values[at - 1] < value; at--) {
        values[at] = values[at - 1];
        out[row + at] = out[row + at - 1];
      }
      values[at] = value;
      out[row + at] = ids[row + i];
    }
  }
  return out;
}

/** The same of draws [labels, width] that ascend within a label, before ids have names. */
export function drawnByFrequency(draws: Uint32Array, width: number): Int32Array {
  const ids = new Int32Array(draws.length);
  const counts = new Float32Array(draws.length);
  for (let row = 0; row < draws.length; row += width) {
    let entry = row;
    for (let i = row; i < row + width; i++) {
      if (i > row && draws[i] !== draws[i - 1]) entry++;
      ids[entry] = draws[i];
      counts[entry]++;
    }
  }
  return byProbability(ids, counts, width);
}
