import type { Decoder, Kernels, LabelArray, Precision } from '../../kernels/types.js';
import type { Basis } from './basis.js';

/**
 * Labels softmax((mean + latent . components) / tau) on the kernels' decoder, which adds base vectors to what it looks
 * up: here the latents of a few labels are its base vectors, and the one codeword is zero. Costs a copy of the
 * components for every call, a hundredth of the product with a thousand labels.
 */
export class LatentDecoder {
  readonly #basis: Basis;
  readonly #rank: number;
  readonly #kernels: Kernels;
  readonly #precision: Precision;

  constructor(basis: Basis, rank: number, kernels: Kernels, precision: Precision = 'exact') {
    this.#basis = basis;
    this.#rank = rank;
    this.#kernels = kernels;
    this.#precision = precision;
  }

  /** @param latents [labels, rank]. @param out [labels, classes]. */
  decode(latents: Float32Array, tau: number, out: LabelArray, threads?: number): void {
    using decoder = this.#decoderOf(latents, tau);
    decoder.decode(this.#args(latents, out, threads));
  }

  async decodeAsync(
    latents: Float32Array,
    tau: number,
    out: LabelArray,
    threads?: number,
  ): Promise<void> {
    using decoder = this.#decoderOf(latents, tau);
    await decoder.decodeAsync(this.#args(latents, out, threads));
  }

  #decoderOf(latents: Float32Array, tau: number): Decoder {
    const { mean, components } = this.#basis;
    const rank = this.#rank;
    return this.#kernels.createDecoder({
      ...{ classes: mean.length, latent: rank, stages: 1, levels: 1, width: rank },
      ...{ codebookStride: 0, latentStep: 0, bits: 1, codebooks: new Float32Array(rank) },
      ...{ basis: components, bias: mean, bases: latents, head: { kind: 'softmax', tau } },
      // `fast` would be tables in fixed point, of one codeword.
      ...(this.#precision === 'fastest' ? { precision: 'fastest' } : { method: 'latent' }),
    });
  }

  #args(latents: Float32Array, out: LabelArray, threads: number | undefined) {
    const count = latents.length / this.#rank;
    const pairs = Uint32Array.from({ length: 2 * count }, (_, i) => i >> 1);
    const prediction = { pairs, weights: new Float32Array(count).fill(1) };
    const codes = new Uint8Array(Math.ceil(count / 8));
    return { codes, labels: { start: 0, count }, prediction, out, threads };
  }
}
