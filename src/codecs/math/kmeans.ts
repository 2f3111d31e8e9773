import type { RandomSequence } from '../../core/random.js';
import type { Kernels } from '../../kernels/types.js';

const ITERATIONS = 12;

/**
 * Codebook [k, width] of Lloyd's algorithm on `vectors` [count, width], count >= k, started from k distinct
 * vectors. A codeword that no vector chose moves onto a random vector.
 */
export async function kmeans(
  vectors: Float32Array,
  width: number,
  k: number,
  kernels: Kernels,
  random: RandomSequence,
): Promise<Float32Array> {
  const count = vectors.length / width;
  const codebook = new Float32Array(k * width);
  const copy = (code: number, from: number) =>
    codebook.set(vectors.subarray(from * width, (from + 1) * width), code * width);
  for (const [code, from] of random.distinct(k, count).entries()) copy(code, from);
  const chosen = new Uint16Array(count);
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    await kernels.nearestAsync({ vectors, codebook, out: chosen, width });
    const sums = new Float64Array(k * width);
    const members = new Uint32Array(k);
    for (let i = 0; i < count; i++) {
      members[chosen[i]]++;
      const at = chosen[i] * width;
      for (let j = 0; j < width; j++) sums[at + j] += vectors[i * width + j];
    }
    for (let code = 0; code < k; code++) {
      if (members[code] === 0) copy(code, random.below(count));
      else
        for (let j = 0; j < width; j++)
          codebook[code * width + j] = sums[code * width + j] / members[code];
    }
  }
  return codebook;
}
