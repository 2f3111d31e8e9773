import { joinParts, type WritableStore, type WriteOptions } from '../../store/writable-store.js';
import type { JobProduct, MadeShard, ShardMaker } from './kind.js';
import { keepReceipt, type Receipt, receiptsOf } from './receipts.js';
import type { JobStores } from './stores.js';

/** The steps of a shard. */
export class ShardSteps {
  readonly #stores: JobStores;
  readonly #product: JobProduct;
  readonly #signal: AbortSignal | undefined;

  constructor(stores: JobStores, product: JobProduct, signal: AbortSignal | undefined) {
    this.#stores = stores;
    this.#product = product;
    this.#signal = signal;
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

  /**
   * Puts a shard into the store, in place of one that is damaged or of which nothing is known. If another machine was
   * first, whose labels may be rounded differently, then that one has its receipt.
   */
  async make(shard: number, maker: ShardMaker, onProgress: (done: number) => void): Promise<void> {
    const made = await maker.make(shard, onProgress);
    const { archive, job, receipts } = this.#stores;
    const options = { signal: this.#signal };
    let receipt: Receipt | undefined;
    async function* measuredFirst() {
      receipt = yield* made.parts();
      await keepReceipt(job, receipt, options);
    }
    const first = await archive.putIfAbsent(made.file, measuredFirst(), options);
    if (receipt === undefined || (!first && (await this.receive(shard)))) return;
    if (!first) await replace(archive, made, receipt, options);
    await keepReceipt(receipts, receipt, options);
  }
}

/** Writes a shard in place of what is there. */
async function replace(
  store: WritableStore,
  { file, parts }: MadeShard,
  { bytes, sha256 }: Receipt,
  options: WriteOptions,
): Promise<void> {
  async function* whole() {
    yield await joinParts(parts());
  }
  await store.putParts(file, bytes, whole(), { sha256, ...options });
}
