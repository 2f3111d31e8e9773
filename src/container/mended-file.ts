import { allocate } from '../core/allocate.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { sha256 } from './checksum.js';
import { damagedBlocks, readTensorBlocks } from './tensor-blocks.js';
import { damageOf, type KnownFile } from './verify-file.js';

/**
 * A file of tensors made of the own one's good blocks and a copy's others; undefined if that is not the file that is
 * recorded, or blocks have no checksums.
 */
export async function mendedFile(
  record: Required<Pick<KnownFile, 'file' | 'bytes' | 'sha256'>>,
  ownStore: ByteStore,
  copy: { opened(): Promise<ByteFile> },
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  try {
    const from = await copy.opened();
    if (from.size !== record.bytes) return undefined;
    // The copy's, which are small: whichever of the two is damaged, what comes of them has another hash.
    const found = await readTensorBlocks(from);
    if (found === undefined) return undefined;
    const own = await ownStore.open(record.file);
    try {
      if (own.size !== record.bytes) return undefined;
      const { header, table, place } = found;
      const bytes = new Uint8Array(allocate(record.bytes, own.name));
      await own.read(0, bytes, { signal });
      bytes.set(header);
      bytes.set(table, place.tableOffset);
      for (const { bytes: range } of await damagedBlocks(own, place, table)) {
        await from.read(range[0], bytes.subarray(...range), { signal });
      }
      return sha256(bytes) === record.sha256 ? bytes : undefined;
    } finally {
      await own.close();
    }
  } catch (error) {
    damageOf(error, [0, 0]);
    return undefined;
  }
}
