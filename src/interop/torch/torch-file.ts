import { allocate } from '../../core/allocate.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import type { ByteFile, ReadOptions } from '../../store/byte-store.js';
import { openLocalFile } from '../../store/local.js';
import { readLegacy } from './legacy.js';
import { MAX_PICKLE, PickleEndsEarly, unpickle } from './pickle.js';
import {
  NUMBER_BYTES,
  NumpyArray,
  type PickleValue,
  type TorchStorage,
  TorchTensor,
} from './values.js';
import { readZipDirectory, type ZipEntry, zipDataOffset } from './zip.js';

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

/**
 * Opens a file that `torch.save` wrote.
 *
 * @throws `INVALID_FILE` naming file and place for anything but plain data: unknown opcodes and names, tensors beyond
 *   their storages, compressed or damaged zip entries, big-endian numbers.
 */
export async function openTorchFile(path: string): Promise<TorchFile> {
  const file = await openLocalFile(path);
  try {
    return await readTorchFile(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** {@link openTorchFile} for bytes from anywhere; closing the result closes them. */
export async function readTorchFile(file: ByteFile): Promise<TorchFile> {
  const magic = new Uint8Array(Math.min(4, file.size));
  await file.read(0, magic);
  if (Buffer.from(magic).equals(Buffer.from('PK\x03\x04', 'latin1'))) return readZip(file);
  if (magic[0] === PICKLE_MAGIC) return readLegacy(file);
  throw invalidFile(file.name, 'first bytes', 'not a file of torch.save', {
    expected: 'a zip file or a pickle',
    found: Buffer.from(magic).toString('hex') || 'an empty file',
  });
}

const PICKLE_MAGIC = 0x80;

async function readZip(file: ByteFile): Promise<TorchFile> {
  const entries = await readZipDirectory(file);
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw invalidFile(file.name, 'data.pkl', 'not one pickle', {
      expected: 1,
      found: pickles.length,
    });
  }
  const [name] = pickles;
  const folder = name.slice(0, -'data.pkl'.length);
  await requireLittleEndian(file, entries.get(`${folder}byteorder`));
  const bytes = await readEntry(file, entries.get(name), MAX_PICKLE);
  const { value } = unpickleWhole(file.name, name, bytes);
  const offsets = new Map<string, number>();
  return new TorchFile(file, value, async (storage) => {
    const known = offsets.get(storage.key);
    const entry = entries.get(`${folder}data/${storage.key}`);
    const wanted = storage.count * NUMBER_BYTES[storage.dtype];
    if (entry === undefined || entry.size !== wanted) {
      throw invalidFile(file.name, `${folder}data/${storage.key}`, 'storage has another size', {
        expected: `${wanted} bytes`,
        found: entry === undefined ? 'no entry' : `${entry.size} bytes`,
      });
    }
    const offset = known ?? (await zipDataOffset(file, entry));
    offsets.set(storage.key, offset);
    return offset;
  });
}

function unpickleWhole(file: string, field: string, bytes: Uint8Array) {
  try {
    return unpickle(file, field, bytes);
  } catch (error) {
    if (!(error instanceof PickleEndsEarly)) throw error;
    const details = { expected: 'an end mark', found: `${bytes.length} bytes` };
    throw invalidFile(file, field, 'pickle ends early', details);
  }
}

async function readEntry(
  file: ByteFile,
  entry: ZipEntry | undefined,
  most: number,
): Promise<Uint8Array> {
  if (entry === undefined) return new Uint8Array();
  if (entry.size > most) {
    const details = { expected: `at most ${most} bytes`, found: entry.size };
    throw invalidFile(file.name, entry.name, 'entry is too large', details);
  }
  const bytes = new Uint8Array(entry.size);
  await file.read(await zipDataOffset(file, entry), bytes);
  return bytes;
}

async function requireLittleEndian(file: ByteFile, entry: ZipEntry | undefined): Promise<void> {
  const order = Buffer.from(await readEntry(file, entry, 64)).toString('latin1');
  if (order === '' || order === 'little') return;
  throw invalidFile(file.name, 'byteorder', 'unsupported byte order', {
    expected: 'little',
    found: order,
  });
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
