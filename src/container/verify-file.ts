import { createHash } from 'node:crypto';
import { errorCode, errorMessage, isSoftpackError, show, throwIfAborted } from '../errors.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { BLOCK_BYTES, loadXxh64 } from './checksum.js';
import type { SafetensorsLayout } from './safetensors.js';
import type { OpenShard } from './shard-file.js';
import { damagedBlocks, readTensorBlocks } from './tensor-blocks.js';

/** Verification that goes on after the first damage: all of a file's is found, none is thrown. */

/**
 * - `missing`: no such file. `size`: it has another length. `unreadable`: the system fails to read it.
 * - `structure`: header or checksums are not those recorded, so that no block can be trusted.
 * - `block`: the bytes of a block do not match its checksum.
 * - `content`: the file does not match its sha256: as every block matches its checksum, this was no accident.
 */
export type DamageKind = 'missing' | 'size' | 'unreadable' | 'structure' | 'block' | 'content';

export interface DamagedBytes {
  readonly kind: DamageKind;
  /** For people. */
  readonly problem: string;
  /** Number of the block, where only it is damaged. */
  readonly block?: number;
  /** [first, after the last] of the file. */
  readonly bytes: readonly [number, number];
  readonly expected?: string;
  readonly found?: string;
}

/** What is known of a file; a hash is absent where the file that recorded it is damaged itself. */
export interface KnownFile {
  readonly file: string;
  readonly bytes?: number;
  readonly sha256?: string;
  readonly indexSha256?: string;
}

