import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { throwIfAborted } from '../errors.js';
import { openLocalFile, regularFileSize } from '../store/local.js';
import { sampledHash, sampledHashOf } from './content-hash.js';
import type { MemoryImages } from './memory.js';
import {
  describeImages,
  type FilesDescription,
  type ImageSource,
  type ImagesDescription,
  imageCount,
} from './source.js';
import { textAt } from './text-table.js';

/** Most files whose content is read: evenly spaced ones, first and last included. */
const FILES_READ = 1024;
const LOOKUPS_AT_ONCE = 64;

/**
 * Tells images from others under the same names: number, sizes of all files in bytes, and the content of up to 1,024 of
 * them (of files above 8 MiB a sample of 4 MiB). Packed images have the fingerprint of the files they were made from if
 * decoding gives the pixels of those, otherwise the hash of their shards.
 */
export async function imagesFingerprint(
  images: ImageSource | MemoryImages,
  signal?: AbortSignal,
): Promise<JsonObject> {
  return fingerprintOf(describeImages(images), signal);
}

async function fingerprintOf(
  description: ImagesDescription,
  signal?: AbortSignal,
): Promise<JsonObject> {
  switch (description.kind) {
    case 'memory': {
      const count = imageCount(description);
      return { kind: 'memory', count, content: sampledHashOf(description.data) };
    }
    case 'joined': {
      const sections: JsonObject[] = [];
      for (const section of description.sections) {
        sections.push(await fingerprintOf(section, signal));
      }
      return { kind: 'joined', count: imageCount(description), sections };
    }
    case 'packed':
      return description.index.fingerprint;
    case 'files':
      return filesFingerprint(description, signal);
  }
}

/** False only if both are known to differ: packed images may not know the files they were made from. */
export function mayBeSameImages(recorded: JsonObject, found: JsonObject): boolean {
  if (recorded.kind !== found.kind) return true;
  const text = (value: JsonObject) => JSON.stringify(canonicalJson(value, 'fingerprint'));
  return text(recorded) === text(found);
}

async function filesFingerprint(
  { root, names }: FilesDescription,
  signal: AbortSignal | undefined,
): Promise<JsonObject> {
  const pathOf = (i: number) => resolve(root, textAt(names, i));
  const { count } = names;
  const sizes = await hashInOrder(count, signal, (i) => regularFileSize(pathOf(i)));
  const read = Math.min(count, FILES_READ);
  const at = (i: number) => (read < 2 ? 0 : Math.floor((i * (count - 1)) / (read - 1)));
  const content = await hashInOrder(read, signal, async (i) => {
    const file = await openLocalFile(pathOf(at(i)));
    try {
      return await sampledHash(file);
    } finally {
      await file.close();
    }
  });
  return { kind: 'files', count, sizes, content };
}

/** sha256 of one value per item, one per line; some are looked up at a time. */
async function hashInOrder(
  count: number,
  signal: AbortSignal | undefined,
  look: (i: number) => Promise<unknown>,
): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < count; at += LOOKUPS_AT_ONCE) {
    throwIfAborted(signal);
    const some = Array.from({ length: Math.min(LOOKUPS_AT_ONCE, count - at) }, (_, i) => at + i);
    for (const value of await Promise.all(some.map(look))) hash.update(`${value}\n`);
  }
  return hash.digest('hex');
}
