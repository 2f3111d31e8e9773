import { argumentChecker, configOf } from '../../codecs/config.js';
import {
  float32Tensor,
  invalidTensor,
  readFloat16,
  readFloat32,
  requireTensor,
} from '../../codecs/tensors.js';
import { readRowModel } from '../../codecs/transform/coded-matrix.js';
import { transposed, unitOf } from '../../codecs/transform/quantiser.js';
import { BitReader, BitWriter } from '../../core/bit-stream.js';
import type { CodecParts, Tensor } from '../../core/codec-parts.js';
import type { RansModel } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import type { ExactLogits } from '../targets.js';
import { checkHiddenConfig, type HiddenCodecConfig, STEP_CLASSES, stepOf } from './config.js';
import { type ExactCodec, type ExactUnits, readExactCodec } from './exact-codec.js';
import { invalidGroup } from './group-error.js';
import { labelsByClass } from './pooled.js';

export const HIDDEN_CODEC = 'hidden';

export const HIDDEN_DECODING =
  'hidden states as docs/tokens.md has them: per group of 128 labels the class of each, then an rANS stream per class of ' +
  'indices [rank, labels] with the tables of `tables` and `bins`; state = mean + values @ (basis * scales), values as of ' +
  'the codec transform with steps of step * 2^((class - 4) / 2); logits are its products with the output matrix, and with ' +
  '`exact` what follows the streams is added to those of a few ids: sets of them, renamed by `ids`, and an rANS stream';

/** Labels that are coded together: those of a group are decoded to read one. */
export const HIDDEN_GROUP = 128;
const CLASS_BITS = 3;

/** What a codec has learnt, as its tensors hold it. */
export interface HiddenModel {
  /** [width]. */
  readonly mean: Float32Array;
  /** [rank, width]: what a coefficient of 1 adds. */
  readonly basis: Float32Array;
  /** [rank], in 128ths of a unit. */
  readonly shifts: Int8Array;
  /** [classes, rank]. */
  readonly bins: Uint8Array;
  /** Of [bins, contexts] rows. */
  readonly tables: RansModel;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Labels [labels, ...] as they are decoded. */
export interface DecodedHidden {
  /** [labels, width]. */
  readonly hidden: Float32Array;
  /** Of codecs with corrected logits. */
  readonly exact?: ExactLogits;
}

/** Hidden states as coefficients, quantised with a step of the label's class and entropy coded in groups. */
export class HiddenCodec {
  readonly config: HiddenCodecConfig;
  readonly model: HiddenModel;
  readonly #kernels: Kernels;
  readonly #tables: readonly RansModel[];
  /** Of corrections of logits. */
  readonly exact: ExactCodec | undefined;

  constructor(config: HiddenCodecConfig, model: HiddenModel, kernels: Kernels) {
    this.config = checkHiddenConfig(config, argumentChecker(HIDDEN_CODEC));
    this.model = model;
    this.#kernels = kernels;
    this.#tables = Array.from({ length: STEP_CLASSES }, (_, c) =>
      tablesOfClass(model, config.rank, c),
    );
    this.exact = readExactCodec(model.tensors, this.config, kernels);
  }

  static fromParts(parts: CodecParts, kernels: Kernels): HiddenCodec {
    const config = configOf(parts, checkHiddenConfig);
    return new HiddenCodec(config, readHiddenModel(parts.tensors, config), kernels);
  }

  parts(): CodecParts {
    const { tensors } = this.model;
    const sampleTensors = new Map<string, Tensor>();
    return { name: HIDDEN_CODEC, config: { ...this.config }, tensors, sampleTensors };
  }

  /** Tables of each row of a stream of this class, and with them what indices cost. */
  tablesOf(stepClass: number): RansModel {
    return this.#tables[stepClass];
  }

