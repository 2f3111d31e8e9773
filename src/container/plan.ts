import { DTYPES, type Dtype } from '../core/dtypes.js';
import { SoftpackError } from '../errors.js';
import {
  MAX_HEADER_BYTES,
  MAX_TENSORS,
  PAD_PREFIX,
  parseSafetensorsHeader,
  type SafetensorsLayout,
  tensorBytes,
} from './safetensors.js';
import { BLOCK_SUMS } from './tensor-blocks.js';

interface Alignment {
  /** The data section starts at a multiple of this. */
  readonly data: number;
  /** Every tensor starts at a multiple of this, or of the size of its elements. */
  readonly tensor?: number;
}

/** Whole pages for direct and mapped reads, and whole cache lines. */
const LARGE: Alignment = { data: 4096, tensor: 64 };
/** Padding would make up most of a file of a few kB. */
const SMALL: Alignment = { data: 8 };
/** Data sections below this are small, bytes: padding of larger ones is less than 0.5 % of them. */
const SMALL_BYTES = 2 ** 20;

export interface PlannedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export interface SafetensorsPlan {
  /** The first `layout.dataOffset` bytes of the file. */
  readonly header: Uint8Array;
  readonly layout: SafetensorsLayout;
}

/** How a file is aligned, by the bytes of its tensors. */
export function alignmentOf(tensors: readonly PlannedTensor[]): Alignment {
  const bytes = tensors.reduce(
    (sum, { dtype, shape }) => sum + (tensorBytes(dtype, shape) ?? 0),
    0,
  );
  return bytes < SMALL_BYTES ? SMALL : LARGE;
}

/**
 * Lays out a file before a byte of it is written: tensors in the order given, aligned by named pad tensors
 * (to be filled with zeros), the header by trailing spaces. Equal input gives equal bytes.
 */
export function planSafetensors(
  tensors: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>> = {},
  alignment = alignmentOf(tensors),
): SafetensorsPlan {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let position = 0;
  let pads = 0;
  const add = (name: string, dtype: Dtype, shape: readonly number[], bytes: number) => {
    header[name] = { dtype, shape, data_offsets: [position, position + bytes] };
    position += bytes;
  };
  for (const { name, dtype, shape } of tensors) {
    const bytes = tensorBytes(dtype, shape);
    const isPad = name.startsWith(PAD_PREFIX) && name !== BLOCK_SUMS;
    const reserved = ['__metadata__', '__proto__'].includes(name) || isPad;
    if (bytes === undefined || reserved || Object.hasOwn(header, name)) {
      throw new SoftpackError(
        'INVALID_ARGUMENT',
        'tensor cannot be stored under this name and shape',
        {
          field: `tensor ${name}`,
          expected: 'a unique name and a whole number of bytes',
          found: `${dtype} [${shape}]`,
        },
      );
    }
    const multiple = alignment.tensor ?? Math.max(1, DTYPES[dtype].bits / 8);
    const pad = -position & (multiple - 1);
    if (pad > 0) add(`${PAD_PREFIX}${pads++}`, 'U8', [pad], pad);
    add(name, dtype, shape, bytes);
  }
  const json = Buffer.from(JSON.stringify(header));
  const dataOffset = Math.ceil((8 + json.length) / alignment.data) * alignment.data;
  if (dataOffset - 8 > MAX_HEADER_BYTES || tensors.length + pads > MAX_TENSORS) {
    throw new SoftpackError('INVALID_ARGUMENT', 'too much for one safetensors file', {
      field: 'tensors',
      expected: `at most ${MAX_TENSORS} tensors, a header of ${MAX_HEADER_BYTES} bytes`,
      found: `${tensors.length + pads} tensors, ${json.length} bytes`,
    });
  }
  const bytes = Buffer.alloc(dataOffset, ' ');
  bytes.writeBigUInt64LE(BigInt(dataOffset - 8), 0);
  json.copy(bytes, 8);
  // Parsing our own header proves that any reader as strict as ours will take the file.
  const layout = parseSafetensorsHeader('planned file', bytes, dataOffset + position);
  return { header: bytes, layout };
}
