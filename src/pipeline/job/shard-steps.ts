import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Rectangle, rectangleAt } from '../../archive/grid.js';
import { cutRow } from '../../archive/pieces.js';
import { sealedShard, sealShard } from '../../archive/seal.js';
import { ShardLog } from '../../archive/shard-log.js';
import type { ShardRecord } from '../../archive/shards.js';
import { CODECS } from '../../codecs/registry.js';
import { loadXxh64, type Xxh64 } from '../../container/checksum.js';
import { makeDirectory } from '../../container/durable.js';
import { MAX_SHARD_FILE_BYTES } from '../../container/shard-file.js';
import { throwIfAborted } from '../../errors.js';
import { DivergenceMeter } from '../../labels/divergence.js';
import { onFile } from '../../store/file-error.js';
import { readLocalFile } from '../../store/local.js';
import { viewed } from '../pack.js';
import { chunkOf, encodePiece, piecesOf } from '../write-archive.js';
import type { JobArchive } from './codec.js';
import type { JobLabels } from './labels.js';
import { keepReceipt, type Receipt, receiptsOf } from './receipts.js';
import type { JobStores } from './stores.js';

/** The steps of a shard. */
export class ShardSteps implements AsyncDisposable {
  readonly #stores: JobStores;
  readonly #archive: JobArchive;
  readonly #xxh64: Xxh64;
  readonly #scratch: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(
    stores: JobStores,
    archive: JobArchive,
    xxh64: Xxh64,
    scratch: string,
    signal: AbortSignal | undefined,
  ) {
    this.#stores = stores;
    this.#archive = archive;
    this.#xxh64 = xxh64;
    this.#scratch = scratch;
    this.#signal = signal;
  }

  static async open(
    stores: JobStores,
    archive: JobArchive,
    scratch: string,
    signal: AbortSignal | undefined,
  ): Promise<ShardSteps> {
    await makeDirectory(scratch);
    const own = await onFile(scratch, () => mkdtemp(join(scratch, 'softpack-job-')));
    return new ShardSteps(stores, archive, await loadXxh64(), own, signal);
  }

  rectangle(shard: number): Rectangle {
    const { identity } = this.#archive.plan;
    return rectangleAt(identity.grid, identity, shard);
  }

  /**
   * Writes the receipt of a shard that is there and sound, if what was measured of it is there too: whoever puts a shard
   * puts that first.
   */
  async receive(shard: number): Promise<boolean> {
    const record = await this.#stored(shard);
    if (record === undefined) return false;
    const measured = await receiptsOf(this.#stores.job, shard);
    const receipt = measured.find(({ sha256 }) => sha256 === record.sha256);
    if (receipt === undefined) return false;
    await keepReceipt(this.#stores.receipts, receipt, { signal: this.#signal });
    return true;
  }

  /** The shard in the store; undefined if there is none, or a damaged one. */
  #stored(shard: number): Promise<ShardRecord | undefined> {
    const { identity, archiveId } = this.#archive.plan;
    const plan = { identity, archiveId, rectangle: this.rectangle(shard) };
    return sealedShard(this.#stores.archive, plan, this.#xxh64);
  }

  async make(
    shard: number,
    labels: JobLabels,
    onProgress: (labels: number) => void,
  ): Promise<void> {
    const receipt = await this.#encode(shard, labels, onProgress);
    const { job, receipts } = this.#stores;
    const options = { signal: this.#signal };
    await keepReceipt(job, receipt, options);
    const path = join(this.#scratch, this.rectangle(shard).file);
    const own = await this.#put(shard, await readLocalFile(path, MAX_SHARD_FILE_BYTES), receipt);
    if (own) await keepReceipt(receipts, receipt, options);
    await onFile(path, () => rm(path, { force: true }));
  }

  /**
   * Puts a shard into the store, in place of one that is damaged or of which nothing is known. False if another machine was
   * first, whose labels may be rounded differently: then that one has its receipt.
   */
  async #put(shard: number, bytes: Uint8Array<ArrayBuffer>, { sha256 }: Receipt): Promise<boolean> {
    const { archive } = this.#stores;
    const options = { signal: this.#signal };
    const { file } = this.rectangle(shard);
    if (await archive.putIfAbsent(file, bytes, options)) return true;
    if (await this.receive(shard)) return false;
    async function* whole() {
      yield bytes;
    }
    await archive.putParts(file, bytes.length, whole(), { sha256, ...options });
    return true;
  }

  /** Labels and encodes a shard into a file of the scratch folder. */
  async #encode(
    shard: number,
    { source, part }: JobLabels,
    onProgress: (labels: number) => void,
  ): Promise<Receipt> {
    const { codec, plan } = this.#archive;
    const { identity, archiveId } = plan;
    const rectangle = this.rectangle(shard);
    const log = await ShardLog.open(
      this.#scratch,
      { identity, archiveId, shard, rectangle },
      this.#xxh64,
    );
    try {
      const meter = new DivergenceMeter(identity.classes);
      const labels = viewed(part, CODECS);
      const chunk = chunkOf(codec, identity.classes);
      source.goThrough(rectangle);
      const [first, end] = rectangle.epochs;
      let done = 0;
      for (let epoch = first; epoch < end; epoch++) {
        for (const piece of piecesOf(epoch, rectangle.samples, identity.grid, chunk)) {
          throwIfAborted(this.#signal);
          const codes = await encodePiece(labels, codec, piece, meter);
          for (const [cut, columns] of cutRow(identity, piece, { codes })) {
            await log.add(cut, columns);
          }
          done += piece.count;
          onProgress(done);
        }
      }
      const { bytes, sha256, indexSha256 } = await sealShard(this.#scratch, log, this.#xxh64);
      return { shard, bytes, sha256, indexSha256, sums: meter.sums() };
    } finally {
      await log.park();
      const path = join(this.#scratch, `${rectangle.file}.partial`);
      await rm(path, { force: true }).catch(() => undefined);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.#scratch, { recursive: true, force: true }).catch(() => undefined);
  }
}