  /** The output matrix, if it is stored. */
  storedHead(): Float32Array | undefined {
    const tensor = this.model.tensors.get('head');
    const shape = [this.config.vocabulary, this.config.width];
    if (tensor === undefined) return undefined;
    const read = tensor.dtype === 'F16' ? readFloat16 : readFloat32;
    return read(this.model.tensors, 'head', shape);
  }

  /** Bytes of a group. @param indices [labels, rank]. @param classes [labels]. @param exact with a codec that has it. */
  encodeGroup(indices: Int16Array, classes: Uint8Array, exact?: ExactUnits): Uint8Array {
    const { rank } = this.config;
    const writer = new BitWriter();
    for (const own of classes) writer.write(own, CLASS_BITS);
    const parts = [writer.bytes()];
    for (const { stepClass, labels } of labelsByClass(classes)) {
      const own = new Int16Array(labels.length * rank);
      for (const [i, label] of labels.entries()) {
        own.set(indices.subarray(label * rank, (label + 1) * rank), i * rank);
      }
      const values = transposed(own, rank);
      const columns = labels.length;
      const stream = this.#kernels.encodeRans({ ...this.#tables[stepClass], values, columns });
      parts.push(lengthBytes(stream.length), stream);
    }
    if (this.exact !== undefined && exact !== undefined) parts.push(this.exact.encode(exact));
    return Buffer.concat(parts);
  }

  /** What labels decode to, before it is filled. */
  emptyLabels(labels: number): DecodedHidden {
    const hidden = new Float32Array(labels * this.config.width);
    if (this.exact === undefined) return { hidden };
    const width = this.exact.most;
    const ids = new Int32Array(labels * width);
    return { hidden, exact: { width, ids, corrections: new Float32Array(labels * width) } };
  }

  /** Labels of a group; `INVALID_ARGUMENT` naming `codes` for bytes that are none. */
  decodeGroup(bytes: Uint8Array, labels: number): DecodedHidden {
    const { rank, width } = this.config;
    const { mean, basis } = this.model;
    const decoded = this.emptyLabels(labels);
    const { hidden: out, exact } = decoded;
    const { values, end } = this.#decodeValues(bytes, labels);
    if (exact !== undefined) this.exact?.decode(bytes.subarray(end), labels, exact);
    else if (end !== bytes.length) throw invalidGroup(`${end} bytes`, bytes.length);
    for (let row = 0; row < labels; row++) out.set(mean, row * width);
    const shape = { rows: labels, inner: rank, columns: width, accumulate: true };
    this.#kernels.project({ a: values, b: basis, out, ...shape });
    if (out.every(Number.isFinite)) return decoded;
    throw invalidGroup('finite hidden states', 'others');
  }

  /** Coefficients [labels, rank], and where their bytes end. */
  #decodeValues(bytes: Uint8Array, labels: number): { values: Float32Array; end: number } {
    const { rank, step, states } = this.config;
    const reader = new BitReader(bytes);
    const classes = Uint8Array.from({ length: labels }, () => reader.read(CLASS_BITS));
    let at = Math.ceil(reader.position / 8);
    const values = new Float32Array(labels * rank);
    for (const { stepClass, labels: own } of labelsByClass(classes)) {
      const { length, begin } = readLength(bytes, at);
      at = begin + length;
      if (at > bytes.length) throw invalidGroup(`at least ${at} bytes`, bytes.length);
      const indices = new Int16Array(own.length * rank);
      const stream = { bytes: bytes.subarray(begin, at), columns: own.length, out: indices };
      this.#kernels.decodeRans({ ...this.#tables[stepClass], ...stream });
      const part = new Float32Array(indices.length);
      const unit = unitOf(stepOf(step, stepClass), states);
      const { shifts } = this.model;
      this.#kernels.dequantise({ indices, shifts, unit, trellis: states, out: part });
      for (const [i, label] of own.entries()) {
        values.set(part.subarray(i * rank, (i + 1) * rank), label * rank);
      }
    }
    return { values, end: at };
  }
}

