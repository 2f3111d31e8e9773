import { kmeans } from '../codecs/math/kmeans.js';
import type { RandomSequence } from '../core/random.js';
import { STAGE_CODES } from '../kernels/tokens.js';
import type { Kernels } from '../kernels/types.js';

/** Residual vector quantisation: each stage quantises what those before it left. */
export class ResidualVq {
  readonly width: number;
  /** [stages, 256, width]. */
  readonly codebooks: Float32Array;

  constructor(width: number, codebooks: Float32Array) {
    this.width = width;
    this.codebooks = codebooks;
  }

  /** @param vectors [count, width], count >= 256; not changed. */
  static async train(
    vectors: Float32Array,
    width: number,
    stages: number,
    kernels: Kernels,
    random: RandomSequence,
  ): Promise<ResidualVq> {
    const codebooks = new Float32Array(stages * STAGE_CODES * width);
    const rest = vectors.slice();
    for (let stage = 0; stage < stages; stage++) {
      const codebook = await kmeans(rest, width, STAGE_CODES, kernels, random);
      codebooks.set(codebook, stage * STAGE_CODES * width);
      await subtractNearest(rest, codebook, width, kernels);
    }
    return new ResidualVq(width, codebooks);
  }

  get stages(): number {
    return this.codebooks.length / (STAGE_CODES * this.width);
  }

  /** Indices [stages, count] of vectors [count, width]. */
  async encode(vectors: Float32Array, kernels: Kernels): Promise<Uint16Array> {
    const rest = vectors.slice();
    const size = STAGE_CODES * this.width;
    const count = vectors.length / this.width;
    const indices = new Uint16Array(this.stages * count);
    for (let stage = 0; stage < this.stages; stage++) {
      const codebook = this.codebooks.subarray(stage * size, (stage + 1) * size);
      indices.set(await subtractNearest(rest, codebook, this.width, kernels), stage * count);
    }
    return indices;
  }
}

async function subtractNearest(
  vectors: Float32Array,
  codebook: Float32Array,
  width: number,
  kernels: Kernels,
): Promise<Uint16Array> {
  const out = new Uint16Array(vectors.length / width);
  await kernels.nearestAsync({ vectors, codebook, out, width });
  for (let i = 0; i < out.length; i++) {
    const at = out[i] * width;
    for (let j = 0; j < width; j++) vectors[i * width + j] -= codebook[at + j];
  }
  return out;
}
