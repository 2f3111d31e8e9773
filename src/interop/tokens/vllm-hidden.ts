import {
  readSafetensorsLayout,
  type SafetensorsLayout,
  type TensorEntry,
} from '../../container/safetensors.js';
import { allocate } from '../../core/allocate.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import { FLOAT_BYTES, type FloatDtype, floatsOf } from '../../labels/elements.js';
import type { ByteFile } from '../../store/byte-store.js';
import { MAX_POSITIONS } from '../../tokens/sequence-block.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { type HiddenDtype, readStates } from './hidden-states.js';
import { requireTokens } from './label-file.js';

/**
 * Hidden states as vLLM's connectors and speculators write them, one safetensors file per request: `hidden_states`
 * [positions, layers, d] with `token_ids` [positions]; in the FP8 form `hidden_states_scales` [positions, 1, 1], one
 * factor for all layers of a position.
 */
export interface VllmHiddenOptions {
  readonly vocabulary: number;
  /** Which of the stored layers, counted from 0; default: the last. */
  readonly layer?: number;
}

const HIDDEN_DTYPES = ['BF16', 'F16', 'F32', 'F8_E4M3'];

/** The sequence of one file, which is read while the caller keeps it open. */
export async function vllmHiddenSequence(
  file: ByteFile,
  { vocabulary, layer }: VllmHiddenOptions,
): Promise<TokenSequence> {
  const layout = await readSafetensorsLayout(file);
  const states = tensorOf(file.name, layout, 'hidden_states', HIDDEN_DTYPES);
  if (states.shape.length !== 3 || states.shape.includes(0) || states.shape[0] > MAX_POSITIONS) {
    throw shapeError(file.name, states, '[positions, layers, dimensions]');
  }
  const [positions, layers, width] = states.shape;
  const chosen = layer ?? layers - 1;
  if (!Number.isInteger(chosen) || chosen < 0 || chosen >= layers) {
    throw new SoftpackError('INVALID_ARGUMENT', 'file has no such layer', {
      field: 'layer',
      expected: `0 to ${layers - 1} for ${file.name}`,
      found: chosen,
    });
  }
  const ids = tensorOf(file.name, layout, 'token_ids', ['I64', 'I32']);
  if (String(ids.shape) !== String([positions])) throw shapeError(file.name, ids, `[${positions}]`);
  const tokens = integersOf(file.name, ids, await readTensor(file, layout, ids));
  const each = states.dtype === 'F8_E4M3' ? 1 : FLOAT_BYTES[states.dtype as FloatDtype];
  const stored = {
    file,
    name: `${file.name}: hidden_states`,
    dtype: states.dtype as HiddenDtype,
    offset: layout.dataOffset + states.begin + chosen * width * each,
    stride: layers * width,
    width,
    ...(await scalesOf(file, layout, states)),
  };
  return {
    name: file.name,
    tokens: requireTokens(file.name, tokens, vocabulary),
    first: 0,
    rows: positions,
    labels: { kind: 'hidden', width, read: (start, count) => readStates(stored, start, count) },
  };
}

/** FP8 has a scale per position; without one the states would be in unknown units. */
async function scalesOf(
  file: ByteFile,
  layout: SafetensorsLayout,
  states: TensorEntry,
): Promise<{ scales?: Float32Array }> {
  const expected = states.dtype === 'F8_E4M3';
  if (layout.tensors.has('hidden_states_scales') !== expected) {
    throw invalidFile(file.name, 'hidden_states_scales', 'scales and type do not fit', {
      expected: expected ? 'scales for FP8' : `no scales for ${states.dtype}`,
      found: expected ? 'none' : 'scales',
    });
  }
  if (!expected) return {};
  const scales = tensorOf(file.name, layout, 'hidden_states_scales', ['F32', 'F16', 'BF16']);
  const [positions] = states.shape;
  const count = scales.shape.reduce((a, b) => a * b, 1);
  if (scales.shape[0] !== positions || count !== positions) {
    throw shapeError(file.name, scales, `[${positions}, 1, 1]`);
  }
  const bytes = await readTensor(file, layout, scales);
  return { scales: floatsOf(bytes, scales.dtype as FloatDtype) };
}

function tensorOf(
  file: string,
  layout: SafetensorsLayout,
  name: string,
  dtypes: readonly string[],
): TensorEntry {
  const entry = layout.tensors.get(name);
  if (entry !== undefined && dtypes.includes(entry.dtype)) return entry;
  throw invalidFile(file, `tensor ${name}`, 'missing, or of another type', {
    expected: dtypes.join(', '),
    found: entry?.dtype ?? [...layout.tensors.keys()].slice(0, 8).join(', '),
  });
}

function shapeError(file: string, { name, shape }: TensorEntry, expected: string): SoftpackError {
  return invalidFile(file, `tensor ${name}.shape`, 'wrong shape', {
    expected,
    found: `[${shape.join(', ')}]`,
  });
}

async function readTensor(
  file: ByteFile,
  { dataOffset }: SafetensorsLayout,
  { name, begin, end }: TensorEntry,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(allocate(end - begin, `${file.name}: ${name}`));
  await file.read(dataOffset + begin, bytes);
  return bytes;
}

/** Ids of 32 or 64 bits; what does not fit becomes -1, which no vocabulary has. */
function integersOf(
  file: string,
  { dtype }: Pick<TensorEntry, 'dtype'>,
  bytes: Uint8Array,
): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (dtype === 'I32')
    return Int32Array.from({ length: bytes.length / 4 }, (_, i) => view.getInt32(4 * i, true));
  if (dtype !== 'I64') throw invalidFile(file, 'ids', 'not integers', { found: dtype });
  return Int32Array.from({ length: bytes.length / 8 }, (_, i) => {
    const id = view.getBigInt64(8 * i, true);
    return id === BigInt.asIntN(32, id) ? Number(id) : -1;
  });
}