/** 7 bits a byte, the low ones first; the 8th tells that one more follows. */
function lengthBytes(length: number): Uint8Array {
  const bytes: number[] = [];
  let left = length;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) + 128);
  return Uint8Array.of(...bytes, left);
}

function readLength(bytes: Uint8Array, at: number): { length: number; begin: number } {
  let [length, unit] = [0, 1];
  for (let begin = at; begin < Math.min(at + 5, bytes.length); begin++) {
    length += (bytes[begin] & 127) * unit;
    unit *= 128;
    if (bytes[begin] < 128) return { length, begin: begin + 1 };
  }
  throw invalidGroup('a length of up to 5 bytes', 'none');
}

function tablesOfClass({ bins, tables }: HiddenModel, rank: number, stepClass: number): RansModel {
  const rowTables = new Uint16Array(2 * rank);
  for (let i = 0; i < rowTables.length; i++) {
    const bin = bins[stepClass * rank + (i >> 1)];
    rowTables[i] = tables.rowTables[2 * bin + (i & 1)];
  }
  return { ...tables, rowTables };
}

/** Tensors of what was learnt. @param basis [rank, width], each row of which was rounded to float16 times its scale. */
export function hiddenTensors(
  { mean, shifts, bins }: Pick<HiddenModel, 'mean' | 'shifts' | 'bins'>,
  { halves, scales }: { readonly halves: Uint16Array; readonly scales: Float32Array },
  tables: Uint8Array,
): Map<string, Tensor> {
  const [width, rank] = [mean.length, scales.length];
  const data = new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength).slice();
  return new Map<string, Tensor>([
    ['mean', float32Tensor(mean, [width])],
    ['basis', { dtype: 'F16', shape: [rank, width], data }],
    ['scales', float32Tensor(scales, [rank])],
    ['shifts', bytesTensor(Uint8Array.from(shifts, (shift) => shift + 128))],
    ['bins', { dtype: 'U8', shape: [STEP_CLASSES, rank], data: bins }],
    ['tables', bytesTensor(tables)],
  ]);
}

function bytesTensor(data: Uint8Array): Tensor {
  return { dtype: 'U8', shape: [data.length], data };
}

/** `INVALID_FILE` naming the tensor that no encoder writes. */
export function readHiddenModel(
  tensors: ReadonlyMap<string, Tensor>,
  { vocabulary, width, rank, states, bins: count }: HiddenCodecConfig,
): HiddenModel {
  const mean = readFloat32(tensors, 'mean', [width]);
  const scales = readFloat32(tensors, 'scales', [rank]);
  const basis = readFloat16(tensors, 'basis', [rank, width]);
  for (let i = 0; i < basis.length; i++) basis[i] *= scales[Math.floor(i / width)];
  const strange = basis.find((value) => !Number.isFinite(value));
  if (strange !== undefined) throw invalidTensor('scales', 'too large', 'finite rows', strange);
  const shifts = Int8Array.from(requireTensor(tensors, 'shifts', 'U8', [rank]), (own) => own - 128);
  const bins = requireTensor(tensors, 'bins', 'U8', [STEP_CLASSES, rank]);
  const wrong = bins.find((bin) => bin >= count);
  if (wrong !== undefined) throw invalidTensor('bins', 'no such bin', `below ${count}`, wrong);
  const bytes = requireTensor(tensors, 'tables', 'U8', [tensors.get('tables')?.data.length ?? 0]);
  const tables = readRowModel('tables', bytes, count, states);
  if (tables.length !== bytes.length) {
    throw invalidTensor('tables', 'wrong length', tables.length, bytes.length);
  }
  const head = tensors.get('head');
  if (head !== undefined) {
    requireTensor(tensors, 'head', head.dtype === 'F16' ? 'F16' : 'F32', [vocabulary, width]);
  }
  return { mean, basis, shifts, bins, tables: tables.model, tensors };
}
