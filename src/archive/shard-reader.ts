import { requireSize, type Xxh64 } from '../container/checksum.js';
import { EdgeBlock } from '../container/shard-file.js';
import { allocateShared } from '../core/allocate.js';
import { emptyBlocks } from '../core/blocks.js';
import { inLanes } from '../core/lanes.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { openSound } from '../store/open-sound.js';
import { type ExpectedShard, expectShard } from './expected-shard.js';
import type { Column } from './identity.js';
import type { Manifest } from './manifest.js';
import {
  blocksPerRow,
  columnBytes,
  type OpenShard,
  openShard,
  readFrom,
  readOffsets,
  requireIndex,
} from './shard.js';
import type { Shards } from './shards.js';

/** Shards of a row that are opened and read at a time: a server takes its time for each. */
const SHARDS_AT_A_TIME = 8;
/** Headers and checksums that are kept: 8 KiB each for shards of a GiB. */
const MAX_OPEN_SHARDS = 1024;

export interface ShardReaderParts {
  readonly source: ByteStore;
  readonly manifest: Pick<Manifest, 'archiveId' | 'columns' | 'layout' | 'samples'>;
  readonly shards: Shards;
  /** Absent where nothing is verified. */
  readonly xxh64: Xxh64 | undefined;
}

/** Reads columns of an archive across its shards. */
export class ShardReader {
  readonly #parts: ShardReaderParts;
  /** Headers and checksums of the shards read so far; the least recently used first. */
  readonly #open = new Map<number, Promise<OpenShard>>();

  readonly #edge = new EdgeBlock();

  constructor(parts: ShardReaderParts) {
    this.#parts = parts;
  }

  /**
   * A column of a stored epoch, of the samples from `from` to `to`, whose labels begin and end at whole bytes or blocks.
   */
  async read(
    epoch: number,
    column: Column,
    from: number,
    to: number,
  ): Promise<Uint8Array<SharedArrayBuffer>> {
    const { manifest, xxh64 } = this.#parts;
    const bytes = columnBytes(manifest, column, to - from);
    if (bytes === undefined) return this.#readBlocks(epoch, from, to);
    const field = `epoch ${epoch} of ${column.name}`;
    const row = new Uint8Array(allocateShared(bytes, field));
    const at = (sample: number) => columnBytes(manifest, column, sample - from) ?? 0;
    const parts = [...this.#inShards(from, to, epoch)];
    await inLanes(parts.length, SHARDS_AT_A_TIME, async (i) => {
      const part = parts[i];
      const { shard, record } = await part.open();
      const inShard = (samples: number) =>
        samples === 0 ? 0 : (columnBytes(manifest, column, samples) ?? 0);
      const rowBytes = inShard(record.samples[1] - record.samples[0]);
      const begin =
        (shard.index.columns.get(column.name) ?? 0) +
        (epoch - record.epochs[0]) * rowBytes +
        inShard(part.from - record.samples[0]);
      const into = row.subarray(
        part.from === from ? 0 : at(part.from),
        part.to === to ? bytes : at(part.to),
      );
      await readFrom(shard, xxh64, begin, into, this.#edgeOf(i, parts));
    });
    return row;
  }

  /** Only ends of what is read are read on from; those of the shards between would push them out. */
  #edgeOf(i: number, parts: readonly unknown[]): EdgeBlock | undefined {
    return i === 0 || i === parts.length - 1 ? this.#edge : undefined;
  }

  /** Blocks of several shards as one row. */
  async #readBlocks(
    epoch: number,
    from: number,
    to: number,
  ): Promise<Uint8Array<SharedArrayBuffer>> {
    const { manifest, xxh64 } = this.#parts;
    const { layout } = manifest;
    const each = layout.kind === 'blocks' ? layout.labelsPerBlock : 1;
    const wanted = [...this.#inShards(from, to, epoch)];
    const parts: { readonly shard: OpenShard; readonly offsets: BigUint64Array }[] = [];
    await inLanes(wanted.length, SHARDS_AT_A_TIME, async (i) => {
      const part = wanted[i];
      const { shard, record } = await part.open();
      const first =
        (epoch - record.epochs[0]) * blocksPerRow(manifest, record) +
        (part.from - record.samples[0]) / each;
      const blocks = Math.ceil((part.to - part.from) / each);
      const offsets = shard.offsets ?? new BigUint64Array(blocks + 1);
      parts[i] = { shard, offsets: offsets.subarray(first, first + blocks + 1) };
    });
    const lengths = parts.flatMap(({ offsets }) =>
      Array.from(offsets.subarray(1), (end, i) => Number(end - offsets[i])),
    );
    const row = emptyBlocks(lengths, `epoch ${epoch} of codes`);
    let at = row.length - lengths.reduce((sum, length) => sum + length, 0);
    const runs = parts.map(({ shard, offsets }) => {
      const into = row.subarray(at, at + Number(offsets[offsets.length - 1] - offsets[0]));
      at += into.length;
      return { shard, into, offset: Number(offsets[0]) };
    });
    await inLanes(runs.length, SHARDS_AT_A_TIME, async (i) => {
      const { shard, into, offset } = runs[i];
      const begin = (shard.index.columns.get('codes') ?? 0) + offset;
      await readFrom(shard, xxh64, begin, into, this.#edgeOf(i, runs));
    });
    return row;
  }

  /** The shards that hold some samples of a stored epoch, with the samples in each. */
  *#inShards(from: number, to: number, epoch: number) {
    const { shards } = this.#parts;
    for (let at = from; at < to; ) {
      const i = shards.find(epoch, at);
      const record = shards.at(i);
      const end = Math.min(to, record.samples[1]);
      yield { from: at, to: end, open: async () => ({ shard: await this.#opened(i), record }) };
      at = end;
    }
  }

  #opened(i: number): Promise<OpenShard> {
    const opening = this.#open.get(i) ?? this.open(i);
    this.#open.delete(i);
    this.#open.set(i, opening);
    // A failure may be temporary (a file that is copied back), so it is not cached.
    opening.catch(() => this.#open.delete(i));
    const [oldest] = this.#open.keys();
    if (this.#open.size > MAX_OPEN_SHARDS) this.#open.delete(oldest);
    return opening;
  }

  /** Opens a shard anew, whatever is kept of it. */
  async open(i: number): Promise<OpenShard> {
    const { source, manifest, shards, xxh64 } = this.#parts;
    const { archiveId } = manifest;
    const record = shards.at(i);
    let expected: ExpectedShard | undefined;
    const tail = () => {
      expected = expectShard(manifest, archiveId, record);
      return expected?.tail;
    };
    const read = async (file: ByteFile) => {
      requireSize(file, record);
      const shard =
        (await expected?.open(file)) ?? (await openShard(file, manifest, archiveId, record));
      if (xxh64 !== undefined) requireIndex(shard, record.indexSha256);
      return readOffsets(shard, manifest, record, xxh64);
    };
    return openSound(source, record.file, read, { tail });
  }

  /** Forgets the shards that were read. */
  clear(): void {
    this.#open.clear();
  }
}
