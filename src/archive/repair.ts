import { createHash } from 'node:crypto';
import { type FileHandle, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES, loadXxh64, sha256 } from '../container/checksum.js';
import { createTemporary, replaceFile, syncDirectory, writeFully } from '../container/durable.js';
import { WriterLock } from '../container/lock.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { damageOf, verifyWholeFile } from '../container/verify-file.js';
import { allocate } from '../core/allocate.js';
import { inLanes } from '../core/lanes.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { localStore } from '../store/local.js';
import { openStore } from '../store/open-store.js';
import { archiveDigest, readManifestBytes, shardsOf } from './files.js';
import type { FileRecord } from './identity.js';
import { type Manifest, parseManifest } from './manifest.js';
import { type OpenShard, openShard, requireIndex } from './shard.js';
import type { ShardRecord } from './shards.js';
import { DEFAULT_CONCURRENCY, type VerifyOptions, verifyShardOf } from './verify-archive.js';

/**
 * Repair of an archive's files from a copy of it. What is trusted is the archive's own manifest, and through its hashes
 * the table of shards, through that the checksums of each shard, and through those the blocks: a copy is never believed.
 */

export interface RepairedFile {
  readonly file: string;
  /** Bytes that were read from the copy for it. */
  readonly fetched: number;
}

export interface UnrepairedFile {
  readonly file: string;
  /** Why the copy could not help. */
  readonly problem: string;
}

export interface RepairReport {
  /** See `LabelArchive.id`. */
  readonly id: string;
  /** Bytes read from the copy, its manifest included. */
  readonly fetched: number;
  readonly repaired: readonly RepairedFile[];
  readonly unrepaired: readonly UnrepairedFile[];
}

/**
 * Restores the damaged files of an archive to their recorded bytes. Only damaged blocks are read from the copy; small
 * files as a whole.
 *
 * @param from a copy of the archive: a folder, an address (`https://...`) or a store.
 * @throws `INVALID_ARGUMENT` with both ids if the copy is of another archive, `CORRUPT_DATA` or `INVALID_FILE` if the
 *   archive's own manifest is damaged, `LOCKED` while a writer works in the folder.
 */
export async function repairArchive(
  directory: string,
  from: string | ByteStore,
  options: VerifyOptions = {},
): Promise<RepairReport> {
  const copy = typeof from === 'string' ? await openStore(from) : from;
  await using _lock = await WriterLock.acquire(directory);
  const own = localStore(directory);
  const source = new CountingStore(copy);
  const manifest = await manifestOf(own);
  const id = archiveDigest(manifest);
  const other = archiveDigest(await manifestOf(source));
  if (other !== id) {
    const details = { field: copy.name, expected: `id ${id}`, found: `id ${other}` };
    throw new SoftpackError('INVALID_ARGUMENT', 'not a copy of this archive', details);
  }
  return new Repair(directory, manifest, source, options).run(id);
}

async function manifestOf(store: ByteStore): Promise<Manifest> {
  return parseManifest(nameIn(store.name, MANIFEST_FILE), await readManifestBytes(store));
}

class Repair {
  readonly #directory: string;
  readonly #manifest: Manifest;
  readonly #own: ByteStore;
  readonly #source: CountingStore;
  readonly #options: VerifyOptions;
  readonly #repaired: RepairedFile[] = [];
  readonly #unrepaired: UnrepairedFile[] = [];

  constructor(
    directory: string,
    manifest: Manifest,
    source: CountingStore,
    options: VerifyOptions,
  ) {
    this.#directory = directory;
    this.#manifest = manifest;
    this.#own = localStore(directory);
    this.#source = source;
    this.#options = options;
  }

  async run(id: string): Promise<RepairReport> {
    const { codecFile, samplesFile, shardTable } = this.#manifest;
    for (const record of [shardTable, codecFile, samplesFile]) {
      if (record !== undefined) await this.#file(record, () => this.#wholeFile(record));
    }
    const isTableBad = this.#unrepaired.some(({ file }) => file === shardTable?.file);
    if (!isTableBad) await this.#shards();
    const byName = (a: RepairedFile | UnrepairedFile, b: RepairedFile | UnrepairedFile) =>
      a.file < b.file ? -1 : 1;
    return {
      id,
      fetched: this.#source.bytes,
      repaired: this.#repaired.sort(byName),
      unrepaired: this.#unrepaired.sort(byName),
    };
  }

  async #shards(): Promise<void> {
    const { concurrency = DEFAULT_CONCURRENCY, onProgress } = this.#options;
    const shards = await shardsOf(this.#own, this.#manifest, true);
    let done = 0;
    await inLanes(shards.count, concurrency, async (i) => {
      const record = shards.at(i);
      await this.#file(record, () => this.#shard(record));
      done += record.bytes;
      onProgress?.(done, shards.bytes);
    });
  }

  /** Notes what came of a file: `work` gives undefined where nothing had to be done. */
  async #file({ file }: FileRecord, work: () => Promise<number | undefined>): Promise<void> {
    throwIfAborted(this.#options.signal);
    try {
      const fetched = await work();
      if (fetched !== undefined) this.#repaired.push({ file, fetched });
    } catch (error) {
      const { problem } = damageOf(error, [0, 0]);
      this.#unrepaired.push({ file, problem });
    }
  }

