import type { JsonObject } from '../../core/json.js';
import { errorCode, SoftpackError } from '../../errors.js';
import { nameIn } from '../../store/address.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { WriteOptions } from '../../store/writable-store.js';
import { codecBytes, codecIn, type KeptCodec } from '../kept-codec.js';
import type { JobStores } from './stores.js';

const CODEC_FILE = 'codec.safetensors';

/** Keeps a job's codec unless there is one; tells whether it did. @param request what it was trained for. */
export function keepCodec(
  { job: store }: JobStores,
  kept: KeptCodec,
  request: JsonObject,
  options: WriteOptions,
): Promise<boolean> {
  return store.putIfAbsent(CODEC_FILE, codecBytes(CODEC_FILE, kept, request), options);
}

/** Undefined as long as there is none. */
export async function findCodec({ job: store }: JobStores): Promise<KeptCodec | undefined> {
  let file: ByteFile;
  try {
    file = await store.open(CODEC_FILE);
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
  try {
    const found = await codecIn(file);
    if (found !== undefined) return found;
  } finally {
    await file.close();
  }
  const message = 'codec of the job is damaged: remove it, and its shards if there are any';
  throw new SoftpackError('CORRUPT_DATA', message, { field: nameIn(store.name, CODEC_FILE) });
}
