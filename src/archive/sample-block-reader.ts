import type { Xxh64 } from '../container/checksum.js';
import { splitBlocks } from '../core/blocks.js';
import type { SampleBlockOf, SampleBlocks } from '../core/codec-parts.js';
import { LruCache } from '../core/lru-cache.js';
import { SoftpackError } from '../errors.js';
import type { ByteStore } from '../store/byte-store.js';
import type { ArchiveIdentity, Column } from './identity.js';
import { sampleShape, sampleShards } from './sample-blocks.js';
import type { SampleBlocksRecord } from './sample-record.js';
import { ShardReader, type ShardReaderParts } from './shard-reader.js';
import type { Shards } from './shards.js';

/** Encoded blocks that are kept: a few hundred. */
const KEPT_BYTES = 16 * 2 ** 20;
/** Blocks that lie closer together are read at once. */
const GAP_BLOCKS = 64;

/** Reads side data per sample: of the samples that are asked for, or all. */
export class SampleBlockReader {
  readonly #record: SampleBlocksRecord;
  readonly #shards: Shards;
  readonly #column: Column;
  readonly #reader: ShardReader;
  readonly #known = new LruCache<Uint8Array>(KEPT_BYTES, ({ length }) => length);

  private constructor(record: SampleBlocksRecord, parts: ShardReaderParts) {
    this.#record = record;
    this.#shards = parts.shards;
    [this.#column] = parts.manifest.columns;
    this.#reader = new ShardReader(parts);
  }

  /** Reads the table of files. Without `xxh64` nothing is verified. */
  static async open(
    source: ByteStore,
    identity: Pick<ArchiveIdentity, 'codecFile' | 'sampleBlocks'>,
    xxh64: Xxh64 | undefined,
  ): Promise<SampleBlockReader | undefined> {
    const { codecFile, sampleBlocks: record } = identity;
    if (record === undefined) return undefined;
    const shards = await sampleShards(source, record, xxh64 !== undefined);
    const manifest = sampleShape(record, codecFile);
    return new SampleBlockReader(record, { source, manifest, shards, xxh64 });
  }

  /** Of all its files, without the table. */
  get bytes(): number {
    return this.#shards.bytes;
  }

  /** All blocks, over shared memory. */
  async whole(): Promise<SampleBlocks> {
    const { samples, samplesPerBlock } = this.#record;
    return { samples, samplesPerBlock, row: await this.#read(0, samples) };
  }

  /** The blocks of some samples; `INVALID_ARGUMENT` if there is no such sample. */
  async of(...ids: readonly Uint32Array[]): Promise<SampleBlockOf> {
    const { samples, samplesPerBlock } = this.#record;
    const numbers = new Set<number>();
    for (const list of ids) {
      for (const id of list) {
        if (id >= samples) throw noSample(samples, id);
        numbers.add(Math.floor(id / samplesPerBlock));
      }
    }
    const found = new Map<number, Uint8Array>();
    const missing: number[] = [];
    for (const number of [...numbers].sort((a, b) => a - b)) {
      const known = this.#known.get(number);
      if (known === undefined) missing.push(number);
      else found.set(number, known);
    }
    for (const [first, last] of runsOf(missing)) {
      const end = Math.min(samples, (last + 1) * samplesPerBlock);
      const blocks = splitBlocks(await this.#read(first * samplesPerBlock, end));
      for (const [i, block] of blocks.entries()) {
        if (!numbers.has(first + i)) continue;
        // A copy: the run that it lies in may be far larger.
        const own = block.slice();
        found.set(first + i, own);
        this.#known.set(first + i, own);
      }
    }
    return (block) => found.get(block);
  }

  clear(): void {
    this.#known.clear();
    this.#reader.clear();
  }

  #read(from: number, to: number): Promise<Uint8Array<SharedArrayBuffer>> {
    return this.#reader.read(0, this.#column, from, to);
  }
}

/** First and last of runs of ascending numbers. */
function runsOf(numbers: readonly number[]): readonly (readonly [number, number])[] {
  const runs: [number, number][] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run !== undefined && number - run[1] <= GAP_BLOCKS) run[1] = number;
    else runs.push([number, number]);
  }
  return runs;
}

function noSample(samples: number, found: number): SoftpackError {
  const details = { field: 'samples', expected: `less than ${samples}`, found };
  return new SoftpackError('INVALID_ARGUMENT', 'no side data of this sample', details);
}
