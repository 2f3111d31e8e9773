/** Results of a codec as plain data: codecs make them, archives keep them, neither knows the other. */

import { elementBytes, type TensorDtype } from './dtypes.js';

/**
 * Layout in bytes of the codes of one row (the labels of one epoch, in sample order).
 *
 * - `fixed`: label i occupies bits [i * bitsPerLabel, (i + 1) * bitsPerLabel), least significant bit first,
 *   with no padding between labels; the row ends on a whole byte.
 * - `blocks`: blocks of `labelsPerBlock` labels each, of lengths of their own.
 */
export type CodeLayout =
  | { readonly kind: 'fixed'; readonly bitsPerLabel: number }
  | { readonly kind: 'blocks'; readonly labelsPerBlock: number };

/** A named array of a safetensors file. `data` are the little-endian bytes. */
export interface Tensor {
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Everything needed to rebuild a codec: what `codec.safetensors` and `samples.safetensors` hold. */
export interface CodecParts {
  readonly name: string;
  /** Plain JSON: shapes, temperature, head. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Codebooks, decoder weights: shared by all labels. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Side data with one row a sample, shared by all epochs (base vectors, embeddings); often empty. */
  readonly sampleTensors: ReadonlyMap<string, Tensor>;
  /** Larger side data, of which a reader fetches what it needs. */
  readonly sampleBlocks?: SampleBlocks;
}

/**
 * Side data of samples in blocks of consecutive ones, coded independently of each other. What the bytes of a block mean
 * is known to the codec alone.
 */
export interface SampleBlocks {
  readonly samples: number;
  readonly samplesPerBlock: number;
  /** All blocks, as `core/blocks` has them; absent from an open archive, which reads those that labels need. */
  readonly row?: Uint8Array;
}

/** A block of side data by its number; undefined if it was not read. */
export type SampleBlockOf = (block: number) => Uint8Array | undefined;

export interface ShapedTensor {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
}

/** The size of a codec, known before it is trained. */
export interface CodecShape {
  readonly name: string;
  /** On average, where blocks have lengths of their own. */
  readonly bitsPerLabel: number;
  /** Present in the `blocks` layout. */
  readonly labelsPerBlock?: number;
  /** Description of the decoding, if it is longer than a line. */
  readonly decoding?: string;
  readonly tensors: readonly ShapedTensor[];
  readonly sampleTensors: readonly ShapedTensor[];
}

export function tensorBytes(tensors: readonly ShapedTensor[]): number {
  return tensors.reduce(
    (sum, { dtype, shape }) => sum + shape.reduce((product, n) => product * n, elementBytes(dtype)),
    0,
  );
}
