import { loadXxh64, type Xxh64 } from '../container/checksum.js';
import { damageOf, openKnown, verifyWholeFile } from '../container/verify-file.js';
import { FieldChecker } from '../core/check.js';
import { isJsonObject, type JsonObject, parseJson } from '../core/json.js';
import { inLanes } from '../core/lanes.js';
import { invalidFile } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { readStored } from '../store/read-stored.js';
import { allLabels } from './damaged-labels.js';
import { labelCount, rectangleAt, requireGrid, shardCount, storedEpochs } from './grid.js';
import { archiveIdOf, checkIdentity } from './identity.js';
import { type LogPlan, logName, readPieces } from './log-records.js';
import type { Provenance } from './provenance.js';
import { recordedSampleFiles } from './sample-blocks.js';
import type { DividedIdentity } from './spec.js';
import { MAX_UNFINISHED_BYTES, UNFINISHED_FILE } from './unfinished.js';
import {
  type ArchiveDamage,
  DEFAULT_CONCURRENCY,
  type VerifyOptions,
  verifyShardOf,
} from './verify-archive.js';

/** Verification of an archive that is being written, or was left by a killed writer. */

export interface UnfinishedReport {
  readonly kind: 'unfinished archive';
  readonly files: number;
  readonly bytes: number;
  /** Valid labels that are there, and all that the archive is to store. */
  readonly labels: { readonly present: number; readonly total: number };
  readonly shards: { readonly sealed: number; readonly begun: number; readonly total: number };
  readonly damage: readonly ArchiveDamage[];
}

/** What an unfinished archive is to be. */
export interface UnfinishedHead {
  readonly identity: DividedIdentity;
  readonly request: JsonObject | undefined;
  readonly provenance: Provenance | undefined;
}

/** Reads what the mark of an unfinished archive says; undefined if there is none. */
export async function readUnfinishedHead(store: ByteStore): Promise<UnfinishedHead | undefined> {
  const name = nameIn(store.name, UNFINISHED_FILE);
  const bytes = await readStored(store, UNFINISHED_FILE, MAX_UNFINISHED_BYTES);
  if (bytes === undefined) return undefined;
  const head = parseJson(name, 'content', bytes);
  if (!isJsonObject(head)) throw invalidFile(name, 'content', 'not an object', { found: head });
  const check = new FieldChecker(name, 'INVALID_FILE');
  const identity = checkIdentity(check, head);
  const { grid } = identity;
  if (grid === undefined) throw invalidFile(name, 'grid', 'missing');
  const divided = { ...identity, grid };
  requireGrid(divided, grid);
  const request = head.request === undefined ? undefined : check.object(head.request, 'request');
  const { provenance } = head;
  return {
    identity: divided,
    request,
    provenance: isJsonObject(provenance ?? null) ? (provenance as JsonObject) : undefined,
  };
}

interface Found {
  readonly state: 'sealed' | 'begun' | 'missing';
  readonly labels: number;
  readonly bytes: number;
  readonly damage: readonly ArchiveDamage[];
}

const MISSING: Found = { state: 'missing', labels: 0, bytes: 0, damage: [] };

