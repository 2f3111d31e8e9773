import { LruCache } from '../../core/lru-cache.js';
import type { Kernels } from '../../kernels/types.js';
import { invalidCodes } from '../labelwise.js';
import type { TransformConfig } from './config.js';
import type { TransformModel } from './model.js';
import { unitOf } from './quantiser.js';

/** Bytes of a block before its stream. */
const BLOCK_HEAD = 2;
/**
 * Bytes of decoded blocks that are kept: a shuffled batch has labels of all blocks of an epoch, and decodes those again
 * that are not. 1.28 million labels of 64 components take 164 MB.
 */
const KEPT_BYTES = 192 * 2 ** 20;

interface KnownBlock {
  readonly bytes: Uint8Array;
  /** [components, labels]: half as large as what they stand for. */
  readonly indices: Int16Array;
}

/** Blocks of a row: the number of labels, and a stream of their indices. */
export class Blocks {
  readonly #config: TransformConfig;
  readonly #model: TransformModel;
  readonly #kernels: Kernels;
  /** Decoded blocks by number: of one epoch, mostly. */
  readonly #known = new LruCache(KEPT_BYTES, sizeOf);

  constructor(config: TransformConfig, model: TransformModel, kernels: Kernels) {
    this.#config = config;
    this.#model = model;
    this.#kernels = kernels;
  }

  /** @param values [components, labels]. */
  encode(values: Int16Array): Uint8Array {
    const labels = values.length / this.#config.components;
    const stream = this.#kernels.encodeRans({ ...this.#model.codes, values, columns: labels });
    const block = new Uint8Array(BLOCK_HEAD + stream.length);
    block.set([labels & 255, labels >> 8]);
    block.set(stream, BLOCK_HEAD);
    return block;
  }

  /** Copies the latents [labels, components] of labels of a row, as many at once as lie side by side. */
  gather(
    row: readonly Uint8Array[],
    positions: Uint32Array,
    out: Float32Array,
    threads?: number,
  ): void {
    const { components, labelsPerBlock } = this.#config;
    const found = new Map<number, Int16Array>();
    const count = positions.length;
    const indices = new Int16Array(components * count);
    for (let i = 0, next = 0; i < count; i = next) {
      const first = positions[i];
      const number = Math.floor(first / labelsPerBlock);
      const block = found.get(number) ?? this.#indicesOf(row, number);
      found.set(number, block);
      const begin = number * labelsPerBlock;
      const length = block.length / components;
      for (next = i; next < count && positions[next] === first + next - i; next++) {
        if (positions[next] >= begin + length) break;
      }
      if (next === i) throw invalidCodes(`less than ${length} labels`, first - begin);
      const from = first - begin;
      copyColumns(block.subarray(from), length, indices.subarray(i), count, next - i, components);
    }
    const { step, states: trellis } = this.#config;
    const unit = unitOf(step, trellis);
    const { shifts } = this.#model;
    this.#kernels.dequantise({ indices, shifts, unit, trellis, out, threads });
  }

  clear(): void {
    this.#known.clear();
  }

  /** Indices [components, labels] of a block; those of the latest ones are kept. */
  #indicesOf(row: readonly Uint8Array[], number: number): Int16Array {
    const bytes = row[number];
    if (bytes === undefined) throw invalidCodes(`less than ${row.length} blocks`, number);
    const known = this.#known.get(number);
    if (known !== undefined && Buffer.compare(known.bytes, bytes) === 0) return known.indices;
    const block = { bytes: bytes.slice(), indices: this.#decode(bytes) };
    this.#known.set(number, block);
    return block.indices;
  }

  #decode(bytes: Uint8Array): Int16Array {
    const labels = bytes.length < BLOCK_HEAD ? 0 : bytes[0] + 256 * bytes[1];
    const { components, labelsPerBlock } = this.#config;
    if (labels < 1 || labels > labelsPerBlock) {
      throw invalidCodes(`a block of 1 to ${labelsPerBlock} labels`, labels);
    }
    const out = new Int16Array(components * labels);
    const stream = bytes.subarray(BLOCK_HEAD);
    this.#kernels.decodeRans({ ...this.#model.codes, bytes: stream, columns: labels, out });
    return out;
  }
}

/** Copies the first `count` columns of every row of a matrix into another one. */
function copyColumns(
  from: Int16Array,
  fromWidth: number,
  to: Int16Array,
  toWidth: number,
  count: number,
  rows: number,
): void {
  for (let j = 0; j < rows; j++) {
    const [at, into] = [j * fromWidth, j * toWidth];
    if (count === 1) to[into] = from[at];
    else to.set(from.subarray(at, at + count), into);
  }
}

function sizeOf({ bytes, indices }: KnownBlock): number {
  return bytes.length + indices.byteLength;
}
