import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256, type Xxh64 } from '../container/checksum.js';
import { isTemporaryOf, replaceFile, syncDirectory } from '../container/durable.js';
import { LOCK_FILE, type WriterLock } from '../container/lock.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { LabelPlace } from '../labels/source.js';
import { onFile } from '../store/file-error.js';
import { readLocalFileIfAny } from '../store/local.js';
import { type ShardGrid, storedEpochs } from './grid.js';
import type { Piece } from './log-records.js';
import { type Manifest, makeManifest, manifestBytes } from './manifest.js';
import type { PartRecord } from './parts.js';
import { type ArchiveRow, cutRow, requirePiece } from './pieces.js';
import { sampleFiles } from './sample-record.js';
import { encodeShardTable, SHARD_TABLE_FILE } from './shards.js';
import type { ArchivePlan } from './spec.js';
import { UNFINISHED_FILE } from './unfinished.js';
import { UnfinishedShards } from './unfinished-shards.js';

/** Labels survive a power cut after at most this many bytes or milliseconds; a killed process loses none. */
const SYNC_BYTES = 64 * 2 ** 20;
const SYNC_INTERVAL = 5000;

/** Writes an archive in pieces, in any order. Created by {@link createArchive}. */
export class ArchiveWriter implements AsyncDisposable {
  readonly archiveId: string;
  readonly #directory: string;
  readonly #plan: ArchivePlan;
  readonly #shards: UnfinishedShards;
  readonly #lock: WriterLock;
  /** The manifest, once it is written. */
  #finished: Manifest | undefined;
  #next: LabelPlace;
  #unsyncedBytes = 0;
  #syncedAt = performance.now();
  #state: 'idle' | 'busy' | 'failed' | 'closed' = 'idle';
  /** The call in progress. */
  #running: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, plan: ArchivePlan, xxh64: Xxh64, lock: WriterLock) {
    this.archiveId = plan.archiveId;
    this.#directory = directory;
    this.#plan = plan;
    this.#shards = new UnfinishedShards(directory, plan, xxh64);
    this.#lock = lock;
    this.#next = { epoch: 0, sample: 0 };
  }

  /** @internal */
  static finished(
    directory: string,
    plan: ArchivePlan,
    xxh64: Xxh64,
    lock: WriterLock,
    manifest: Manifest,
  ): ArchiveWriter {
    const writer = new ArchiveWriter(directory, plan, xxh64, lock);
    writer.#finished = manifest;
    writer.#next = { epoch: storedEpochs(plan.identity), sample: 0 };
    return writer;
  }

  /** @internal Verifies what is in place and continues after it. */
  static async recover(
    directory: string,
    plan: ArchivePlan,
    xxh64: Xxh64,
    lock: WriterLock,
  ): Promise<ArchiveWriter> {
    const writer = new ArchiveWriter(directory, plan, xxh64, lock);
    try {
      await writer.#shards.recover();
      writer.#next = writer.#shards.firstMissing(writer.#next);
      return writer;
    } catch (error) {
      await writer.close();
      throw error;
    }
  }

  /** Sides of the shards. */
  get grid(): ShardGrid {
    return this.#plan.identity.grid;
  }

  /** The manifest of an archive that was finished before this writer was made, or by it. */
  get finished(): Manifest | undefined {
    return this.#finished;
  }

  /** The first label that is missing; epoch `nextEpoch` is past the last one if none is. */
  get next(): LabelPlace {
    return this.#next;
  }

  /** The first stored epoch that is not complete: 0 in a new archive. */
  get nextEpoch(): number {
    return this.#next.epoch;
  }

  /** Whether all labels of the piece are there. */
  has(piece: Piece): boolean {
    return this.#finished !== undefined || this.#shards.has(piece);
  }

  /**
   * Writes the row of one stored epoch: `codes` (the codes of all samples in order, labels joined bit by bit, zero
   * bits up to a whole byte; or their blocks) and every other column of the spec.
   */
  async writeRow(epoch: number, row: ArchiveRow): Promise<void> {
    const { identity } = this.#plan;
    const whole = { epoch, start: 0, count: identity.samples };
    requirePiece(identity, whole, row);
    await this.#exclusively(async () => {
      for (const [piece, columns] of cutRow(identity, whole, row)) await this.#add(piece, columns);
      this.#next = this.#shards.firstMissing(this.#next);
    });
  }

  /**
   * Writes the labels of some consecutive samples of one stored epoch. They begin and end at whole bytes (multiples
   * of 8 samples always do) or blocks, or with the last sample.
   *
   * Labels that are there already must be the same, and come in the same pieces: `INVALID_ARGUMENT` otherwise.
   */
  async write(piece: Piece, columns: ArchiveRow): Promise<void> {
    const { identity } = this.#plan;
    requirePiece(identity, piece, columns);
    await this.#exclusively(async () => {
      for (const [part, cut] of cutRow(identity, piece, columns)) await this.#add(part, cut);
      this.#next = this.#shards.firstMissing(this.#next);
    });
  }

  async #add(piece: Piece, columns: readonly Uint8Array[]): Promise<void> {
    this.#unsyncedBytes += await this.#shards.add(piece, columns);
    const waited = performance.now() - this.#syncedAt;
    if (this.#unsyncedBytes < SYNC_BYTES && waited < SYNC_INTERVAL) return;
    await this.#shards.sync();
    this.#unsyncedBytes = 0;
    this.#syncedAt = performance.now();
  }

  /**
   * Makes the archive readable by writing its manifest. `INCOMPLETE` while labels are missing.
   * Does nothing more to an archive that was finished before.
   *
   * @param result noted in the manifest. @param parts further epochs, which must be there already.
   */
  async finish(result?: JsonObject, parts?: readonly PartRecord[]): Promise<Manifest> {
    const epochs = storedEpochs(this.#plan.identity);
    if (this.#next.epoch < epochs) {
      const details = { field: 'epochs', expected: epochs, found: this.#next.epoch };
      throw new SoftpackError('INCOMPLETE', 'rows are missing', details);
    }
    return this.#exclusively(async () => {
      this.#finished ??= await this.#publish(result, parts);
      await this.#removeLeftovers();
      await this.#lock.release();
      return this.#finished;
    });
  }

  async #publish(
    result: JsonObject | undefined,
    parts: readonly PartRecord[] | undefined,
  ): Promise<Manifest> {
    const { identity, request, provenance } = this.#plan;
    const table = encodeShardTable(this.#shards.records());
    const record = { file: SHARD_TABLE_FILE, bytes: table.length, sha256: sha256(table) };
    const path = join(this.#directory, SHARD_TABLE_FILE);
    const there = await readLocalFileIfAny(path, table.length).catch(() => undefined);
    if (there === undefined || sha256(there) !== record.sha256) await replaceFile(path, table);
    const manifest = makeManifest(identity, record, { provenance, request, result }, parts);
    await replaceFile(join(this.#directory, MANIFEST_FILE), manifestBytes(manifest));
    return manifest;
  }

  /** Waits for the call in progress, then leaves an unfinished archive for a later `resume`. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    await this.#running.catch(() => undefined);
    try {
      await this.#shards.close();
    } finally {
      await this.#lock.release();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Removes what killed writers and this one leave besides the archive. */
  async #removeLeftovers(): Promise<void> {
    await this.#shards.close();
    const { codecFile, samplesFile, sampleBlocks } = this.#plan;
    const side = sampleBlocks === undefined ? [] : sampleFiles(sampleBlocks.record);
    const files = [
      codecFile.record.file,
      samplesFile?.record.file ?? codecFile.record.file,
      ...side,
    ];
    const bases = [UNFINISHED_FILE, MANIFEST_FILE, LOCK_FILE, SHARD_TABLE_FILE, ...files];
    const isLeft = (name: string) =>
      this.#shards.isLeftover(name) || bases.some((base) => isTemporaryOf(name, base));
    const names = await onFile(this.#directory, () => readdir(this.#directory));
    // The mark last: a killed removal is continued by the next run.
    for (const name of [...names.filter(isLeft), UNFINISHED_FILE]) {
      const path = join(this.#directory, name);
      await onFile(path, () => rm(path, { force: true }));
    }
    await syncDirectory(this.#directory);
  }

  /** One call at a time; after a failure the files may be ahead of what this object knows. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (this.#state !== 'idle') {
      throw new SoftpackError('INVALID_ARGUMENT', 'archive writer cannot take this call', {
        field: 'writer',
        expected: 'idle (await each call; after a failure resume with a new writer)',
        found: this.#state,
      });
    }
    this.#state = 'busy';
    const running = work();
    this.#running = running;
    try {
      const result = await running;
      this.#leaveBusy('idle');
      return result;
    } catch (error) {
      this.#leaveBusy('failed');
      throw error;
    }
  }

  /** A writer that was closed meanwhile stays closed. */
  #leaveBusy(state: 'idle' | 'failed'): void {
    if (this.#state === 'busy') this.#state = state;
  }
}