/** What of an unfinished archive is there and valid. A record that a kill cut short is no damage. */
export async function verifyUnfinished(
  store: ByteStore,
  identity: DividedIdentity,
  options: VerifyOptions = {},
): Promise<UnfinishedReport> {
  const { concurrency = DEFAULT_CONCURRENCY, onProgress, signal } = options;
  const total = shardCount(identity.grid, identity);
  const archiveId = archiveIdOf(identity);
  const xxh64 = await loadXxh64();
  const small = await smallFiles(store, identity, options);
  // Most shards of a large plan may be missing: a folder is asked once for all of them.
  const names = store.list && new Set(await store.list());
  const found: Found[] = [];
  let done = 0;
  await inLanes(total, concurrency, async (shard) => {
    const rectangle = rectangleAt(identity.grid, identity, shard);
    const plan = { identity, archiveId, shard, rectangle };
    const isThere = !names || names.has(rectangle.file) || names.has(logName(rectangle));
    found[shard] = isThere ? await verifyBegun(store, plan, xxh64, { signal }) : MISSING;
    done += 1;
    onProgress?.(done, total);
  });
  const sum = (of: (one: Found) => number) => found.reduce((all, one) => all + of(one), 0);
  const count = (state: Found['state']) => sum((one) => (one.state === state ? 1 : 0));
  const [sealed, begun] = [count('sealed'), count('begun')];
  return {
    kind: 'unfinished archive',
    files: 1 + small.files + sealed + begun,
    bytes: small.bytes + sum(({ bytes }) => bytes),
    labels: {
      present: sum(({ labels }) => labels),
      total: storedEpochs(identity) * identity.samples,
    },
    shards: { sealed, begun, total },
    damage: [...small.damage, ...found.flatMap(({ damage }) => damage)],
  };
}

/** Files of the codec; a writer that resumes makes them again, so that they may be missing. */
async function smallFiles(store: ByteStore, identity: DividedIdentity, { signal }: VerifyOptions) {
  const { codecFile, samplesFile, sampleBlocks, samples } = identity;
  const whole = { file: '', epochs: [0, storedEpochs(identity)], samples: [0, samples] } as const;
  const damage: ArchiveDamage[] = [];
  let [files, bytes] = [0, 0];
  const side = sampleBlocks && (await recordedSampleFiles(store, sampleBlocks));
  for (const record of [codecFile, samplesFile, ...(side ?? [])]) {
    if (record === undefined) continue;
    const found = await verifyWholeFile(store, record, { signal });
    if (found.some(({ kind }) => kind === 'missing')) continue;
    files += 1;
    bytes += record.bytes;
    const labels = allLabels(identity, whole);
    damage.push(...found.map((one) => ({ file: record.file, ...one, labels })));
  }
  return { files, bytes, damage };
}

async function verifyBegun(
  store: ByteStore,
  plan: LogPlan,
  xxh64: Xxh64,
  { signal }: VerifyOptions,
): Promise<Found> {
  const { identity, rectangle } = plan;
  let bytes = 0;
  const onBytes = (count: number) => {
    bytes += count;
  };
  const archive = { ...identity, archiveId: plan.archiveId };
  const damage = await verifyShardOf(store, archive, rectangle, { onBytes, signal });
  if (damage.length === 0) {
    return { state: 'sealed', labels: labelCount(rectangle), bytes, damage };
  }
  if (!damage.some(({ kind }) => kind === 'missing')) {
    return { state: 'begun', labels: 0, bytes, damage };
  }
  return verifyLog(store, plan, xxh64);
}

async function verifyLog(store: ByteStore, plan: LogPlan, xxh64: Xxh64): Promise<Found> {
  const name = logName(plan.rectangle);
  const file = await openKnown(store, { file: name });
  if ('kind' in file) {
    const isMissing = file.kind === 'missing';
    const damage = isMissing ? [] : [{ file: name, ...file, labels: [] }];
    return { state: isMissing ? 'missing' : 'begun', labels: 0, bytes: 0, damage };
  }

  let labels = 0;
  try {
    const found = readPieces(file, plan, xxh64);
    let next = await found.next();
    for (; !next.done; next = await found.next()) labels += next.value.piece.count;
    const { at, torn } = next.value;
    if (at === file.size || torn) return { state: 'begun', labels, bytes: at, damage: [] };
    const problem = 'a record is not valid: it and those after it will be made again';
    const lost = { kind: 'structure', problem, bytes: [at, file.size] } as const;
    const damage = [{ file: name, ...lost, labels: [] }];
    return { state: 'begun', labels, bytes: at, damage };
  } catch (error) {
    const damage = [{ file: name, ...damageOf(error, [0, file.size]), labels: [] }];
    return { state: 'begun', labels, bytes: 0, damage };
  } finally {
    await file.close();
  }
}
