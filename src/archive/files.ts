import { sha256 } from '../container/checksum.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import { decodeTensorFile } from '../container/tensor-file.js';
import { SoftpackError } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore, ReadOptions } from '../store/byte-store.js';
import { openSound } from '../store/open-sound.js';
import { readStored } from '../store/read-stored.js';
import type { FileRecord } from './identity.js';
import { type Manifest, parseManifest } from './manifest.js';
import { listedShards, type Shards, tabledShards } from './shards.js';

/** The files that say what an archive is: its manifest and its table of shards. */

/** sha256 over the archive's id and the hash of every shard, hex: two archives of one id hold the same labels. */
export function archiveDigest({ archiveId, shardTable, shards = [] }: Manifest): string {
  const labels =
    shardTable === undefined ? shards.map(({ sha256: hash }) => hash) : [shardTable.sha256];
  return sha256(Buffer.from([archiveId, ...labels].join('\n')));
}

export async function shardsOf(
  source: ByteStore,
  manifest: Manifest,
  verify: boolean,
): Promise<Shards> {
  const { grid, shardTable, shards = [] } = manifest;
  if (grid === undefined || shardTable === undefined) return listedShards(shards);
  return openSound(source, shardTable.file, async (file) => {
    const { tensors } = await decodeTensorFile(file, shardTable, verify);
    return tabledShards(file.name, tensors, grid, manifest);
  });
}

/** Every file of an archive but its manifest. */
export async function recordedFiles(
  source: ByteStore,
  manifest: Manifest,
): Promise<readonly FileRecord[]> {
  const { codecFile, samplesFile, shardTable } = manifest;
  const shards = await shardsOf(source, manifest, true);
  return [
    ...[codecFile, samplesFile, shardTable].filter((record) => record !== undefined),
    ...Array.from({ length: shards.count }, (_, i) => shards.at(i)),
  ];
}

/** The manifest, and its size in bytes. One that is damaged is read again: a cache or the way from a server may have done it. */
export async function readManifest(
  source: ByteStore,
): Promise<{ readonly manifest: Manifest; readonly manifestBytes: number }> {
  const parse = (bytes: Uint8Array) => ({
    manifest: parseManifest(nameIn(source.name, MANIFEST_FILE), bytes),
    manifestBytes: bytes.length,
  });
  const bytes = await readManifestBytes(source);
  try {
    return parse(bytes);
  } catch {
    return parse(await readManifestBytes(source, { fresh: true }));
  }
}

/** `INCOMPLETE` if there is none. */
export async function readManifestBytes(
  source: ByteStore,
  options: ReadOptions = {},
): Promise<Uint8Array> {
  const bytes = await readStored(source, MANIFEST_FILE, MAX_MANIFEST_BYTES, options);
  if (bytes !== undefined) return bytes;
  throw new SoftpackError(
    'INCOMPLETE',
    'no manifest: not an archive, or one that was never finished',
    { field: nameIn(source.name, MANIFEST_FILE) },
  );
}
