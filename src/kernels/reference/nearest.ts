import type { CheckedNearest } from '../check/matrices.js';

type Input = Pick<CheckedNearest, 'vectors' | 'codebook' | 'out' | 'width' | 'count' | 'levels'>;

/** Squared distances in float64; a codeword must be strictly nearer to replace an earlier one. */
export function nearest({ vectors, codebook, out, width, count, levels }: Input): void {
  for (let vector = 0; vector < count; vector++) {
    let best = 0;
    let least = Infinity;
    for (let level = 0; level < levels; level++) {
      let distance = 0;
      for (let i = 0; i < width; i++) {
        const difference =
          (vectors[vector * width + i] as number) - (codebook[level * width + i] as number);
        distance += difference * difference;
      }
      if (distance < least) {
        least = distance;
        best = level;
      }
    }
    out[vector] = best;
  }
}
