import type { CodecParts } from '../core/codec-parts.js';
import type { Kernels } from '../kernels/types.js';
import type { Codec, DecodeOptions } from './codec.js';
import { CodecRegistry } from './codec-registry.js';
import { MEAN } from './mean.js';
import { NONE } from './none.js';
import { PREDICTIVE } from './predictive/descriptor.js';
import { PCA } from './principal/pca.js';
import { RPCA } from './principal/rpca.js';
import { SCALAR } from './scalar.js';
import { TOP_K } from './top-k.js';
import { TRANSFORM } from './transform/descriptor.js';
import { VQ } from './vq.js';
import { VQAE } from './vqae/descriptor.js';

/** softpack's codecs. */
export const CODECS = CodecRegistry.of(
  VQAE,
  TOP_K,
  PCA,
  RPCA,
  VQ,
  SCALAR,
  TRANSFORM,
  PREDICTIVE,
  NONE,
  MEAN,
);

/**
 * A codec and its size: its parameters, or `ratio`, the least compression of its codes relative to float16. The
 * default codec is `vqae`.
 */
export type CodecChoice = Parameters<(typeof CODECS)['sized']>[0];

/** A choice with all of its parameters. */
export type SizedChoice = ReturnType<(typeof CODECS)['sized']>;

/** Rebuilds a codec from what an archive keeps of it. `UNSUPPORTED` for a name this version does not know. */
export function loadCodec(parts: CodecParts, kernels: Kernels, options: DecodeOptions = {}): Codec {
  return CODECS.load(parts, kernels, options);
}
