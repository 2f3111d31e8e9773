import { createHash } from 'node:crypto';
import { type FileHandle, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { allocate } from '../core/allocate.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { localStore } from '../store/local.js';
import { syncFile } from '../store/sync-file.js';
import { BLOCK_BYTES, loadXxh64, sha256 } from './checksum.js';
import { createTemporary, replaceFile, syncDirectory, writeFully } from './durable.js';
import { mendedFile } from './mended-file.js';
import type { OpenShard } from './shard-file.js';
import { type DamagedBytes, damageOf, verifyWholeFile } from './verify-file.js';

/**
 * Repair of files from a copy of their folder. A copy is never believed: what comes of it must match the hashes that are
 * recorded for the file, and through those the checksums of its blocks.
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

/** What is recorded of a file. */
interface RecordedFile {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

type RecordedShard = RecordedFile & { readonly indexSha256: string };

/** Reads header and checksums of a shard; throws where they are not those of such a file. */
type OpenFile = (file: ByteFile) => Promise<OpenShard>;

/** Repairs the files of a folder one by one, and notes what came of each. */
export class FolderRepair {
  readonly #directory: string;
  readonly #own: ByteStore;
  readonly #source: ByteStore;
  readonly #signal: AbortSignal | undefined;
  readonly #repaired: RepairedFile[] = [];
  readonly #unrepaired: UnrepairedFile[] = [];

  constructor(directory: string, source: ByteStore, signal?: AbortSignal) {
    this.#directory = directory;
    this.#own = localStore(directory);
    this.#source = source;
    this.#signal = signal;
  }

  /** In order of names. */
  get report(): {
    readonly repaired: readonly RepairedFile[];
    readonly unrepaired: readonly UnrepairedFile[];
  } {
    const byName = (a: { file: string }, b: { file: string }) => (a.file < b.file ? -1 : 1);
    return { repaired: this.#repaired.sort(byName), unrepaired: this.#unrepaired.sort(byName) };
  }

  /** A small file, which is fetched as a whole unless it has checksums of blocks. False if it stays damaged. */
  whole(record: RecordedFile): Promise<boolean> {
    return this.#file(record, async () => {
      const options = { signal: this.#signal };
      if ((await verifyWholeFile(this.#own, record, options)).length === 0) return undefined;
      const path = join(this.#directory, record.file);
      const copy = new CopiedFile(this.#source, record.file);
      const mended = await mendedFile(record, this.#own, copy, this.#signal);
      if (mended !== undefined) {
        await replaceFile(path, mended);
        return copy.bytes;
      }
      const file = await copy.opened();
      const bytes = new Uint8Array(allocate(record.bytes, file.name));
      await file.read(0, bytes, options);
      requireContent(file.name, record.sha256, sha256(bytes));
      await replaceFile(path, bytes);
      return copy.bytes;
    });
  }

  /** A file with checksums, of which only damaged blocks are fetched. */
  shard(
    record: RecordedShard,
    verify: (own: ByteStore) => Promise<readonly DamagedBytes[]>,
    open: OpenFile,
  ): Promise<boolean> {
    return this.#file(record, async () => {
      if ((await verify(this.#own)).length === 0) return undefined;
      const own = await this.#own.open(record.file).catch((error: unknown) => {
        damageOf(error, [0, 0]);
        return undefined;
      });
      const copy = new CopiedFile(this.#source, record.file);
      const index =
        (own && (await soundIndex(async () => own, record, open))) ??
        (await soundIndex(() => copy.opened(), record, open)) ??
        // The error of the copy tells why neither is any good.
        (await requiredIndex(await copy.opened(), record, open));
      await this.#rebuild(record, index, own, copy);
      return copy.bytes;
    });
  }

  /** `work` gives the bytes fetched, undefined where nothing had to be done. */
  async #file({ file }: RecordedFile, work: () => Promise<number | undefined>): Promise<boolean> {
    throwIfAborted(this.#signal);
    try {
      const fetched = await work();
      if (fetched !== undefined) this.#repaired.push({ file, fetched });
      return true;
    } catch (error) {
      const { problem } = damageOf(error, [0, 0]);
      this.#unrepaired.push({ file, problem });
      return false;
    }
  }

  /** Makes the shard again of the own file's good blocks and the copy's, and puts it in its place once it is whole. */
  async #rebuild(
    record: RecordedShard,
    shard: OpenShard,
    own: ByteFile | undefined,
    copy: CopiedFile,
  ): Promise<void> {
    const path = join(this.#directory, record.file);
    const { temporary, handle } = await createTemporary(path);
    try {
      try {
        const found = await this.#write(handle, path, shard, own, copy);
        requireContent(copy.name, record.sha256, found);
        await onFile(path, () => syncFile(handle));
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
    copy: CopiedFile,
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
      throwIfAborted(this.#signal);
      const block = buffer.subarray(0, Math.min(BLOCK_BYTES, tableOffset - at));
      const isGood = () => xxh64.hash(block) === sums.getBigUint64(8 * i, true);
      const isOwnGood = (await readIfAny(own, at, block)) && isGood();
      if (!isOwnGood) {
        await (await copy.opened()).read(at, block, { signal: this.#signal });
        if (!isGood()) throw damagedCopy(copy.name, i);
      }
      hash.update(block);
      await put(block, at);
    }
    await put(table, tableOffset);
    return hash.update(table).digest('hex');
  }
}

/** Header and checksums, if they are those that are recorded. */
async function soundIndex(
  file: () => Promise<ByteFile>,
  record: RecordedShard,
  open: OpenFile,
): Promise<OpenShard | undefined> {
  try {
    return await requiredIndex(await file(), record, open);
  } catch (error) {
    damageOf(error, [0, 0]);
    return undefined;
  }
}

async function requiredIndex(
  file: ByteFile,
  { bytes, indexSha256 }: RecordedShard,
  open: OpenFile,
): Promise<OpenShard> {
  if (file.size !== bytes) {
    const details = { field: `${file.name}: size`, expected: bytes, found: file.size };
    throw new SoftpackError('INVALID_FILE', 'not the file of this archive', details);
  }
  const shard = await open(file);
  if (shard.indexSha256 === indexSha256) return shard;
  throw new SoftpackError('CORRUPT_DATA', 'header or checksums were changed', {
    field: `${file.name}: indexSha256`,
    expected: indexSha256,
    found: shard.indexSha256,
  });
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

/** `INVALID_ARGUMENT` with both ids unless a copy is one of this. */
export function requireCopy(copy: string, id: string, other: string): void {
  if (other === id) return;
  const details = { field: copy, expected: `id ${id}`, found: `id ${other}` };
  throw new SoftpackError('INVALID_ARGUMENT', 'not a copy of this archive', details);
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
export class CountingStore implements ByteStore {
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
class CopiedFile {
  readonly name: string;
  readonly #key: string;
  readonly #store: CountingStore;
  #file: Promise<ByteFile> | undefined;

  constructor(store: ByteStore, key: string) {
    this.#store = new CountingStore(store);
    this.#key = key;
    this.name = nameIn(store.name, key);
  }

  get bytes(): number {
    return this.#store.bytes;
  }

  opened(): Promise<ByteFile> {
    this.#file ??= this.#store.open(this.#key);
    return this.#file;
  }
}
