import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_SHARD_FILE_BYTES } from '../../container/shard-file.js';
import { onFile } from '../../store/file-error.js';
import { readLocalFile } from '../../store/local.js';
import type { JobProduct, ShardMaker } from './kind.js';
import { keepReceipt, type Receipt, receiptsOf } from './receipts.js';
import { makeScratch } from './scratch.js';
import type { JobStores } from './stores.js';

/** The steps of a shard. */
export class ShardSteps implements AsyncDisposable {
  readonly #stores: JobStores;
  readonly #product: JobProduct;
  readonly #scratch: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(
    stores: JobStores,
    product: JobProduct,
    scratch: string,
    signal: AbortSignal | undefined,
  ) {
    this.#stores = stores;
    this.#product = product;
    this.#scratch = scratch;
    this.#signal = signal;
  }

  static async open(
    stores: JobStores,
    product: JobProduct,
    scratch: string,
    signal: AbortSignal | undefined,
  ): Promise<ShardSteps> {
    return new ShardSteps(stores, product, await makeScratch(scratch), signal);
  }

  /**
   * Writes the receipt of a shard that is there and sound, if what was measured of it is there too: whoever puts a shard
   * puts that first.
   */
  async receive(shard: number): Promise<boolean> {
    const stored = await this.#product.stored(shard);
    if (stored === undefined) return false;
    const measured = await receiptsOf(this.#stores.job, shard);
    const receipt = measured.find(({ sha256 }) => sha256 === stored.sha256);
    if (receipt === undefined) return false;
    await keepReceipt(this.#stores.receipts, receipt, { signal: this.#signal });
    return true;
  }

  async make(shard: number, maker: ShardMaker, onProgress: (done: number) => void): Promise<void> {
    const receipt = await maker.make(shard, this.#scratch, onProgress);
    const { job, receipts } = this.#stores;
    const options = { signal: this.#signal };
    await keepReceipt(job, receipt, options);
    const path = join(this.#scratch, this.#product.fileOf(shard));
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
    const file = this.#product.fileOf(shard);
    if (await archive.putIfAbsent(file, bytes, options)) return true;
    if (await this.receive(shard)) return false;
    async function* whole() {
      yield bytes;
    }
    await archive.putParts(file, bytes.length, whole(), { sha256, ...options });
    return true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.#scratch, { recursive: true, force: true }).catch(() => undefined);
  }
}