  async #wholeFile(record: FileRecord): Promise<number | undefined> {
    const { signal } = this.#options;
    if ((await verifyWholeFile(this.#own, record, { signal })).length === 0) return undefined;
    const file = await this.#source.open(record.file);
    const bytes = new Uint8Array(allocate(record.bytes, file.name));
    await file.read(0, bytes, { signal });
    requireContent(file.name, record.sha256, sha256(bytes));
    await replaceFile(join(this.#directory, record.file), bytes);
    return bytes.length;
  }

  async #shard(record: ShardRecord): Promise<number | undefined> {
    const { signal } = this.#options;
    const damage = await verifyShardOf(this.#own, this.#manifest, record, { signal });
    if (damage.length === 0) return undefined;
    const own = await this.#own.open(record.file).catch((error: unknown) => {
      damageOf(error, [0, 0]);
      return undefined;
    });
    const copy = new CountedFile(this.#source, record.file);
    const index = (await this.#indexOf(own, record)) ?? (await this.#indexOf(copy, record));
    if (index === undefined) {
      // Its own error is the better explanation.
      requireIndex(await this.#openShard(await copy.opened(), record), record.indexSha256);
    }
    await this.#rebuild(record, index as OpenShard, own, copy);
    return copy.bytes;
  }

  #openShard(file: ByteFile, record: ShardRecord): Promise<OpenShard> {
    return openShard(file, this.#manifest, this.#manifest.archiveId, record);
  }

  /** Header and checksums, if they are those of the archive. */
  async #indexOf(
    from: ByteFile | CountedFile | undefined,
    record: ShardRecord,
  ): Promise<OpenShard | undefined> {
    if (from === undefined) return undefined;
    try {
      const file = from instanceof CountedFile ? await from.opened() : from;
      if (file.size !== record.bytes) return undefined;
      const shard = await this.#openShard(file, record);
      return shard.indexSha256 === record.indexSha256 ? shard : undefined;
    } catch (error) {
      damageOf(error, [0, 0]);
      return undefined;
    }
  }

  /** Makes the shard anew of the own file's good blocks and the copy's, and puts it in its place once it is whole. */
  async #rebuild(
    record: ShardRecord,
    shard: OpenShard,
    own: ByteFile | undefined,
    copy: CountedFile,
  ): Promise<void> {
    const path = join(this.#directory, record.file);
    const { temporary, handle } = await createTemporary(path);
    try {
      try {
        const found = await this.#write(handle, path, shard, own, copy);
        requireContent(nameIn(this.#source.name, record.file), record.sha256, found);
        await onFile(path, () => handle.sync());
      } finally {
        await onFile(path, () => handle.close());
      }
      await onFile(path, () => rename(temporary, path));
      await syncDirectory(this.#directory);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  async #write(
    handle: FileHandle,
    path: string,
    { header, table, index }: OpenShard,
    own: ByteFile | undefined,
    copy: CountedFile,
  ): Promise<string> {
    const { dataOffset, tableOffset } = index;
    const put = (bytes: Uint8Array, at: number) =>
      onFile(path, () => writeFully(handle, bytes, at));
    const hash = createHash('sha256').update(header);
    const xxh64 = await loadXxh64();
    const sums = new DataView(table.buffer, table.byteOffset, table.byteLength);
    const buffer = new Uint8Array(BLOCK_BYTES);
    await put(header, 0);
    for (let at = dataOffset, i = 0; at < tableOffset; at += BLOCK_BYTES, i++) {
      throwIfAborted(this.#options.signal);
      const block = buffer.subarray(0, Math.min(BLOCK_BYTES, tableOffset - at));
      const isGood = () => xxh64.hash(block) === sums.getBigUint64(8 * i, true);
      const isOwnGood = (await readIfAny(own, at, block)) && isGood();
      if (!isOwnGood) {
        await (await copy.opened()).read(at, block, { signal: this.#options.signal });
        if (!isGood()) throw damagedCopy(nameIn(this.#source.name, copy.name), i);
      }
      hash.update(block);
      await put(block, at);
    }
    await put(table, tableOffset);
    return hash.update(table).digest('hex');
  }
}

/** False where the file has no such bytes, or they cannot be read. */
async function readIfAny(
  file: ByteFile | undefined,
  at: number,
  into: Uint8Array,
): Promise<boolean> {
  if (file === undefined || at + into.length > file.size) return false;
  try {
    await file.read(at, into);
    return true;
  } catch (error) {
    damageOf(error, [0, 0]);
    return false;
  }
}

function damagedCopy(file: string, block: number): SoftpackError {
  const field = `${file}: block ${block}`;
  return new SoftpackError('CORRUPT_DATA', 'the copy is damaged there too', { field });
}

function requireContent(name: string, expected: string, found: string): void {
  if (found === expected) return;
  const details = { field: `${name}: sha256`, expected, found };
  throw new SoftpackError('CORRUPT_DATA', 'the copy is damaged there too', details);
}

/** A store that counts the bytes that are read from it. */
class CountingStore implements ByteStore {
  readonly name: string;
  readonly #store: ByteStore;
  bytes = 0;

  constructor(store: ByteStore) {
    this.#store = store;
    this.name = store.name;
  }

  async open(key: string): Promise<ByteFile> {
    const file = await this.#store.open(key);
    const { name, size } = file;
    return {
      name,
      size,
      read: async (offset, into, options) => {
        this.bytes += into.length;
        await file.read(offset, into, options);
      },
      close: () => file.close(),
    };
  }
}

/** A file of the copy, opened when it is first needed, with the bytes that were read of it. */
class CountedFile {
  readonly name: string;
  readonly #store: CountingStore;
  #file: Promise<ByteFile> | undefined;

  constructor(store: ByteStore, name: string) {
    this.#store = new CountingStore(store);
    this.name = name;
  }

  get bytes(): number {
    return this.#store.bytes;
  }

  opened(): Promise<ByteFile> {
    this.#file ??= this.#store.open(this.name);
    return this.#file;
  }
}
