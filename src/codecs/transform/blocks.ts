import type { Kernels } from '../../kernels/types.js';
import { invalidCodes } from '../labelwise.js';
import type { TransformConfig } from './config.js';
import type { TransformModel } from './model.js';
import { unitOf } from './quantiser.js';

/** Bytes of a block before its stream. */
const BLOCK_HEAD = 2;
/** Bytes of decoded blocks that are kept: labels of a batch come from many blocks of an epoch. */
const KEPT_BYTES = 128 * 2 ** 20;

interface KnownBlock {
  readonly bytes: Uint8Array;
  readonly latents: Float32Array;
}

/** Blocks of a row: the number of labels, and a stream of their indices. */
export class Blocks {
  readonly #config: TransformConfig;
  readonly #model: TransformModel;
  readonly #kernels: Kernels;
  /** Blocks decoded last, by number: of one epoch, mostly. */
  readonly #known = new Map<number, KnownBlock>();
  #knownBytes = 0;

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
    const found = new Map<number, Float32Array>();
    for (let i = 0, next = 0; i < positions.length; i = next) {
      const first = positions[i];
      const number = Math.floor(first / labelsPerBlock);
      const block = found.get(number) ?? this.#latentsOf(row, number, threads);
      found.set(number, block);
      const begin = number * labelsPerBlock;
      const end = begin + block.length / components;
      for (next = i; next < positions.length && positions[next] === first + next - i; next++) {
        if (positions[next] >= end) break;
      }
      if (next === i) throw invalidCodes(`less than ${end - begin} labels`, first - begin);
      const from = (first - begin) * components;
      out.set(block.subarray(from, from + (next - i) * components), i * components);
    }
  }

  clear(): void {
    this.#known.clear();
    this.#knownBytes = 0;
  }

  /** Latents [labels, components] of a block; those of the latest ones are kept. */
  #latentsOf(row: readonly Uint8Array[], number: number, threads?: number): Float32Array {
    const bytes = row[number];
    if (bytes === undefined) throw invalidCodes(`less than ${row.length} blocks`, number);
    const known = this.#known.get(number);
    if (known !== undefined && Buffer.compare(known.bytes, bytes) === 0) return known.latents;
    const latents = this.#decode(bytes, threads);
    if (known !== undefined) this.#knownBytes -= sizeOf(known);
    const block = { bytes: bytes.slice(), latents };
    if (this.#knownBytes + sizeOf(block) > KEPT_BYTES) this.clear();
    this.#known.set(number, block);
    this.#knownBytes += sizeOf(block);
    return latents;
  }

  #decode(bytes: Uint8Array, threads?: number): Float32Array {
    const labels = bytes.length < BLOCK_HEAD ? 0 : bytes[0] + 256 * bytes[1];
    const { components, labelsPerBlock, step, states: trellis } = this.#config;
    if (labels < 1 || labels > labelsPerBlock) {
      throw invalidCodes(`a block of 1 to ${labelsPerBlock} labels`, labels);
    }
    const indices = new Int16Array(components * labels);
    const stream = bytes.subarray(BLOCK_HEAD);
    const { codes, shifts } = this.#model;
    this.#kernels.decodeRans({ ...codes, bytes: stream, columns: labels, out: indices });
    const out = new Float32Array(indices.length);
    const unit = unitOf(step, trellis);
    this.#kernels.dequantise({ indices, shifts, unit, trellis, out, threads });
    return out;
  }
}

function sizeOf({ bytes, latents }: KnownBlock): number {
  return bytes.length + latents.byteLength;
}
