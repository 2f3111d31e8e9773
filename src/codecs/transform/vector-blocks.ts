import { joinBlocks, splitBlocks } from '../../core/blocks.js';
import type { SampleBlockOf, SampleBlocks } from '../../core/codec-parts.js';
import { LruCache } from '../../core/lru-cache.js';
import { SoftpackError } from '../../errors.js';
import type { RansModel } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { invalidTensor } from '../tensors.js';
import { addPredictions } from './base-vectors.js';
import { addLikeness, baseSteps, type CodedBases, type Likeness } from './coded-bases.js';
import { matrixModel, type RowModel } from './coded-matrix.js';
import type { TransformConfig } from './config.js';
import type { Mixes } from './mixes.js';
import { multiplesOf } from './sides.js';

/**
 * Base vectors of many samples: blocks of [components, samples] that are coded independently, with the same tables, so that
 * a label needs no more than those of its own sample and of the one mixed in.
 */

/** Samples from which on base vectors lie in blocks: fewer are some MB as vectors, and cost less in one stream. */
export const BLOCKED_BASES = 2 ** 16;
/** A block of 64 components takes some 6 kB, 128 bytes of them states of the coder. */
export const BASES_PER_BLOCK = 256;
/** Bytes of decoded blocks that are kept, as of labels: those of a shuffled batch come from any. */
const KEPT_BYTES = 192 * 2 ** 20;

export interface CodedVectors {
  readonly tables: RowModel;
  readonly blocks: SampleBlocks;
}

export function encodeVectors(
  { values, states }: Pick<CodedBases, 'values' | 'states'>,
  { bases: samples, basesPerBlock: samplesPerBlock = BASES_PER_BLOCK }: TransformConfig,
  kernels: Kernels,
): CodedVectors {
  const rows = values.length / samples;
  const tables = matrixModel(values, samples, states);
  const blocks: Uint8Array[] = [];
  for (let begin = 0; begin < samples; begin += samplesPerBlock) {
    const end = Math.min(begin + samplesPerBlock, samples);
    const block = new Int16Array(rows * (end - begin));
    for (let j = 0; j < rows; j++) {
      block.set(values.subarray(j * samples + begin, j * samples + end), j * (end - begin));
    }
    blocks.push(kernels.encodeRans({ ...tables.model, values: block, columns: end - begin }));
  }
  return { tables, blocks: { samples, samplesPerBlock, row: joinBlocks(blocks) } };
}

/** A few bytes a sample, decoded as a whole: what classes tell of vectors, and the entries of components [rank, classes]. */
interface LikenessOf extends Likeness {
  readonly entries: Float32Array;
}

interface VectorForm extends Pick<CodedBases, 'shifts' | 'states' | 'steps'> {
  readonly likeness?: LikenessOf;
}

type Shape = Pick<TransformConfig, 'bases' | 'basesPerBlock' | 'components' | 'classes' | 'step'>;

/** Decodes base vectors as labels need them. */
export class VectorBlocks {
  readonly #shape: Shape;
  readonly #perBlock: number;
  readonly #model: RansModel;
  readonly #form: VectorForm;
  readonly #kernels: Kernels;
  /** All encoded blocks, if the codec was loaded with them. */
  readonly #own: readonly Uint8Array[] | undefined;
  /** [components, samples] by block. */
  readonly #known = new LruCache<Int16Array>(KEPT_BYTES, ({ byteLength }) => byteLength);

  /** @param blocks as an archive has them. */
  constructor(
    shape: Shape,
    model: RansModel,
    form: VectorForm,
    blocks: SampleBlocks | undefined,
    kernels: Kernels,
  ) {
    const { bases, basesPerBlock = BASES_PER_BLOCK } = shape;
    const expected = `${bases} samples in blocks of ${basesPerBlock}`;
    const found = blocks && `${blocks.samples} samples in blocks of ${blocks.samplesPerBlock}`;
    if (found !== expected) {
      throw invalidTensor('sampleBlocks', 'not the base vectors', expected, found ?? 'nothing');
    }
    this.#shape = shape;
    this.#perBlock = basesPerBlock;
    this.#model = model;
    this.#form = form;
    this.#kernels = kernels;
    this.#own = blocks?.row === undefined ? undefined : splitBlocks(blocks.row, 'sampleBlocks.row');
  }

  /** Adds predictions to latents [labels, components], or subtracts them; see {@link addPredictions}. */
  addTo(latents: Float32Array, mixes: Mixes, given: SampleBlockOf | undefined, sign: 1 | -1): void {
    const places = new Map<number, number>();
    const placeOf = (id: number) => {
      const place = places.get(id) ?? places.size;
      places.set(id, place);
      return place;
    };
    const [sample, partner] = [mixes.sample.map(placeOf), mixes.partner.map(placeOf)];
    const vectors = this.#vectorsOf(places, given);
    const own = { ...mixes, sample, partner };
    addPredictions(latents, vectors, this.#shape.components, own, sign);
  }

  clear(): void {
    this.#known.clear();
  }

  /** [samples, components] of some samples, each at its place. Block by block: a small store never decodes one twice. */
  #vectorsOf(places: ReadonlyMap<number, number>, given: SampleBlockOf | undefined): Float32Array {
    const { components, classes, step } = this.#shape;
    const values = new Int16Array(places.size * components);
    let number = -1;
    let block: Int16Array = new Int16Array();
    for (const id of Uint32Array.from(places.keys()).sort()) {
      const own = Math.floor(id / this.#perBlock);
      if (own !== number) [number, block] = [own, this.#blockOf(own, given)];
      const [count, at] = [block.length / components, places.get(id) ?? 0];
      const column = id - number * this.#perBlock;
      for (let j = 0; j < components; j++) {
        values[j * places.size + at] = block[j * count + column];
      }
    }
    const own = baseSteps(this.#form, components, step);
    const multiples = multiplesOf({ ...this.#form, values }, this.#kernels);
    const vectors = multiples.map((multiple, i) => multiple * own[i % components]);
    const { likeness } = this.#form;
    if (likeness === undefined) return vectors;
    const likeliest = Uint32Array.from(places.keys(), (id) => likeness.classes[id]);
    const those = { classes: likeliest, gains: likeness.gains };
    addLikeness(vectors, those, likeness.entries, classes, 1);
    return vectors;
  }

  #blockOf(number: number, given: SampleBlockOf | undefined): Int16Array {
    const known = this.#known.get(number);
    if (known !== undefined) return known;
    const block = this.#decode(number, given);
    this.#known.set(number, block);
    return block;
  }

  #decode(number: number, given: SampleBlockOf | undefined): Int16Array {
    const bytes = this.#own?.[number] ?? given?.(number);
    if (bytes === undefined) {
      throw new SoftpackError('INVALID_ARGUMENT', 'no base vectors of these samples', {
        field: 'context.sampleBlocks',
        expected: "the archive's sampleBlocks of these samples",
        found: 'none',
      });
    }
    const { bases, components } = this.#shape;
    const columns = Math.min(this.#perBlock, bases - number * this.#perBlock);
    const out = new Int16Array(components * columns);
    try {
      this.#kernels.decodeRans({ ...this.#model, bytes, columns, out });
    } catch (cause) {
      const field = `sampleBlocks[${number}]`;
      throw invalidTensor(field, 'damaged', 'a stream of its tables', String(cause));
    }
    return out;
  }
}
