import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import type { Codec, DecodeOptions } from './codec.js';
import { MeanCodec } from './mean.js';
import { NoneCodec } from './none.js';
import { PrincipalCodec } from './pca.js';
import { ScalarCodec } from './scalar.js';
import { TopKCodec } from './top-k.js';
import { VqCodec } from './vq.js';
import { VqaeCodec } from './vqae/codec.js';

type Load = (parts: CodecParts, kernels: Kernels, options: DecodeOptions) => Codec;

const CODECS: Readonly<Record<string, Load>> = {
  none: (parts) => NoneCodec.fromParts(parts),
  vqae: (parts, kernels, options) => VqaeCodec.fromParts(parts, kernels, options),
  topk: (parts) => TopKCodec.fromParts(parts),
  pca: (parts, kernels) => PrincipalCodec.fromParts(parts, kernels),
  rpca: (parts, kernels) => PrincipalCodec.fromParts(parts, kernels),
  scalar: (parts, kernels) => ScalarCodec.fromParts(parts, kernels),
  vq: (parts, kernels) => VqCodec.fromParts(parts, kernels),
  mean: (parts) => MeanCodec.fromParts(parts),
};

/** Rebuilds a codec from what an archive keeps of it. `UNSUPPORTED` for a name this version does not know. */
export function loadCodec(parts: CodecParts, kernels: Kernels, options: DecodeOptions = {}): Codec {
  if (!Object.hasOwn(CODECS, parts.name)) {
    throw new SoftpackError('UNSUPPORTED', 'unknown codec', {
      field: 'codec',
      expected: Object.keys(CODECS).join(', '),
      found: parts.name,
    });
  }
  return CODECS[parts.name](parts, kernels, options);
}
