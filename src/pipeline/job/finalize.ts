import type { SealedShard } from '../../archive/seal.js';
import { excerpt, SoftpackError, throwIfAborted } from '../../errors.js';
import type { WriteOptions } from '../../store/writable-store.js';
import { type JobKind, type JobProduct, openProduct } from './kind.js';
import { LABEL_JOBS } from './label-jobs.js';
import { listReceipts, type Receipt, receiptName } from './receipts.js';
import { readJob } from './record.js';
import { numberRanges } from './status.js';
import { type JobStores, sweepJob } from './stores.js';

export interface FinalizeJobOptions extends WriteOptions {
  /** Kinds of jobs that it may be; default: labels of images. */
  readonly kinds?: readonly JobKind[];
  /** Read every shard and compare it with its receipt; receipts of those that differ are removed. Default false. */
  readonly verify?: boolean;
  /** Shards that were verified, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface FinalizeJobResult {
  /** Of the archive, or of the job where it makes none. */
  readonly id: string;
  readonly shards: number;
  /** Bytes of all shards. */
  readonly bytes: number;
  /** What was measured: in words, and by name. */
  readonly words: string;
  readonly facts: object;
}

/**
 * Completes what a job makes once every shard has its receipt. Of an archive it writes codec, table of shards and, as the
 * last file, the manifest; of distilled images their summary. Does nothing to a finished one.
 *
 * @throws `INCOMPLETE` naming the shards that are missing.
 */
export async function finalizeJob(
  stores: JobStores,
  { kinds = LABEL_JOBS, verify = false, onProgress, signal }: FinalizeJobOptions = {},
): Promise<FinalizeJobResult> {
  const job = await readJob(stores, { signal });
  using product = await openProduct(stores, job, kinds);
  const { shards } = product;
  const listed = await listReceipts(stores.receipts, shards);
  const receipts: Receipt[] = [];
  const missing: number[] = [];
  for (let shard = 0; shard < shards; shard++) {
    throwIfAborted(signal);
    const known = listed.get(shard) ?? [];
    const unsure = verify ? known.length > 0 : known.length > 1;
    const receipt = unsure ? await soundReceipt(stores, product, shard, known) : known[0];
    if (receipt === undefined) missing.push(shard);
    else receipts.push(receipt);
    if (verify) onProgress?.(shard + 1, shards);
  }
  if (missing.length > 0) throw incomplete(stores, shards, missing);
  const published = await product.publish(receipts, signal);
  await sweepJob(stores, receipts.map(receiptName), { signal });
  const bytes = receipts.reduce((sum, receipt) => sum + receipt.bytes, 0);
  return { shards, bytes, ...published };
}

function incomplete({ address }: JobStores, shards: number, missing: readonly number[]) {
  return new SoftpackError('INCOMPLETE', 'shards are missing', {
    field: address,
    expected: `all of ${shards} shards`,
    found: excerpt(`without ${numberRanges(missing)}`),
  });
}

/** The receipt of what is in the store; others are removed, so that the next run makes the shard again. */
async function soundReceipt(
  stores: JobStores,
  product: JobProduct,
  shard: number,
  known: readonly Receipt[],
): Promise<Receipt | undefined> {
  const stored = await product.stored(shard);
  const isOf = (receipt: Receipt) => sameShard(receipt, stored);
  for (const wrong of known.filter((receipt) => !isOf(receipt))) {
    await stores.receipts.delete(receiptName(wrong));
  }
  return known.find(isOf);
}

function sameShard(receipt: Receipt, stored: SealedShard | undefined): boolean {
  return receipt.sha256 === stored?.sha256 && receipt.indexSha256 === stored.indexSha256;
}
