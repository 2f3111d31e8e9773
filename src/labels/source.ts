import { extname } from 'node:path';
import { bytesFingerprint, fileFingerprint } from '../container/fingerprint.js';
import { PAD_PREFIX, readSafetensorsLayout, type TensorEntry } from '../container/safetensors.js';
import { float16ToFloat32 } from '../core/half.js';
import type { JsonObject } from '../core/json.js';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { openLocalFile } from '../store/local.js';
import { FLOAT_BYTES, type FloatDtype, hasNpyMagic, readNpyHeader } from './npy.js';

/** A teacher's logits for every (epoch, sample), read in pieces. */
export interface LabelSource extends AsyncDisposable {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
  /** How the logits are stored. */
  readonly dtype: FloatDtype;
  /**
   * Logits of `count` samples from `start` on, [count, classes], in an array of the caller's own.
   * `NON_FINITE`, naming epoch, sample and class, where one is not a number that float32 holds.
   */
  read(epoch: number, start: number, count: number): Promise<Float32Array>;
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
  return {
    ...shape,
    dtype: 'F32',
    async read(epoch, start, count) {
      requireRange(shape, epoch, start, count);
      const begin = (epoch * samples + start) * classes;
      const piece = logits.slice(begin, begin + count * classes);
      requireFinite('logits', piece, classes, epoch, start);
      return piece;
    },
    async fingerprint() {
      const { buffer, byteOffset, byteLength } = logits;
      return bytesFingerprint(new Uint8Array(buffer, byteOffset, byteLength));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/**
 * Opens logits in a .npy or .safetensors file: float16, float32 or float64, [epochs, samples, classes], or
 * [samples, classes] for one epoch. Labels are read by position as they are asked for.
 *
 * @param options.tensor which tensor of a .safetensors file; needed where it holds several.
 */
export async function openLabelSource(
  path: string,
  options: { readonly tensor?: string } = {},
): Promise<LabelSource> {
  const file = await openLocalFile(path);
  try {
    const array = await locateArray(file, options.tensor);
    const shape = array.shape.length === 2 ? [1, ...array.shape] : array.shape;
    requireLabels(array.field, shape, 'INVALID_FILE');
    const [epochs, samples, classes] = shape;
    return new FileLabelSource(file, array, { epochs, samples, classes });
  } catch (error) {
    await file.close();
    throw error;
  }
}

interface StoredArray {
  /** For error messages. */
  readonly field: string;
  readonly dtype: FloatDtype;
  readonly shape: readonly number[];
  readonly dataOffset: number;
}

async function locateArray(file: ByteFile, tensor: string | undefined): Promise<StoredArray> {
  const start = new Uint8Array(Math.min(9, file.size));
  await file.read(0, start);
  // What a file is shows in its first bytes; a damaged one is taken for what its name says.
  const extension = extname(file.name);
  if (hasNpyMagic(start) || extension === '.npy') {
    return { field: `${file.name}: shape`, ...(await readNpyHeader(file)) };
  }
  if (start[8] !== 0x7b && extension !== '.safetensors') {
    throw invalidFile(file.name, 'format', 'neither .npy nor .safetensors', {
      found: `first bytes ${Buffer.from(start).toString('hex')}`,
    });
  }
  const layout = await readSafetensorsLayout(file);
  const entries = [...layout.tensors.values()].filter(({ name }) => !name.startsWith(PAD_PREFIX));
  const entry = chooseTensor(file.name, entries, tensor);
  const { name, dtype, shape, begin } = entry;
  if (dtype !== 'F16' && dtype !== 'F32' && dtype !== 'F64') {
    throw new SoftpackError('UNSUPPORTED', 'not a tensor of floats', {
      field: `${file.name}: tensor ${name}.dtype`,
      expected: Object.keys(FLOAT_BYTES).join(', '),
      found: dtype,
    });
  }
  const field = `${file.name}: tensor ${name}.shape`;
  return { field, dtype, shape, dataOffset: layout.dataOffset + begin };
}

function chooseTensor(
  file: string,
  entries: readonly TensorEntry[],
  name: string | undefined,
): TensorEntry {
  const names = entries.map((entry) => entry.name).join(', ');
  if (name === undefined) {
    if (entries.length === 1) return entries[0];
    throw new SoftpackError('INVALID_ARGUMENT', 'file does not hold one tensor: name it', {
      field: 'tensor',
      expected: names === '' ? 'a file with tensors' : `one of ${names}`,
    });
  }
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  throw new SoftpackError('NOT_FOUND', 'no such tensor', {
    field: `${file}: tensor`,
    expected: `one of ${names}`,
    found: name,
  });
}

class FileLabelSource implements LabelSource {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
  readonly dtype: FloatDtype;
  readonly fingerprint: () => Promise<JsonObject>;
  readonly #file: ByteFile;
  readonly #dataOffset: number;

  constructor(file: ByteFile, array: StoredArray, shape: LabelShape) {
    this.epochs = shape.epochs;
    this.samples = shape.samples;
    this.classes = shape.classes;
    this.dtype = array.dtype;
    this.#file = file;
    this.#dataOffset = array.dataOffset;
    this.fingerprint = () => fileFingerprint(file);
  }

  async read(epoch: number, start: number, count: number): Promise<Float32Array> {
    requireRange(this, epoch, start, count);
    const first = (epoch * this.samples + start) * this.classes;
    const logits = await this.#readFloats(first, count * this.classes);
    requireFinite(this.#file.name, logits, this.classes, epoch, start);
    return logits;
  }

  async #readFloats(first: number, count: number): Promise<Float32Array> {
    const width = FLOAT_BYTES[this.dtype];
    const bytes = new Uint8Array(count * width);
    await this.#file.read(this.#dataOffset + first * width, bytes);
    if (this.dtype === 'F32') return new Float32Array(bytes.buffer);
    if (this.dtype === 'F64') return Float32Array.from(new Float64Array(bytes.buffer));
    const floats = new Float32Array(count);
    float16ToFloat32(new Uint16Array(bytes.buffer), floats);
    return floats;
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

function requireFinite(
  name: string,
  logits: Float32Array,
  classes: number,
  epoch: number,
  start: number,
): void {
  // A sum is not finite if a term is not; only then is it worth looking for the term.
  let sum = 0;
  for (const z of logits) sum += z;
  if (Number.isFinite(sum)) return;
  const at = logits.findIndex((z) => !Number.isFinite(z));
  if (at < 0) return;
  const where = `epoch ${epoch}, sample ${start + Math.floor(at / classes)}, class ${at % classes}`;
  throw new SoftpackError('NON_FINITE', 'not a finite logit', {
    field: `${name}: ${where}`,
    expected: 'a finite number',
    found: logits[at],
  });
}
