import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Xxh64 } from '../container/checksum.js';
import { isTemporaryOf } from '../container/durable.js';
import { SoftpackError } from '../errors.js';
import type { LabelPlace } from '../labels/source.js';
import { onFile } from '../store/file-error.js';
import { localStore } from '../store/local.js';
import { rectangleAt, shardCount, shardOf, storedEpochs } from './grid.js';
import { type LogPlan, logName, type Piece } from './log-records.js';
import { sealedShard, sealShard } from './seal.js';
import { ShardLog } from './shard-log.js';
import type { ShardRecord } from './shards.js';
import type { ArchivePlan } from './spec.js';

/** Logs that are open at a time: a process has some 1,000 descriptors. */
const MAX_OPEN = 64;

/** The shards of an archive that is being written: sealed ones, logs of begun ones. */
export class UnfinishedShards {
  readonly #directory: string;
  readonly #plan: ArchivePlan;
  readonly #xxh64: Xxh64;
  readonly #sealed = new Map<number, ShardRecord>();
  /** What is in the logs, whether their files are open or not. */
  readonly #logs = new Map<number, ShardLog>();
  /** Those whose files are open; the least recently used first. */
  readonly #open = new Set<ShardLog>();

  constructor(directory: string, plan: ArchivePlan, xxh64: Xxh64) {
    this.#directory = directory;
    this.#plan = plan;
    this.#xxh64 = xxh64;
  }

  get #count(): number {
    const { identity } = this.#plan;
    return shardCount(identity.grid, identity);
  }

  #logPlan(shard: number): LogPlan {
    const { identity, archiveId } = this.#plan;
    return { identity, archiveId, shard, rectangle: rectangleAt(identity.grid, identity, shard) };
  }

  /** Takes what an earlier writer left, as far as it is valid. */
  async recover(): Promise<void> {
    const names = new Set(await onFile(this.#directory, () => readdir(this.#directory)));
    for (let shard = 0; shard < this.#count; shard++) {
      const plan = this.#logPlan(shard);
      const record = names.has(plan.rectangle.file)
        ? await sealedShard(localStore(this.#directory), plan, this.#xxh64)
        : undefined;
      if (record !== undefined) this.#sealed.set(shard, record);
      else if (names.has(logName(plan.rectangle))) {
        await this.#sealIfComplete(shard, await this.#log(shard));
      }
    }
  }

  /** @returns Bytes that were written; none where the shard is sealed already: the first one wins. */
  async add(piece: Piece, columns: readonly Uint8Array[]): Promise<number> {
    const shard = this.#shardOf(piece.epoch, piece.start);
    if (this.#sealed.has(shard)) return 0;
    const log = await this.#log(shard);
    const written = await log.add(piece, columns);
    await this.#sealIfComplete(shard, log);
    return written;
  }

  #shardOf(epoch: number, sample: number): number {
    const { identity } = this.#plan;
    return shardOf(identity.grid, identity, epoch, sample);
  }

  async #log(shard: number): Promise<ShardLog> {
    const log =
      this.#logs.get(shard) ??
      (await ShardLog.open(this.#directory, this.#logPlan(shard), this.#xxh64));
    this.#logs.set(shard, log);
    this.#open.delete(log);
    this.#open.add(log);
    const [oldest] = this.#open;
    if (this.#open.size > MAX_OPEN) {
      await oldest.sync();
      await this.#park(oldest);
    }
    return log;
  }

  async #park(log: ShardLog): Promise<void> {
    this.#open.delete(log);
    await log.park();
  }

  async #sealIfComplete(shard: number, log: ShardLog): Promise<void> {
    if (!log.isComplete) return;
    this.#sealed.set(shard, await sealShard(this.#directory, log, this.#xxh64));
    await this.#park(log);
    this.#logs.delete(shard);
    const path = join(this.#directory, logName(log.plan.rectangle));
    await onFile(path, () => rm(path, { force: true }));
  }

  /** The first label at or after `from` that is missing. */
  firstMissing(from: LabelPlace): LabelPlace {
    const { identity } = this.#plan;
    const { samples } = identity;
    let { epoch, sample } = from;
    while (epoch < storedEpochs(identity)) {
      const end = this.#coveredUntil(epoch, sample);
      if (end === sample) break;
      if (end < samples) sample = end;
      else {
        epoch += 1;
        sample = 0;
      }
    }
    return { epoch, sample };
  }

  /** End of the labels that are there from a sample on, in its shard. */
  #coveredUntil(epoch: number, sample: number): number {
    const shard = this.#shardOf(epoch, sample);
    if (this.#sealed.has(shard)) return this.#logPlan(shard).rectangle.samples[1];
    return this.#logs.get(shard)?.firstMissing(epoch, sample) ?? sample;
  }

  has({ epoch, start, count }: Piece): boolean {
    const { epoch: at, sample } = this.firstMissing({ epoch, sample: start });
    return at > epoch || sample >= start + count;
  }

  /** Records of all shards, which are sealed. */
  records(): readonly ShardRecord[] {
    return Array.from({ length: this.#count }, (_, shard) => {
      const record = this.#sealed.get(shard);
      if (record === undefined) throw new SoftpackError('INCOMPLETE', `shard ${shard} is missing`);
      return record;
    });
  }

  /** Whether a file is a log, or what a killed writer left of a shard. */
  isLeftover(name: string): boolean {
    const [, digits] = /^codes-(\d{5,7})\.safetensors\b/.exec(name) ?? [];
    if (digits === undefined || Number(digits) >= this.#count) return false;
    const { rectangle } = this.#logPlan(Number(digits));
    return name === logName(rectangle) || isTemporaryOf(name, rectangle.file);
  }

  async sync(): Promise<void> {
    for (const log of this.#open) await log.sync();
  }

  async close(): Promise<void> {
    for (const log of this.#open) await this.#park(log);
    this.#logs.clear();
  }
}
