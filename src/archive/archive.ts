import {
  hashFile,
  loadXxh64,
  requireSha256,
  requireSize,
  sha256,
  type Xxh64,
} from '../container/checksum.js';
import {
  MANIFEST_FILE,
  MAX_MANIFEST_BYTES,
  type OpenShard,
  readVerified,
  verifyShard,
} from '../container/shard-file.js';
import { allocateShared } from '../core/allocate.js';
import { FieldChecker } from '../core/check.js';
import type { CodecParts, Tensor } from '../core/codec-parts.js';
import { errorAt, invalidFile, isSoftpackError, SoftpackError } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { openStore } from '../store/open-store.js';
import { requireSampleRows } from './agreement.js';
import { readCodecTensors } from './codec-files.js';
import type { FileRecord } from './identity.js';
import { type Manifest, parseManifest, type ShardRecord } from './manifest.js';
import { openShard } from './shard.js';

export interface OpenArchiveOptions {
  /** `block` (default): verify the checksum of everything read. `none`: check only sizes and headers. */
  readonly verify?: 'block' | 'none';
}

/** Sizes in bytes; `total` is the sum of the four others and the size of all the archive's files. */
export interface ArchiveBytes {
  /** The packed codes. */
  readonly codes: number;
  /** The codec's tensors and its side data per sample. */
  readonly codec: number;
  /** Columns besides the codes, and the manifest: augmentation, class names, teacher, images. */
  readonly metadata: number;
  /** Headers, padding and checksums. */
  readonly container: number;
  readonly total: number;
}

