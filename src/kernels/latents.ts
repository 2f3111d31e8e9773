import type { ThreadOptions } from './thread-options.js';

/** Labels softmax((bias + latent . basis) / tau) of latents that the caller has. The arrays are copied. */
export interface LatentDecoderSpec {
  /** [latent, classes]. */
  readonly basis: Float32Array;
  /** [classes]. */
  readonly bias: Float32Array;
  /** Both factors rounded to bfloat16, where the processor has a unit for it: within 4e-3. Default false: 2e-6. */
  readonly fastest?: boolean;
}

export interface DecodeLatentsArgs extends ThreadOptions {
  /** [labels, latent]. */
  readonly latents: Float32Array;
  readonly tau: number;
  /** [labels, classes]; float16 in a Uint16Array. */
  readonly out: Float32Array | Uint16Array;
}

/** Held until disposed. */
export interface LatentDecoder extends Disposable {
  readonly spec: LatentDecoderSpec;
  decode(args: DecodeLatentsArgs): void;
  decodeAsync(args: DecodeLatentsArgs): Promise<void>;
  dispose(): void;
}
