import { BLOCK_BYTES, type Xxh64 } from '../../container/checksum.js';
import { SoftpackError } from '../../errors.js';
import { openLocalFileSync, type SyncByteFile } from '../../store/local.js';
import type { PackedIndex, PackedShard } from './packed-index.js';

/** Files open at a time: far fewer than a process may have, more than a batch usually touches. */
const MAX_OPEN_FILES = 64;

/** The shards of a packed file, read synchronously; a block is verified when the first thread touches it. */
export class PackedFiles implements Disposable {
  readonly #index: PackedIndex;
  readonly #xxh64: Xxh64;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  /** Least recently used first. */
  readonly #open = new Map<PackedShard, SyncByteFile>();

  constructor(index: PackedIndex, xxh64: Xxh64) {
    this.#index = index;
    this.#xxh64 = xxh64;
  }

  read(sample: number, into: Uint8Array): void {
    const shard = this.shardOf(sample);
    const begin = this.#index.begins[sample];
    this.#verify(shard, begin, begin + into.length);
    this.#fill(shard, begin, into);
  }

  shardOf(sample: number): PackedShard {
    const { shards } = this.#index;
    let [low, high] = [0, shards.length - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sample < shards[middle].samples[1]) high = middle;
      else low = middle + 1;
    }
    return shards[low];
  }

  #verify(shard: PackedShard, begin: number, end: number): void {
    const { dataOffset, tableOffset, table, verified } = shard;
    const first = Math.floor((begin - dataOffset) / BLOCK_BYTES);
    for (let i = first; dataOffset + i * BLOCK_BYTES < end; i++) {
      if (Atomics.load(verified, i) === 1) continue;
      const at = dataOffset + i * BLOCK_BYTES;
      const block = this.#block.subarray(0, Math.min(BLOCK_BYTES, tableOffset - at));
      this.#fill(shard, at, block);
      const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
      const expected = view.getBigUint64(8 * i, true);
      const found = this.#xxh64.hash(block);
      if (found !== expected) {
        throw new SoftpackError('CORRUPT_DATA', 'stored bytes do not match their checksum', {
          field: `${shard.path}: block ${i}`,
          expected: expected.toString(16),
          found: found.toString(16),
        });
      }
      Atomics.store(verified, i, 1);
    }
  }

  #fill(shard: PackedShard, position: number, into: Uint8Array): void {
    this.#file(shard).read(position, into);
  }

  #file(shard: PackedShard): SyncByteFile {
    const file = this.#open.get(shard) ?? openLocalFileSync(shard.path);
    this.#open.delete(shard);
    this.#open.set(shard, file);
    if (this.#open.size > MAX_OPEN_FILES) {
      const [[oldest, unused]] = this.#open;
      this.#open.delete(oldest);
      unused[Symbol.dispose]();
    }
    return file;
  }

  [Symbol.dispose](): void {
    for (const file of this.#open.values()) file[Symbol.dispose]();
    this.#open.clear();
  }
}
