import { invalidTensor, requireTensor } from '../../codecs/tensors.js';
import { readRowModel } from '../../codecs/transform/coded-matrix.js';
import { BitReader, BitWriter, readBelow, writeBelow } from '../../core/bit-stream.js';
import type { Tensor } from '../../core/codec-parts.js';
import type { RansModel } from '../../kernels/rans.js';
import { readSet, writeSet } from '../../kernels/reference/set-code.js';
import type { Kernels } from '../../kernels/types.js';
import { idsTensor, type Renaming, readIds } from '../renaming.js';
import type { ExactLogits } from '../targets.js';
import type { HiddenCodecConfig } from './config.js';
import { invalidGroup } from './group-error.js';

/**
 * Ids of labels whose logits are corrected, and by how much, of a group of labels: for each label the number of its ids
 * (below `exact` + 1) and the set of their names; zeros up to a whole byte; then, if there is any id, an rANS stream of one row
 * with the corrections in units of `exactStep`, in the order of the sets.
 */

/** What an encoder hands over: corrections in units. */
export interface ExactUnits {
  /** [labels], ids of each. */
  readonly counts: Uint32Array;
  /** Names of all labels one after the other, ascending in each. */
  readonly names: Uint32Array;
  readonly units: Int16Array;
}

/** Codes corrections of logits. */
export class ExactCodec {
  readonly most: number;
  readonly step: number;
  readonly renaming: Renaming;
  readonly tables: RansModel;
  readonly #kernels: Kernels;

  constructor(
    { exact, exactStep }: { readonly exact: number; readonly exactStep: number },
    renaming: Renaming,
    tables: RansModel,
    kernels: Kernels,
  ) {
    this.most = exact;
    this.step = exactStep;
    this.renaming = renaming;
    this.tables = tables;
    this.#kernels = kernels;
  }

  get vocabulary(): number {
    return this.renaming.ids.length;
  }

  encode({ counts, names, units }: ExactUnits): Uint8Array {
    const writer = new BitWriter();
    let at = 0;
    for (const count of counts) {
      writeBelow(writer, count, this.most + 1);
      writeSet(writer, names.subarray(at, at + count), this.vocabulary);
      at += count;
    }
    if (at === 0) return writer.bytes();
    const stream = { ...this.tables, values: units, columns: at };
    return Buffer.concat([writer.bytes(), this.#kernels.encodeRans(stream)]);
  }

  /** `INVALID_ARGUMENT` naming `codes` for bytes that are none. */
  decode(bytes: Uint8Array, labels: number, out: ExactLogits): void {
    const reader = new BitReader(bytes);
    const { ids: all } = this.renaming;
    const places: number[] = [];
    for (let label = 0; label < labels; label++) {
      const names = new Uint32Array(readBelow(reader, this.most + 1));
      readSet(reader, names, this.vocabulary);
      for (const [i, name] of names.entries()) {
        const place = label * this.most + i;
        out.ids[place] = all[name];
        places.push(place);
      }
    }
    const at = Math.ceil(reader.position / 8);
    const columns = places.length;
    if (columns === 0) {
      if (at === bytes.length) return;
      throw invalidGroup(`${at} bytes`, bytes.length);
    }
    const units = new Int16Array(columns);
    this.#kernels.decodeRans({ ...this.tables, bytes: bytes.subarray(at), columns, out: units });
    for (const [i, place] of places.entries()) out.corrections[place] = units[i] * this.step;
  }
}

/** `INVALID_FILE` naming the tensor that no encoder writes; undefined for a codec without corrections. */
export function readExactCodec(
  tensors: ReadonlyMap<string, Tensor>,
  { vocabulary, exact, exactStep }: HiddenCodecConfig,
  kernels: Kernels,
): ExactCodec | undefined {
  if (exact === undefined || exactStep === undefined) return undefined;
  const renaming = readIds(tensors, vocabulary, vocabulary <= 2 ** 16);
  const name = 'corrections';
  const bytes = requireTensor(tensors, name, 'U8', [tensors.get(name)?.data.length ?? 0]);
  const { model, length } = readRowModel(name, bytes, 1, 1);
  if (length !== bytes.length) throw invalidTensor(name, 'wrong length', length, bytes.length);
  return new ExactCodec({ exact, exactStep }, renaming, model, kernels);
}

export function exactTensors(renaming: Renaming, tables: Uint8Array): Map<string, Tensor> {
  const { length } = renaming.ids;
  return new Map<string, Tensor>([
    ['ids', idsTensor(renaming, length <= 2 ** 16)],
    ['corrections', { dtype: 'U8', shape: [tables.length], data: tables }],
  ]);
}
