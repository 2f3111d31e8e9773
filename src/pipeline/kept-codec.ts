import type { Pilot } from '../codecs/descriptor.js';
import { sha256 } from '../container/checksum.js';
import { replaceFile } from '../container/durable.js';
import {
  decodeTensorFile,
  encodeTensorFile,
  readTensorFile,
  type StoredTensor,
  type TensorFile,
} from '../container/tensor-file.js';
import type { CodecParts, Tensor } from '../core/codec-parts.js';
import { isJsonObject, type JsonObject, parseJson } from '../core/json.js';
import { isSoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';

/** Files that keep a trained codec, or the state of a training, until its archive is finished. */

/** Tensor of side data in blocks. */
const BLOCKS = 'blocks';

/** A trained codec with its encoder, and the report of its training. */
export interface KeptCodec {
  readonly parts: CodecParts;
  readonly training?: object;
  readonly pilot?: Pilot;
}

interface State {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly state: JsonObject;
}

export async function writeState(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  state: object,
): Promise<void> {
  await replaceFile(path, stateBytes(path, tensors, state));
}

function stateBytes(
  name: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  state: object,
): Uint8Array {
  const data = Buffer.from(JSON.stringify(state));
  const all = new Map(tensors).set('state', { dtype: 'U8', shape: [data.length], data });
  return encodeTensorFile(name, all, { sha256: digest(all) });
}

/** `undefined` if the file is missing or damaged. */
export async function readState(path: string): Promise<State | undefined> {
  return stateIn(path, () => readTensorFile(path));
}

async function stateIn(path: string, read: () => Promise<TensorFile>): Promise<State | undefined> {
  try {
    const { tensors, metadata } = await read();
    if (metadata.get('sha256') !== digest(tensors)) return undefined;
    const state = parseJson(path, 'state', tensors.get('state')?.data ?? new Uint8Array());
    return isJsonObject(state) && isJsonObject(state.request ?? null)
      ? { tensors, state }
      : undefined;
  } catch (error) {
    if (isSoftpackError(error)) return undefined;
    throw error;
  }
}

/** The file of a codec. @param request what it was trained for. */
export function codecBytes(
  file: string,
  { parts, training, pilot }: KeptCodec,
  request: JsonObject,
): Uint8Array {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of parts.tensors) tensors.set(`codec.${name}`, tensor);
  for (const [name, tensor] of parts.sampleTensors) tensors.set(`samples.${name}`, tensor);
  const { samples, samplesPerBlock, row } = parts.sampleBlocks ?? {};
  if (row !== undefined) tensors.set(BLOCKS, { dtype: 'U8', shape: [row.length], data: row });
  const side = row && { sampleBlocks: { samples, samplesPerBlock } };
  const { name, config } = parts;
  return stateBytes(file, tensors, { ...side, request, name, config, training, pilot });
}

type RequestedCodec = KeptCodec & { readonly request: JsonObject };

/** `undefined` if the file is missing or damaged. */
export async function readCodec(path: string): Promise<RequestedCodec | undefined> {
  const kept = await readState(path);
  return kept && codecOf(kept);
}

/** `undefined` if the file is damaged. */
export async function codecIn(file: ByteFile): Promise<RequestedCodec | undefined> {
  const kept = await stateIn(file.name, () => decodeTensorFile(file));
  return kept && codecOf(kept);
}

function codecOf({ tensors, state }: State): RequestedCodec {
  const named = (prefix: string) =>
    new Map(
      [...tensors]
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, tensor]) => [name.slice(prefix.length), tensor as Tensor]),
    );
  const { request, name, config, training, pilot, sampleBlocks } = state;
  const row = tensors.get(BLOCKS)?.data;
  const side = row && { sampleBlocks: { ...(sampleBlocks as JsonObject), row } };
  const trained = { tensors: named('codec.'), sampleTensors: named('samples.') };
  const parts = { name, config, ...trained, ...side };
  return { request, parts, training, pilot } as unknown as RequestedCodec;
}

function digest(tensors: ReadonlyMap<string, StoredTensor>): string {
  const sorted = [...tensors].sort(([a], [b]) => (a < b ? -1 : 1));
  return sha256(...sorted.flatMap(([name, { data }]) => [Buffer.from(`${name}\0`), data]));
}
