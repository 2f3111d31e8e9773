import { SoftpackError } from '../errors.js';
import type { Kernels } from '../native/kernels.js';
import type { Codec, CodecParts } from './codec.js';
import { NoneCodec } from './none.js';
import { VqaeCodec } from './vqae/codec.js';

const CODECS: Readonly<Record<string, (parts: CodecParts, kernels: Kernels) => Codec>> = {
  none: (parts) => NoneCodec.fromParts(parts),
  vqae: (parts, kernels) => VqaeCodec.fromParts(parts, kernels),
};

/** Rebuilds a codec from what an archive keeps of it. `UNSUPPORTED` for a name this version does not know. */
export function loadCodec(parts: CodecParts, kernels: Kernels): Codec {
  if (!Object.hasOwn(CODECS, parts.name)) {
    throw new SoftpackError('UNSUPPORTED', 'unknown codec', {
      field: 'codec',
      expected: Object.keys(CODECS).join(', '),
      found: parts.name,
    });
  }
  return CODECS[parts.name](parts, kernels);
}