export interface VerifyFileOptions {
  /** Bytes that were just verified. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

const BLOCK_PROBLEM = 'stored bytes do not match their checksum';

/** Failures that say nothing about the bytes of a file. */
const NOT_DAMAGE = new Set(['ABORTED', 'CHANGED', 'NETWORK_FAILED', 'OUT_OF_MEMORY']);

/** The error as damage of these bytes; thrown again if it is no fault of the file. */
export function damageOf(error: unknown, bytes: readonly [number, number]): DamagedBytes {
  const code = errorCode(error) ?? '';
  if (!isSoftpackError(error) || NOT_DAMAGE.has(code)) throw error;
  const known: Readonly<Record<string, DamageKind>> = {
    NOT_FOUND: 'missing',
    INVALID_FILE: 'structure',
    CORRUPT_DATA: 'structure',
  };
  const text = (value: unknown) => (value === undefined ? undefined : show(value));
  const [expected, found] = [text(error.expected), text(error.found)];
  return {
    kind: known[code] ?? 'unreadable',
    problem: errorMessage(error),
    bytes,
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
  };
}

/** Opens a file of a store; damage instead if it is missing or of another size. */
export async function openKnown(
  store: ByteStore,
  { file, bytes }: KnownFile,
): Promise<ByteFile | DamagedBytes> {
  const all = [0, bytes ?? 0] as const;
  let opened: ByteFile;
  try {
    opened = await store.open(file);
  } catch (error) {
    return damageOf(error, all);
  }
  if (bytes === undefined || opened.size === bytes) return opened;
  await opened.close();
  const [expected, found] = [`${bytes} bytes`, String(opened.size)];
  return { kind: 'size', problem: 'another size than recorded', bytes: all, expected, found };
}

/** Damage of a file that is read as a whole. */
export async function verifyWholeFile(
  store: ByteStore,
  known: KnownFile,
  options: VerifyFileOptions = {},
): Promise<readonly DamagedBytes[]> {
  const file = await openKnown(store, known);
  if ('kind' in file) return [file];
  try {
    const hash = createHash('sha256');
    const damage: DamagedBytes[] = [];
    await eachBlock(file, [0, file.size], options, (block) => hash.update(block), damage);
    const content = contentDamage(known, file.size, hash.digest('hex'));
    return damage.length > 0 || content === undefined ? damage : [content];
  } finally {
    await file.close();
  }
}

/** The same of a file of tensors, by its blocks if they have checksums, and where its tensors lie if it can be told. */
export async function verifyTensorFile(
  store: ByteStore,
  known: KnownFile,
  options: VerifyFileOptions = {},
): Promise<{ readonly damage: readonly DamagedBytes[]; readonly layout?: SafetensorsLayout }> {
  const damage = await verifyWholeFile(store, known, options);
  if (damage[0]?.kind !== 'content') return { damage };
  const file = await store.open(known.file);
  try {
    const found = await readTensorBlocks(file);
    if (found === undefined) return { damage };
    const { place, table, layout } = found;
    const blocks = (await damagedBlocks(file, place, table)).map(
      (one): DamagedBytes => ({
        kind: 'block',
        problem: BLOCK_PROBLEM,
        ...one,
        expected: one.expected.toString(16),
        found: one.found.toString(16),
      }),
    );
    return blocks.length > 0 ? { damage: blocks, layout } : { damage };
  } catch (error) {
    damageOf(error, [0, 0]);
    return { damage };
  } finally {
    await file.close();
  }
}

function contentDamage(
  { sha256 }: KnownFile,
  size: number,
  found: string,
): DamagedBytes | undefined {
  if (sha256 === undefined || sha256 === found) return undefined;
  const problem = 'file was changed after it was written';
  return { kind: 'content', problem, bytes: [0, size], expected: sha256, found };
}

/** Reads blocks in order; one that the system cannot read is damage, and reading goes on. */
async function eachBlock(
  file: ByteFile,
  [begin, end]: readonly [number, number],
  { onBytes, signal }: VerifyFileOptions,
  take: (block: Uint8Array, i: number) => void,
  damage: DamagedBytes[],
): Promise<void> {
  const buffer = new Uint8Array(Math.min(BLOCK_BYTES, end - begin));
  for (let at = begin, i = 0; at < end; at += BLOCK_BYTES, i++) {
    throwIfAborted(signal);
    const block = buffer.subarray(0, Math.min(BLOCK_BYTES, end - at));
    try {
      await file.read(at, block, { signal });
      take(block, i);
    } catch (error) {
      damage.push({ ...damageOf(error, [at, at + block.length]), block: i });
    }
    onBytes?.(block.length);
  }
}

/**
 * Damage of a file with checksums, by its blocks.
 *
 * @param open reads header and checksums, and throws where they are not those of such a file.
 */
export async function verifyShardFile<S extends OpenShard>(
  store: ByteStore,
  known: KnownFile,
  open: (file: ByteFile) => Promise<S>,
  options: VerifyFileOptions = {},
): Promise<{ readonly damage: readonly DamagedBytes[]; readonly shard?: S }> {
  const file = await openKnown(store, known);
  if ('kind' in file) return { damage: [file] };
  try {
    let shard: S;
    try {
      shard = await open(file);
    } catch (error) {
      return { damage: [damageOf(error, [0, file.size])] };
    }
    const { indexSha256 } = known;
    if (indexSha256 !== undefined && shard.indexSha256 !== indexSha256) {
      const problem = 'header or checksums were changed: no block can be trusted';
      const values = { expected: indexSha256, found: shard.indexSha256 };
      return { damage: [{ kind: 'structure', problem, bytes: [0, file.size], ...values }] };
    }
    options.onBytes?.(shard.header.length + shard.table.length);
    return { damage: await blockDamage(shard, known, options), shard };
  } finally {
    await file.close();
  }
}

async function blockDamage(
  { file, header, index, table }: OpenShard,
  known: KnownFile,
  options: VerifyFileOptions,
): Promise<readonly DamagedBytes[]> {
  const xxh64 = await loadXxh64();
  const sums = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const hash = createHash('sha256').update(header);
  const damage: DamagedBytes[] = [];
  const { dataOffset, tableOffset } = index;
  const take = (block: Uint8Array, i: number) => {
    hash.update(block);
    const [expected, found] = [sums.getBigUint64(8 * i, true), xxh64.hash(block)];
    if (expected === found) return;
    const begin = dataOffset + i * BLOCK_BYTES;
    damage.push({
      kind: 'block',
      problem: BLOCK_PROBLEM,
      block: i,
      bytes: [begin, begin + block.length],
      expected: expected.toString(16),
      found: found.toString(16),
    });
  };
  await eachBlock(file, [dataOffset, tableOffset], options, take, damage);
  if (damage.length > 0) return damage;
  const content = contentDamage(known, file.size, hash.update(table).digest('hex'));
  return content === undefined ? [] : [content];
}
