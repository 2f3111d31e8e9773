import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PixelSource } from '../augment/replay.js';
import { BLOCK_BYTES, loadXxh64, type Xxh64 } from '../container/checksum.js';
import { SoftpackError } from '../errors.js';
import { fileError } from '../store/file-error.js';
import { openLocalFileSync, type SyncByteFile } from '../store/local.js';
import type { DecodedImage, ImageFit } from './decode.js';
import { memoryImages } from './memory.js';
import type { PackedIndex, PackedShard } from './packed/packed-index.js';
import { type ImagesDescription, imageCount } from './source.js';
import { textAt } from './text-table.js';

/** Reads and decodes images in one thread. */
export interface ImageReader extends Disposable {
  readonly count: number;
  /**
   * The pixels of these samples, each read once however often it is asked for. They are valid until the next call,
   * which may use their memory again; one call at a time.
   *
   * @param stopped Asked before every image: true ends the call with `ABORTED`.
   * @throws `NOT_FOUND` or `INVALID_FILE` naming the image's file, `CORRUPT_DATA` naming the block of a packed file
   *   that does not match its checksum.
   */
  read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource>;
}

export interface ImageReaderOptions {
  /** Images decoded side by side, on libuv's threads. Default 1: right where every thread has a reader. */
  readonly concurrency?: number;
}

export async function openImageReader(
  description: ImagesDescription,
  { concurrency = 1 }: ImageReaderOptions = {},
): Promise<ImageReader> {
  const count = imageCount(description);
  switch (description.kind) {
    case 'memory': {
      const { data, height, width } = description;
      const pixels = memoryImages(data, height, width);
      return { count, read: async () => pixels, [Symbol.dispose]() {} };
    }
    case 'files': {
      const decode = await loadDecoder(description.fit);
      const { root, names } = description;
      return new DecodingReader(count, concurrency, async (sample) => {
        const path = join(root, textAt(names, sample));
        const encoded = await readFile(path).catch((cause: unknown) => {
          throw fileError(path, cause);
        });
        return decode(encoded, path);
      });
    }
    case 'packed': {
      const files = new PackedFiles(description.index, await loadXxh64());
      if (description.index.encoding === 'raw') return new RawReader(description.index, files);
      const decode = await loadDecoder(undefined);
      const read = async (sample: number) => {
        const encoded = new Uint8Array(description.index.lengths[sample]);
        files.read(sample, encoded);
        return decode(encoded, `${files.shardOf(sample).path}: image ${sample}`);
      };
      return new DecodingReader(count, concurrency, read, files);
    }
  }
}

type Decode = (encoded: Uint8Array, name: string) => Promise<DecodedImage>;

/** Loaded only by readers that decode: threads that do not start quicker without it. */
async function loadDecoder(fit: ImageFit | undefined): Promise<Decode> {
  const { decodeImage, prepareDecoder } = await import('./decode.js');
  prepareDecoder();
  return (encoded, name) => decodeImage(encoded, name, fit);
}

/** Decoded images by sample id. */
class DecodedImages implements PixelSource {
  readonly count: number;
  readonly #images: ReadonlyMap<number, DecodedImage>;

  constructor(count: number, images: ReadonlyMap<number, DecodedImage>) {
    this.count = count;
    this.#images = images;
  }

  sizeOf(sample: number): readonly [number, number] {
    const { height, width } = this.#at(sample);
    return [height, width];
  }

  pixels(sample: number): Uint8Array {
    return this.#at(sample).pixels;
  }

  #at(sample: number): DecodedImage {
    const image = this.#images.get(sample);
    if (image !== undefined) return image;
    throw new SoftpackError('INVALID_ARGUMENT', 'not among the samples read', {
      field: 'samples',
      found: sample,
    });
  }
}

class DecodingReader implements ImageReader {
  readonly count: number;
  readonly #concurrency: number;
  readonly #decode: (sample: number) => Promise<DecodedImage>;
  readonly #files: Disposable | undefined;

  constructor(
    count: number,
    concurrency: number,
    decode: (sample: number) => Promise<DecodedImage>,
    files?: Disposable,
  ) {
    this.count = count;
    this.#concurrency = concurrency;
    this.#decode = decode;
    this.#files = files;
  }

  async read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource> {
    const ids = [...new Set(samples)];
    const images = new Map<number, DecodedImage>();
    let next = 0;
    const decodeSome = async () => {
      while (next < ids.length) {
        const sample = requireSample(ids[next++], this.count);
        throwIfStopped(stopped);
        images.set(sample, await this.#decode(sample));
      }
    };
    const lanes = Math.min(this.#concurrency, ids.length);
    // All lanes end before an error is reported, so that none works on behind the caller's back.
    const ended = await Promise.allSettled(Array.from({ length: lanes }, decodeSome));
    const failed = ended.find((lane) => lane.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return new DecodedImages(this.count, images);
  }

  [Symbol.dispose](): void {
    this.#files?.[Symbol.dispose]();
  }
}

/** Pixels as they lie in the file, into one buffer that every call uses again. */
class RawReader implements ImageReader {
  readonly count: number;
  readonly #index: PackedIndex;
  readonly #files: PackedFiles;
  #buffer = new Uint8Array(0);

  constructor(index: PackedIndex, files: PackedFiles) {
    this.count = index.lengths.length;
    this.#index = index;
    this.#files = files;
  }

  async read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource> {
    const { lengths, sizes } = this.#index;
    const ids = [...new Set(samples)];
    for (const sample of ids) requireSample(sample, this.count);
    const bytes = ids.reduce((sum, sample) => sum + lengths[sample], 0);
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    const images = new Map<number, DecodedImage>();
    let at = 0;
    // In the order of the file: what lies side by side is read side by side.
    for (const sample of ids.sort((a, b) => a - b)) {
      throwIfStopped(stopped);
      const pixels = this.#buffer.subarray(at, at + lengths[sample]);
      this.#files.read(sample, pixels);
      images.set(sample, { pixels, height: sizes[2 * sample], width: sizes[2 * sample + 1] });
      at += pixels.length;
    }
    return new DecodedImages(this.count, images);
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}

/** Files open at a time: far fewer than a process may have, more than a batch usually touches. */
const MAX_OPEN_FILES = 64;

/** The shards of a packed file, read synchronously; a block is verified when the first thread touches it. */
class PackedFiles implements Disposable {
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

function requireSample(sample: number, count: number): number {
  if (sample < count) return sample;
  throw new SoftpackError('INVALID_ARGUMENT', 'no such sample', {
    field: 'samples',
    expected: `< ${count}`,
    found: sample,
  });
}

function throwIfStopped(stopped: (() => boolean) | undefined): void {
  if (stopped?.()) throw new SoftpackError('ABORTED', 'aborted');
}
