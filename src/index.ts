export type { Codec, CodecParts, CodeLayout, LabelContext } from './codec/codec.js';
export { SoftpackError, type SoftpackErrorCode } from './errors.js';
