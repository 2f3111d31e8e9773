import type { SealedShard } from '../../archive/seal.js';
import type { DivergenceSums } from '../../labels/divergence.js';
import type { WritableStore, WriteOptions } from '../../store/writable-store.js';

/**
 * What is known of a finished shard, as the name of an empty file: a listing of 1,000 names per request tells all that the
 * manifest needs.
 *
 *   s<shard>.<bytes>.<sha256>.<sha256 of the index>.<labels>.<sums of KL, error, energy>.<agreeing labels>
 *
 * Hashes in base64url, other numbers but the shard's in hexadecimal.
 */
export interface Receipt extends SealedShard {
  readonly shard: number;
  /** Divergence of its labels. */
  readonly sums: DivergenceSums;
}

const HASH = '([\\w-]{43})';
const SUM = '(-?[0-9a-f]+)';
const NAME = new RegExp(
  `^${['s(\\d{5,7})', '([0-9a-f]{1,12})', HASH, HASH, SUM, SUM, SUM, SUM, SUM].join('\\.')}$`,
);

export function receiptName({ shard, bytes, sha256, indexSha256, sums }: Receipt): string {
  const hash = (hex: string) => Buffer.from(hex, 'hex').toString('base64url');
  const [rows, kl, error, energy, agreeing] = sums;
  return [
    shardName(shard),
    bytes.toString(16),
    ...[sha256, indexSha256].map(hash),
    ...[rows, kl, error, energy, agreeing].map((sum) => sum.toString(16)),
  ].join('.');
}

/** What the names of a shard's receipts begin with. */
function shardName(shard: number): string {
  return `s${String(shard).padStart(5, '0')}`;
}

/** Undefined for other names. */
function parseReceipt(name: string): Receipt | undefined {
  const match = NAME.exec(name);
  if (match === null) return undefined;
  const [, shard, bytes, sha256, indexSha256, ...sums] = match;
  const hex = (text: string) => Buffer.from(text, 'base64url').toString('hex');
  return {
    shard: Number(shard),
    bytes: Number.parseInt(bytes, 16),
    ...{ sha256: hex(sha256), indexSha256: hex(indexSha256) },
    sums: sums.map(bigintOf) as unknown as DivergenceSums,
  };
}

function bigintOf(text: string): bigint {
  return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`);
}

export async function keepReceipt(
  store: WritableStore,
  receipt: Receipt,
  options: WriteOptions,
): Promise<void> {
  // Not put: of two writers of a folder, `finalize` may sweep away what the second one writes.
  await store.putIfAbsent(receiptName(receipt), new Uint8Array(0), options);
}

/** Receipts of each shard. Several differ: the shard was made by machines that round differently, and one was first. */
export async function listReceipts(
  store: WritableStore,
  shards: number,
): Promise<ReadonlyMap<number, readonly Receipt[]>> {
  const found = new Map<number, Receipt[]>();
  for (const name of await store.list()) {
    const receipt = parseReceipt(name);
    if (receipt === undefined || receipt.shard >= shards) continue;
    const others = found.get(receipt.shard);
    if (others === undefined) found.set(receipt.shard, [receipt]);
    else others.push(receipt);
  }
  return found;
}

/** Receipts of one shard, in one request. */
export async function receiptsOf(store: WritableStore, shard: number): Promise<readonly Receipt[]> {
  const names = await store.list(`${shardName(shard)}.`);
  return names.flatMap((name) => parseReceipt(name) ?? []);
}
