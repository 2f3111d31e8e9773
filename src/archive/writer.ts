import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Xxh64 } from '../container/checksum.js';
import { removeTemporaries, replaceFile, syncDirectory } from '../container/durable.js';
import { LOCK_FILE, type WriterLock } from '../container/lock.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { JOURNAL_FILE, Journal } from './journal.js';
import { type Manifest, makeManifest, manifestBytes, type ShardRecord } from './manifest.js';
import {
  type ArchiveRow,
  finishedShard,
  makeShardPlan,
  partialName,
  rowHash,
  type ShardPlan,
  ShardWriter,
} from './shard-writer.js';
import type { ArchivePlan } from './spec.js';

/** Rows survive a power cut after at most this many bytes or milliseconds; a killed process loses none. */
const SYNC_BYTES = 64 * 2 ** 20;
const SYNC_INTERVAL = 5000;

/** Writes an archive row by row, in order of epochs. Created by {@link createArchive}. */
export class ArchiveWriter implements AsyncDisposable {
  readonly archiveId: string;
  readonly #directory: string;
  readonly #plan: ArchivePlan;
  readonly #xxh64: Xxh64;
  #journal: Journal | undefined;
  #shard: ShardWriter | undefined;
  /** Hashes of the rows of the open shard, computed in memory before each write. */
  readonly #rowHashes = new Map<number, string>();
  readonly #lock: WriterLock;
  readonly #records: ShardRecord[] = [];
  /** The manifest, once it is written. */
  #finished: Manifest | undefined;
  #nextEpoch = 0;
  #unsyncedBytes = 0;
  #syncedAt = performance.now();
  #state: 'idle' | 'busy' | 'failed' | 'closed' = 'idle';
  /** The call in progress. */
  #running: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, plan: ArchivePlan, xxh64: Xxh64, lock: WriterLock) {
    this.archiveId = plan.archiveId;
    this.#directory = directory;
    this.#plan = plan;
    this.#xxh64 = xxh64;
    this.#lock = lock;
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
    writer.#nextEpoch = manifest.epochs;
    return writer;
  }

  /** @internal Verifies the rows in place and continues after the last good one. */
  static async recover(
    directory: string,
    plan: ArchivePlan,
    xxh64: Xxh64,
    lock: WriterLock,
    journalled: ReadonlyMap<number, string>,
  ): Promise<ArchiveWriter> {
    const writer = new ArchiveWriter(directory, plan, xxh64, lock);
    try {
      await writer.#recover(journalled);
      return writer;
    } catch (error) {
      await writer.close();
      throw error;
    }
  }

  async #recover(journalled: ReadonlyMap<number, string>): Promise<void> {
    const rows = this.#rowHashes;
    while (this.#nextEpoch < this.#plan.identity.epochs) {
      const shardPlan = this.#nextShardPlan();
      const [begin, end] = shardPlan.rectangle.epochs;
      const finished = await finishedShard(this.#directory, shardPlan, this.#xxh64);
      if (finished !== undefined) {
        this.#records.push(finished);
        this.#nextEpoch = end;
        continue;
      }
      const shard = await ShardWriter.open(this.#directory, shardPlan, this.#xxh64);
      this.#shard = shard;
      rows.clear();
      for (let epoch = begin; epoch < end; ++epoch) {
        const hash = journalled.get(epoch);
        if (hash === undefined || hash !== (await shard.storedRowHash(epoch))) break;
        rows.set(epoch, hash);
      }
      this.#nextEpoch = begin + rows.size;
      if (this.#nextEpoch < end) break;
      await this.#finishShard(shard);
    }
    const head = this.#plan.head;
    this.#journal = await Journal.create(this.#directory, { head, rows });
  }

  /** The manifest of an archive that was finished before this writer was made, or by it. */
  get finished(): Manifest | undefined {
    return this.#finished;
  }

  /** The epoch to write next: 0 in a new archive, `epochs` once all rows are written. */
  get nextEpoch(): number {
    return this.#nextEpoch;
  }

  /**
   * Writes the row of one epoch: `codes` (the codes of all samples in order, labels joined bit by bit, zero
   * bits up to a whole byte) and every other column of the spec. Epochs come in order.
   */
  async writeRow(epoch: number, row: ArchiveRow): Promise<void> {
    const { epochs } = this.#plan.identity;
    if (epoch !== this.#nextEpoch || epoch >= epochs) {
      const expected = this.#nextEpoch < epochs ? this.#nextEpoch : `no more than ${epochs} epochs`;
      const details = { field: 'epoch', expected, found: epoch };
      throw new SoftpackError('INVALID_ARGUMENT', 'rows must come in order of epochs', details);
    }
    this.#requireColumns(row);
    await this.#exclusively(async () => {
      this.#shard ??= await ShardWriter.open(this.#directory, this.#nextShardPlan(), this.#xxh64);
      // Before the write: the checksum must cover what was in memory, not what is read back.
      const hash = rowHash(this.#xxh64, this.#plan.identity, row);
      this.#rowHashes.set(epoch, hash);
      await this.#shard.writeRow(epoch, row);
      await this.#journal?.addRow(epoch, hash);
      await this.#syncNowAndThen();
      if (epoch + 1 === this.#shard.plan.rectangle.epochs[1]) {
        await this.#finishShard(this.#shard);
      }
      this.#nextEpoch = epoch + 1;
    });
  }

  async #finishShard(shard: ShardWriter): Promise<void> {
    this.#records.push(await shard.finish(this.#rowHashes));
    this.#rowHashes.clear();
    this.#shard = undefined;
  }

  /**
   * Makes the archive readable by writing its manifest. `INCOMPLETE` while epochs are missing.
   * Does nothing more to an archive that was finished before.
   *
   * @param result noted in the manifest.
   */
  async finish(result?: JsonObject): Promise<Manifest> {
    const { identity, request } = this.#plan;
    if (this.#nextEpoch < identity.epochs) {
      const details = { field: 'epochs', expected: identity.epochs, found: this.#nextEpoch };
      throw new SoftpackError('INCOMPLETE', 'rows are missing', details);
    }
    return this.#exclusively(async () => {
      if (this.#finished === undefined) {
        const manifest = makeManifest(identity, this.#records, { request, result });
        await replaceFile(join(this.#directory, MANIFEST_FILE), manifestBytes(manifest));
        this.#finished = manifest;
      }
      await this.#journal?.close();
      this.#journal = undefined;
      await this.#removeLeftovers();
      await this.#lock.release();
      return this.#finished;
    });
  }

  /** Waits for the call in progress, then leaves an unfinished archive for a later `resume`. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    await this.#running.catch(() => undefined);
    try {
      await this.#shard?.close();
      await this.#journal?.close();
    } finally {
      await this.#lock.release();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #nextShardPlan(): ShardPlan {
    const { identity, archiveId, rectangles } = this.#plan;
    const rectangle = rectangles[this.#records.length];
    return makeShardPlan(identity, archiveId, rectangle);
  }

  /** Removes temporary files of killed writers, and the journal. */
  async #removeLeftovers(): Promise<void> {
    const { codecFile, samplesFile, rectangles } = this.#plan;
    for (const name of [JOURNAL_FILE, ...rectangles.map(({ file }) => partialName(file))]) {
      const path = join(this.#directory, name);
      await onFile(path, () => rm(path, { force: true }));
    }
    const replaced = [JOURNAL_FILE, MANIFEST_FILE, LOCK_FILE, codecFile.record.file];
    if (samplesFile !== undefined) replaced.push(samplesFile.record.file);
    await removeTemporaries(this.#directory, replaced);
    await syncDirectory(this.#directory);
  }

  async #syncNowAndThen(): Promise<void> {
    const { columns } = this.#plan.identity;
    this.#unsyncedBytes += columns.reduce((sum, { rowBytes }) => sum + rowBytes, 0);
    const waited = performance.now() - this.#syncedAt;
    if (this.#unsyncedBytes < SYNC_BYTES && waited < SYNC_INTERVAL) return;
    await this.#shard?.sync();
    await this.#journal?.sync();
    this.#unsyncedBytes = 0;
    this.#syncedAt = performance.now();
  }

  #requireColumns(row: ArchiveRow): void {
    const { columns, layout, samples } = this.#plan.identity;
    for (const { name, rowBytes } of columns) {
      const found = row[name]?.length ?? 'nothing';
      if (found === rowBytes) continue;
      const details = { field: `row.${name}`, expected: `${rowBytes} bytes`, found };
      throw new SoftpackError('INVALID_ARGUMENT', 'wrong row length', details);
    }
    const names = columns.map(({ name }) => name);
    const unknown = Object.keys(row).find((name) => !names.includes(name));
    if (unknown !== undefined) {
      const details = { field: `row.${unknown}`, expected: names.join(', ') };
      throw new SoftpackError('INVALID_ARGUMENT', 'no such column', details);
    }
    if (layout.kind !== 'fixed') return;
    const usedBits = (samples * layout.bitsPerLabel) % 8;
    const rest = usedBits === 0 ? 0 : (row.codes.at(-1) ?? 0) >> usedBits;
    if (rest === 0) return;
    const details = { field: 'row.codes', expected: 'zero bits after the last label', found: rest };
    throw new SoftpackError('INVALID_ARGUMENT', 'bits beyond the last label are set', details);
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
