import { allocate } from '../../core/allocate.js';
import { SoftpackError } from '../../errors.js';
import type { ByteFile, ReadOptions } from '../../store/byte-store.js';
import {
  NUMBER_BYTES,
  NumpyArray,
  type PickleValue,
  type TorchStorage,
  TorchTensor,
} from './values.js';

/** Where the bytes of a storage begin. */
export type FindStorage = (storage: TorchStorage) => number | Promise<number>;

/**
 * A file that `torch.save` wrote, in its zip form (torch 1.6 and later) or the one before. Opening it reads the
 * directory and the pickle, which describes the tensors; a tensor's numbers are read by one positioned read when they
 * are asked for. Nothing that the file names is ever called.
 */
export class TorchFile implements AsyncDisposable {
  /** What was saved: lists, dicts, numbers, tensors. */
  readonly root: PickleValue;
  readonly #file: ByteFile;
  readonly #find: FindStorage;

  constructor(file: ByteFile, root: PickleValue, find: FindStorage) {
    this.root = root;
    this.#file = file;
    this.#find = find;
  }

  get name(): string {
    return this.#file.name;
  }

  /**
   * Bytes of rows `start` to `start + count` of the first axis (all of them by default), row-major. One read of the
   * file for tensors that lie row-major in it, and one of the span for others, e.g. transposed ones.
   */
  async read(
    source: TorchTensor | NumpyArray,
    { start = 0, count, ...options }: ReadOptions & { start?: number; count?: number } = {},
  ): Promise<Uint8Array> {
    const [rows = 1, ...inner] = source.shape;
    const wanted = count ?? rows - start;
    if (start < 0 || wanted < 0 || start + wanted > rows) {
      const details = {
        field: 'rows',
        expected: `0 to ${rows}`,
        found: `${start} and ${wanted} more`,
      };
      throw new SoftpackError('INVALID_ARGUMENT', 'no such rows', details);
    }
    const each = inner.reduce((a, b) => a * b, NUMBER_BYTES[source.dtype]);
    if (source instanceof NumpyArray) {
      return source.data.slice(start * each, (start + wanted) * each);
    }
    const shape = source.shape.length === 0 ? [] : [wanted, ...inner];
    const offset = source.offset + start * (source.stride[0] ?? 0);
    return this.#readTensor(new TorchTensor(source.storage, offset, shape, source.stride), options);
  }

  async #readTensor(tensor: TorchTensor, options: ReadOptions): Promise<Uint8Array> {
    const { shape, stride, offset, storage, dtype } = tensor;
    const size = NUMBER_BYTES[dtype];
    if (shape.includes(0)) return new Uint8Array();
    const span = shape.reduce((last, length, i) => last + (length - 1) * stride[i], 0) + 1;
    const bytes = new Uint8Array(allocate(span * size, `${this.name}: data/${storage.key}`));
    const begin = await this.#find(storage);
    await this.#file.read(begin + offset * size, bytes, options);
    return isRowMajor(shape, stride) ? bytes : gather(bytes, size, shape, stride);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function isRowMajor(shape: readonly number[], stride: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && stride[i] !== step) return false;
    step *= shape[i];
  }
  return true;
}

function gather(
  bytes: Uint8Array,
  size: number,
  shape: readonly number[],
  stride: readonly number[],
): Uint8Array {
  const count = shape.reduce((a, b) => a * b, 1);
  const out = new Uint8Array(allocate(count * size, 'tensor'));
  const index = shape.map(() => 0);
  let from = 0;
  for (let i = 0; i < count; i++) {
    out.set(bytes.subarray(from * size, (from + 1) * size), i * size);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}
