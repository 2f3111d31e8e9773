import { rectangleAt } from '../../archive/grid.js';
import {
  type Manifest,
  makeManifest,
  manifestBytes,
  parseManifest,
} from '../../archive/manifest.js';
import { sealedShard } from '../../archive/seal.js';
import { encodeShardTable, SHARD_TABLE_FILE, type ShardRecord } from '../../archive/shards.js';
import { loadXxh64, sha256, type Xxh64 } from '../../container/checksum.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../../container/shard-file.js';
import { excerpt, SoftpackError, throwIfAborted } from '../../errors.js';
import { DivergenceMeter, type LabelDivergence } from '../../labels/divergence.js';
import { nameIn } from '../../store/address.js';
import { readStored } from '../../store/read-stored.js';
import type { WriteOptions } from '../../store/writable-store.js';
import { resultOf } from '../write-archive.js';
import { CODEC_FILE, type JobArchive, openJobArchive } from './codec.js';
import { listReceipts, type Receipt, receiptName } from './receipts.js';
import { JOB_FILE, readJob } from './record.js';
import { numberRanges } from './status.js';
import type { JobStores } from './stores.js';

export interface FinalizeJobOptions extends WriteOptions {
  /** Read every shard and compare it with its receipt; receipts of those that differ are removed. Default false. */
  readonly verify?: boolean;
  /** Shards that were verified, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface FinalizeJobResult {
  /** Id of the archive. */
  readonly id: string;
  readonly shards: number;
  /** Bytes of all shards. */
  readonly bytes: number;
  readonly divergence: LabelDivergence;
}

/**
 * Completes the archive of a job once every shard has its receipt: writes codec, table of shards and, as the last file, the
 * manifest. Does nothing to a finished one.
 *
 * @throws `INCOMPLETE` naming the shards that are missing.
 */
export async function finalizeJob(
  stores: JobStores,
  { verify = false, onProgress, signal }: FinalizeJobOptions = {},
): Promise<FinalizeJobResult> {
  const job = await readJob(stores, { signal });
  using archive = await openJobArchive(stores, job);
  const { plan, shards } = archive;
  const listed = await listReceipts(stores.receipts, shards);
  const sound = await ReceiptChecker.open(stores, archive);
  const receipts: Receipt[] = [];
  const missing: number[] = [];
  for (let shard = 0; shard < shards; shard++) {
    throwIfAborted(signal);
    const known = listed.get(shard) ?? [];
    const receipt = verify || known.length > 1 ? await sound.find(shard, known) : known[0];
    if (receipt === undefined) missing.push(shard);
    else receipts.push(receipt);
    if (verify) onProgress?.(shard + 1, shards);
  }
  if (missing.length > 0) throw incomplete(stores, shards, missing);
  const meter = new DivergenceMeter(plan.identity.classes);
  for (const { sums } of receipts) meter.merge(sums);
  const divergence = meter.result();
  await publish(stores, archive, receipts, divergence, signal);
  const { grid } = plan.identity;
  await stores.archive.sweep?.(
    receipts.map(({ shard }) => rectangleAt(grid, plan.identity, shard).file),
  );
  await stores.job.sweep?.([JOB_FILE, CODEC_FILE]);
  const bytes = receipts.reduce((sum, receipt) => sum + receipt.bytes, 0);
  return { id: plan.archiveId, shards, bytes, divergence };
}

function incomplete({ address }: JobStores, shards: number, missing: readonly number[]) {
  return new SoftpackError('INCOMPLETE', 'shards are missing', {
    field: address,
    expected: `all of ${shards} shards`,
    found: excerpt(`without ${numberRanges(missing)}`),
  });
}

/** Compares shards with their receipts. */
class ReceiptChecker {
  readonly #stores: JobStores;
  readonly #archive: JobArchive;
  readonly #xxh64: Xxh64;

  private constructor(stores: JobStores, archive: JobArchive, xxh64: Xxh64) {
    this.#stores = stores;
    this.#archive = archive;
    this.#xxh64 = xxh64;
  }

  static async open(stores: JobStores, archive: JobArchive): Promise<ReceiptChecker> {
    return new ReceiptChecker(stores, archive, await loadXxh64());
  }

  /** The receipt of what is in the store; others are removed, so that the next run makes the shard again. */
  async find(shard: number, known: readonly Receipt[]): Promise<Receipt | undefined> {
    if (known.length === 0) return undefined;
    const { identity, archiveId } = this.#archive.plan;
    const rectangle = rectangleAt(identity.grid, identity, shard);
    const plan = { identity, archiveId, rectangle };
    const record = await sealedShard(this.#stores.archive, plan, this.#xxh64);
    const isOf = (receipt: Receipt) => sameShard(receipt, record);
    for (const wrong of known.filter((receipt) => !isOf(receipt))) {
      await this.#stores.receipts.delete(receiptName(wrong));
    }
    return known.find(isOf);
  }
}

function sameShard(receipt: Receipt, record: ShardRecord | undefined): boolean {
  return receipt.sha256 === record?.sha256 && receipt.indexSha256 === record.indexSha256;
}

async function publish(
  { archive: store }: JobStores,
  { plan }: JobArchive,
  receipts: readonly Receipt[],
  divergence: LabelDivergence,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { identity, provenance, request, codecFile, samplesFile } = plan;
  const table = encodeShardTable(receipts);
  const record = { file: SHARD_TABLE_FILE, bytes: table.length, sha256: sha256(table) };
  const notes = { provenance, request, result: resultOf(divergence) };
  const manifest = makeManifest(identity, record, notes);
  await requireSameManifest(store, manifest, signal);
  await store.put(codecFile.record.file, codecFile.bytes, { signal });
  if (samplesFile) await store.put(samplesFile.record.file, samplesFile.bytes, { signal });
  await store.put(SHARD_TABLE_FILE, table, { signal });
  if (await store.putIfAbsent(MANIFEST_FILE, manifestBytes(manifest), { signal })) return;
  await requireSameManifest(store, manifest, signal);
}

/** `ALREADY_EXISTS` if there is a manifest of other labels. */
async function requireSameManifest(
  store: JobStores['archive'],
  manifest: Manifest,
  signal: AbortSignal | undefined,
): Promise<void> {
  const bytes = await readStored(store, MANIFEST_FILE, MAX_MANIFEST_BYTES, { signal });
  if (bytes === undefined) return;
  const name = nameIn(store.name, MANIFEST_FILE);
  const { archiveId, shardTable } = parseManifest(name, bytes);
  const tags = [manifest, { archiveId, shardTable }].map((one) => {
    return `${one.archiveId} ${one.shardTable?.sha256}`;
  });
  if (tags[0] === tags[1]) return;
  throw new SoftpackError('ALREADY_EXISTS', 'a finished archive of other labels is there', {
    field: name,
    expected: tags[0],
    found: tags[1],
  });
}
