import type { Dtype } from '../core/dtypes.js';
import { SoftpackError } from '../errors.js';
import {
  MAX_HEADER_BYTES,
  MAX_TENSORS,
  PAD_PREFIX,
  parseSafetensorsHeader,
  type SafetensorsLayout,
  tensorBytes,
} from './safetensors.js';

/** The data section starts at a multiple of this: whole pages, for direct and mapped reads. */
const DATA_ALIGNMENT = 4096;
/** Every tensor starts at a multiple of this: whole cache lines, aligned for any dtype. */
const TENSOR_ALIGNMENT = 64;

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

/**
 * Lays out a file before a byte of it is written: tensors in the order given, aligned by named pad tensors
 * (to be filled with zeros), the header by trailing spaces. Equal input gives equal bytes.
 */
export function planSafetensors(
  tensors: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>> = {},
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
    const reserved = ['__metadata__', '__proto__'].includes(name) || name.startsWith(PAD_PREFIX);
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
    const pad = -position & (TENSOR_ALIGNMENT - 1);
    if (pad > 0) add(`${PAD_PREFIX}${pads++}`, 'U8', [pad], pad);
    add(name, dtype, shape, bytes);
  }
  const json = Buffer.from(JSON.stringify(header));
  const dataOffset = Math.ceil((8 + json.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
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
