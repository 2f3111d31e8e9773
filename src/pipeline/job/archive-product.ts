import { labelCount, type Rectangle, rectangleAt, shardCount } from '../../archive/grid.js';
import type { Piece } from '../../archive/log-records.js';
import {
  type Manifest,
  makeManifest,
  manifestBytes,
  parseManifest,
} from '../../archive/manifest.js';
import { MemoryLog } from '../../archive/memory-log.js';
import { cutRow } from '../../archive/pieces.js';
import { type SealedShard, sealedShard, shardParts } from '../../archive/seal.js';
import { encodeShardTable, SHARD_TABLE_FILE } from '../../archive/shards.js';
import type { ArchivePlan } from '../../archive/spec.js';
import { sha256, type Xxh64 } from '../../container/checksum.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../../container/shard-file.js';
import type { JsonObject } from '../../core/json.js';
import { SoftpackError } from '../../errors.js';
import type { DivergenceSums } from '../../labels/divergence.js';
import { nameIn } from '../../store/address.js';
import { readStored } from '../../store/read-stored.js';
import type { JobProduct, JobWorkerOptions, MadeShard, Published, ShardMaker } from './kind.js';
import type { Receipt } from './receipts.js';
import { isThere, type JobStores } from './stores.js';

/** Labels and encodes rectangles of an archive. */
export interface ShardEncoder extends AsyncDisposable {
  /** Gives codes of a rectangle to `add`, piece by piece, and keeps none; tells what was measured of them. */
  encode(
    rectangle: Rectangle,
    add: (piece: Piece, codes: Uint8Array) => Promise<void>,
    onProgress: (labels: number) => void,
  ): Promise<DivergenceSums>;
}

/** What kinds of labels differ in. */
export interface ArchiveLabels {
  openEncoder(worker: JobWorkerOptions): Promise<ShardEncoder>;
  /** What all shards together say; `result` is noted in the manifest. */
  measured(
    receipts: readonly Receipt[],
  ): Omit<Published, 'id'> & { readonly result?: JsonObject | undefined };
  dispose(): void;
}

/** An archive as what a job makes: its shards are the job's. */
export class ArchiveProduct implements JobProduct {
  readonly shards: number;
  readonly #stores: JobStores;
  readonly #plan: ArchivePlan;
  readonly #xxh64: Xxh64;
  readonly #labels: ArchiveLabels;

  constructor(stores: JobStores, plan: ArchivePlan, xxh64: Xxh64, labels: ArchiveLabels) {
    this.shards = shardCount(plan.identity.grid, plan.identity);
    this.#stores = stores;
    this.#plan = plan;
    this.#xxh64 = xxh64;
    this.#labels = labels;
  }

  #rectangle(shard: number): Rectangle {
    const { identity } = this.#plan;
    return rectangleAt(identity.grid, identity, shard);
  }

  sizeOf(shard: number): number {
    return labelCount(this.#rectangle(shard));
  }

  fileOf(shard: number): string {
    return this.#rectangle(shard).file;
  }

  stored(shard: number): Promise<SealedShard | undefined> {
    const { identity, archiveId } = this.#plan;
    const plan = { identity, archiveId, rectangle: this.#rectangle(shard) };
    return sealedShard(this.#stores.archive, plan, this.#xxh64);
  }

  async openMaker(worker: JobWorkerOptions): Promise<ShardMaker> {
    const encoder = await this.#labels.openEncoder(worker);
    return {
      make: (shard, onProgress) => this.#make(encoder, shard, onProgress),
      [Symbol.asyncDispose]: () => encoder[Symbol.asyncDispose](),
    };
  }

  async #make(
    encoder: ShardEncoder,
    shard: number,
    onProgress: (labels: number) => void,
  ): Promise<MadeShard> {
    const { identity, archiveId } = this.#plan;
    const rectangle = this.#rectangle(shard);
    const log = new MemoryLog({ identity, archiveId, rectangle });
    const add = async (piece: Piece, codes: Uint8Array) => {
      for (const [cut, columns] of cutRow(identity, piece, { codes })) log.add(cut, columns);
    };
    const sums = await encoder.encode(rectangle, add, onProgress);
    const xxh64 = this.#xxh64;
    return {
      file: rectangle.file,
      async *parts() {
        return { shard, sums, ...(yield* shardParts(log, xxh64)) };
      },
    };
  }

  async publish(receipts: readonly Receipt[], signal: AbortSignal | undefined): Promise<Published> {
    const store = this.#stores.archive;
    const { identity, archiveId, provenance, request, codecFile, samplesFile } = this.#plan;
    const { words, facts, result } = this.#labels.measured(receipts);
    const table = encodeShardTable(receipts);
    const record = { file: SHARD_TABLE_FILE, bytes: table.length, sha256: sha256(table) };
    const manifest = makeManifest(identity, record, { provenance, request, result });
    await requireSameManifest(store, manifest, signal);
    await store.put(codecFile.record.file, codecFile.bytes, { signal });
    if (samplesFile) await store.put(samplesFile.record.file, samplesFile.bytes, { signal });
    await store.put(SHARD_TABLE_FILE, table, { signal });
    if (!(await store.putIfAbsent(MANIFEST_FILE, manifestBytes(manifest), { signal }))) {
      await requireSameManifest(store, manifest, signal);
    }
    await store.sweep?.(receipts.map(({ shard }) => this.fileOf(shard)));
    return { id: archiveId, words, facts };
  }

  isFinished(): Promise<boolean> {
    return isThere(this.#stores.archive, MANIFEST_FILE);
  }

  [Symbol.dispose](): void {
    this.#labels.dispose();
  }
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