/** A finished archive, open for reading. It gives access to codes and the codec's parts, not to decoded labels. */
export interface LabelArchive extends AsyncDisposable {
  readonly manifest: Manifest;
  /** sha256 over `manifest.archiveId` and the hash of every shard, hex: two archives of one id hold the same labels. */
  readonly id: string;
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  readonly codecParts: CodecParts;
  /**
   * Reads the row of one epoch into a new SharedArrayBuffer, which workers may share.
   *
   * @throws `CORRUPT_DATA` naming file and block if the stored bytes have changed,
   *   `INVALID_ARGUMENT` if there is no such epoch or column.
   */
  readRow(epoch: number, column?: string): Promise<Uint8Array<SharedArrayBuffer>>;
  /** Path or address of the file that holds the epoch's rows, for error messages. */
  fileOf(epoch: number): string;
  bytes(): ArchiveBytes;
  /** Reads every file and compares it with its recorded hash; `CORRUPT_DATA` naming the first that differs. */
  verify(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens an archive: a folder, an address (`https://...`, see {@link openStore}) or a store. Reads manifest and codec, no
 * codes.
 *
 * @throws `NOT_FOUND` if there is no such directory, `INCOMPLETE` if it holds no manifest, `UNSUPPORTED` if
 *   the archive needs a newer reader, `INVALID_FILE` or `CORRUPT_DATA` if its files are not what was written.
 */
export async function openArchive(
  from: string | ByteStore,
  options: OpenArchiveOptions = {},
): Promise<LabelArchive> {
  const source = typeof from === 'string' ? await openStore(from) : from;
  const verify = options.verify ?? 'block';
  const manifestBytes = await readManifestBytes(source);
  const manifest = parseManifest(nameIn(source.name, MANIFEST_FILE), manifestBytes);
  const read = async (record: FileRecord | undefined): Promise<ReadonlyMap<string, Tensor>> => {
    if (record === undefined) return new Map();
    return readCodecTensors(await source.open(record.file), record, verify === 'block');
  };
  const codecParts = {
    name: manifest.codec.name,
    config: manifest.codec.config,
    tensors: await read(manifest.codecFile),
    sampleTensors: await read(manifest.samplesFile),
  };
  const samplesFile = nameIn(source.name, manifest.samplesFile?.file ?? '');
  const check = new FieldChecker(samplesFile, 'INVALID_FILE');
  requireSampleRows(check, codecParts.sampleTensors, manifest.samples);
  const xxh64 = await loadXxh64();
  return new SourceArchive(source, manifest, manifestBytes.length, codecParts, verify, xxh64);
}

async function readManifestBytes(source: ByteStore): Promise<Uint8Array> {
  const file = await source.open(MANIFEST_FILE).catch((cause: unknown) => {
    if (!isSoftpackError(cause) || cause.code !== 'NOT_FOUND') throw cause;
    throw new SoftpackError(
      'INCOMPLETE',
      'no manifest: not an archive, or one that was never finished',
      {
        field: nameIn(source.name, MANIFEST_FILE),
        cause,
      },
    );
  });
  if (file.size > MAX_MANIFEST_BYTES) {
    const details = { expected: `at most ${MAX_MANIFEST_BYTES}`, found: file.size };
    throw invalidFile(file.name, 'size', 'too large for a manifest', details);
  }
  const bytes = new Uint8Array(file.size);
  await file.read(0, bytes);
  return bytes;
}

/** `INVALID_FILE` naming the file for an error about the codes of an epoch's row; other errors unchanged. */
export function errorInRow(archive: LabelArchive, epoch: number, error: unknown): unknown {
  const inCodes = isSoftpackError(error) && /(^|: )codes$/.test(error.field ?? '');
  return inCodes ? errorAt(archive.fileOf(epoch), error, 'INVALID_FILE') : error;
}

class SourceArchive implements LabelArchive {
  readonly manifest: Manifest;
  readonly codecParts: CodecParts;
  readonly #source: ByteStore;
  readonly #manifestBytes: number;
  readonly #verify: 'block' | 'none';
  readonly #xxh64: Xxh64;
  /** Headers and checksums of the shards read so far. */
  readonly #shards = new Map<ShardRecord, Promise<OpenShard>>();
  #closed = false;

  constructor(
    source: ByteStore,
    manifest: Manifest,
    manifestBytes: number,
    codecParts: CodecParts,
    verify: 'block' | 'none',
    xxh64: Xxh64,
  ) {
    this.#source = source;
    this.manifest = manifest;
    this.#manifestBytes = manifestBytes;
    this.codecParts = codecParts;
    this.#verify = verify;
    this.#xxh64 = xxh64;
  }

  get id(): string {
    const { archiveId, shards } = this.manifest;
    const hashes = [archiveId, ...shards.map((shard) => shard.sha256)];
    return sha256(Buffer.from(hashes.join('\n')));
  }

  get classes(): number {
    return this.manifest.classes;
  }

  get samples(): number {
    return this.manifest.samples;
  }

  get epochs(): number {
    return this.manifest.epochs;
  }

  async readRow(epoch: number, name = 'codes'): Promise<Uint8Array<SharedArrayBuffer>> {
    this.#requireOpen();
    const { columns } = this.manifest;
    const column = columns.find((candidate) => candidate.name === name);
    if (column === undefined) {
      const expected = columns.map((candidate) => candidate.name).join(', ');
      const details = { field: 'column', expected, found: name };
      throw new SoftpackError('INVALID_ARGUMENT', 'no such column', details);
    }
    const record = this.#recordOf(epoch);
    const shard = await this.#openShard(record);
    const begin = shard.index.columns.get(name) ?? 0;
    const field = `${record.file}: epoch ${epoch} of ${name}`;
    const row = new Uint8Array(allocateShared(column.rowBytes, field));
    const at = begin + (epoch - record.epochs[0]) * row.length;
    if (this.#verify === 'none') await shard.file.read(at, row);
    else await readVerified(shard, this.#xxh64, at, row);
    return row;
  }

  fileOf(epoch: number): string {
    return nameIn(this.#source.name, this.#recordOf(epoch).file);
  }

  #recordOf(epoch: number): ShardRecord {
    const { epochs, shards } = this.manifest;
    const record = shards.find((shard) => shard.epochs[0] <= epoch && epoch < shard.epochs[1]);
    if (record !== undefined && Number.isInteger(epoch)) return record;
    const details = { field: 'epoch', expected: `0 to ${epochs - 1}`, found: epoch };
    throw new SoftpackError('INVALID_ARGUMENT', 'no such epoch', details);
  }

  #openShard(record: ShardRecord): Promise<OpenShard> {
    const known = this.#shards.get(record);
    if (known !== undefined) return known;
    const opening = this.#openShardAnew(record);
    this.#shards.set(record, opening);
    // A failure may be temporary (a file that is copied back), so it is not cached.
    opening.catch(() => this.#shards.delete(record));
    return opening;
  }

  async #openShardAnew(record: ShardRecord): Promise<OpenShard> {
    const { archiveId, columns } = this.manifest;
    const file = await this.#source.open(record.file);
    requireSize(file, record);
    const shard = await openShard(file, columns, archiveId, record);
    if (this.#verify === 'block' && shard.indexSha256 !== record.indexSha256) {
      throw new SoftpackError('CORRUPT_DATA', 'header or checksums were changed', {
        field: `${file.name}: indexSha256`,
        expected: record.indexSha256,
        found: shard.indexSha256,
      });
    }
    return shard;
  }

  bytes(): ArchiveBytes {
    const { codecFile, columns, epochs, samplesFile, shards } = this.manifest;
    const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
    const { tensors, sampleTensors } = this.codecParts;
    const [codes, ...others] = columns.map(({ rowBytes }) => rowBytes * epochs);
    const codec = sum([...tensors.values(), ...sampleTensors.values()].map((t) => t.data.length));
    const metadata = sum(others) + this.#manifestBytes;
    const files = [codecFile, ...(samplesFile === undefined ? [] : [samplesFile]), ...shards];
    const total = this.#manifestBytes + sum(files.map((file) => file.bytes));
    return { codes, codec, metadata, container: total - codes - codec - metadata, total };
  }

  async verify(): Promise<void> {
    this.#requireOpen();
    const { codecFile, samplesFile, shards } = this.manifest;
    for (const record of [codecFile, samplesFile]) {
      if (record !== undefined) await this.#verifyFile(record);
    }
    for (const record of shards) {
      const shard = await this.#openShardAnew(record);
      requireSha256(shard.file, record, await verifyShard(shard, this.#xxh64));
    }
  }

  async #verifyFile(record: FileRecord): Promise<void> {
    const file = await this.#source.open(record.file);
    requireSize(file, record);
    requireSha256(file, record, await hashFile(file));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#shards.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #requireOpen(): void {
    if (!this.#closed) return;
    throw new SoftpackError('INVALID_ARGUMENT', 'archive is closed', { field: 'archive' });
  }
}
