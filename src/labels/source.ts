import type { SampleBlockOf } from '../core/codec-parts.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { openLocalFile } from '../store/local.js';
import { FLOAT_BYTES, type FloatDtype, floatsOf } from './elements.js';
import { labelsFingerprint } from './fingerprint.js';
import { inCOrder } from './fortran-order.js';
import { settleLogits } from './logits.js';
import { locateArray, type StoredArray } from './stored-array.js';
import type { LabelViews } from './views.js';

/** Some labels of a source: the epoch and the samples they belong to. */
export interface LabelsOf {
  readonly epoch: number;
  readonly samples: { readonly start: number; readonly count: number } | Uint32Array;
  /** Sample that is mixed into each view, and the own share, where that is known and asked for. */
  readonly augmentation?: LabelViews;
  /** Side data of these samples and of those mixed in, where a codec keeps them in blocks. */
  readonly sampleBlocks?: SampleBlockOf;
}

/** Epoch and sample of one label. */
export interface LabelPlace {
  readonly epoch: number;
  readonly sample: number;
}

/** A teacher's logits for every (epoch, sample), read in pieces. */
export interface LabelSource extends AsyncDisposable {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
  /** Type of the stored logits. */
  readonly dtype: FloatDtype;
  /**
   * Logits of `count` samples from `start` on, [count, classes], in a new array: finite, with masked classes
   * (-infinity, -1e9) far below the others. `NON_FINITE`, naming epoch, sample and class, for NaN and +infinity.
   */
  read(epoch: number, start: number, count: number): Promise<Float32Array>;
  /** Logits of labels that lie anywhere, in order of epochs, for sources that read them faster together. */
  readonly readEach?: (labels: readonly LabelPlace[]) => Promise<Float32Array>;
  /** Labels of rows that are not epochs (pruning). Default: row and positions are epoch and samples. */
  readonly labelsOf?: (row: number, start: number, count: number) => LabelsOf | Promise<LabelsOf>;
  /** Identifies the logits, so that a resumed run can tell whether it reads what the first one read. */
  readonly fingerprint?: () => Promise<JsonObject>;
  close(): Promise<void>;
}

export interface LabelShape {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
}

/** @param logits [epochs, samples, classes], kept, not copied. */
export function memoryLabelSource(logits: Float32Array, shape: LabelShape): LabelSource {
  const { epochs, samples, classes } = shape;
  requireLabels('logits', [epochs, samples, classes], 'INVALID_ARGUMENT');
  if (logits.length !== epochs * samples * classes) {
    throw new SoftpackError('INVALID_ARGUMENT', 'wrong number of elements', {
      field: 'logits',
      expected: epochs * samples * classes,
      found: logits.length,
    });
  }
  const close = async () => {};
  const read = async (epoch: number, start: number, count: number) => {
    requireRange(shape, epoch, start, count);
    const begin = (epoch * samples + start) * classes;
    const piece = logits.slice(begin, begin + count * classes);
    settleLogits('logits', piece, classes, { epoch, start });
    return piece;
  };
  return {
    ...shape,
    dtype: 'F32',
    read,
    fingerprint() {
      return labelsFingerprint(shape, read);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/**
 * Opens logits in a .npy, .npz or .safetensors file: float16, bfloat16, float32 or float64, in any byte order,
 * [epochs, samples, classes], or [samples, classes] for one epoch. Labels are read by position as they are asked
 * for; an array in Fortran order is held in memory.
 *
 * @param options.tensor which array of a file that holds several.
 */
export async function openLabelSource(
  path: string,
  { tensor }: { readonly tensor?: string } = {},
): Promise<LabelSource> {
  const file = await openLocalFile(path);
  try {
    const array = await locateArray(file, tensor);
    const stored = array.shape.length === 2 ? [1, ...array.shape] : array.shape;
    requireLabels(array.field, stored, 'INVALID_FILE');
    const [epochs, samples, classes] = stored;
    const shape = { epochs, samples, classes };
    return new FileLabelSource(file, await inCOrder(array), shape, array.dtype);
  } catch (error) {
    await file.close();
    throw error;
  }
}

class FileLabelSource implements LabelSource {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
  readonly dtype: FloatDtype;
  readonly fingerprint: () => Promise<JsonObject>;
  readonly #file: ByteFile;
  readonly #array: StoredArray;

  /**
   * @param file closed with the source.
   * @param array in C order.
   * @param dtype of the file.
   */
  constructor(file: ByteFile, array: StoredArray, shape: LabelShape, dtype: FloatDtype) {
    this.epochs = shape.epochs;
    this.samples = shape.samples;
    this.classes = shape.classes;
    this.dtype = dtype;
    this.#file = file;
    this.#array = array;
    this.fingerprint = () => labelsFingerprint(this, (...range) => this.read(...range));
  }

  async read(epoch: number, start: number, count: number): Promise<Float32Array> {
    requireRange(this, epoch, start, count);
    const first = (epoch * this.samples + start) * this.classes;
    const logits = await this.#readFloats(first, count * this.classes);
    settleLogits(this.#array.file.name, logits, this.classes, { epoch, start });
    return logits;
  }

  async #readFloats(first: number, count: number): Promise<Float32Array> {
    const { file, dtype, bigEndian, dataOffset } = this.#array;
    const bytes = new Uint8Array(count * FLOAT_BYTES[dtype]);
    await file.read(dataOffset + first * FLOAT_BYTES[dtype], bytes);
    return floatsOf(bytes, dtype, bigEndian);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function requireLabels(
  field: string,
  shape: readonly number[],
  code: 'INVALID_ARGUMENT' | 'INVALID_FILE',
): void {
  if (shape.length === 3 && shape.every((n) => Number.isSafeInteger(n) && n > 0)) return;
  throw new SoftpackError(code, 'not the shape of labels', {
    field,
    expected: '[epochs, samples, classes] or [samples, classes], none of them 0',
    found: `[${shape.join(', ')}]`,
  });
}

function requireRange(shape: LabelShape, epoch: number, start: number, count: number): void {
  const { epochs, samples } = shape;
  const check = (valid: boolean, field: string, expected: string, found: number) => {
    if (valid) return;
    throw new SoftpackError('INVALID_ARGUMENT', 'out of range', { field, expected, found });
  };
  const within = (value: number, end: number) =>
    Number.isInteger(value) && 0 <= value && value < end;
  check(within(epoch, epochs), 'epoch', `0 to ${epochs - 1}`, epoch);
  check(within(start, samples + 1), 'start', `0 to ${samples}`, start);
  check(within(count, samples - start + 1), 'count', `0 to ${samples - start}`, count);
}
