import { Readable } from 'node:stream';
import { crc32, inflateRawSync } from 'node:zlib';
import { type Entry, fromRandomAccessReader, RandomAccessReader, type ZipFile } from 'yauzl';
import { allocate } from '../core/allocate.js';
import { errorMessage, invalidFile, isSoftpackError, SoftpackError } from '../errors.js';
import { type ByteFile, requireWithin } from '../store/byte-store.js';
import { memoryFile } from '../store/memory-file.js';
import { hasZipMagic } from './zip-magic.js';

/** NumPy's archive of arrays: a zip file with a .npy file per array, stored or deflated. */

const LOCAL_HEADER_BYTES = 30;
const [STORED, DEFLATED] = [0, 8];
/** A deflated array is inflated in memory. */
const MAX_INFLATED = 2 ** 32;
/** Deflate does not compress further than this. */
const MAX_DEFLATE_RATIO = 1032;
const MAX_ENTRIES = 4096;

export interface NpzArray {
  readonly name: string;
  /** The array's .npy file; to be closed by closing the .npz file. */
  open(): Promise<ByteFile>;
}

/** The arrays of an .npz file, in its order. */
export async function readNpz(file: ByteFile): Promise<readonly NpzArray[]> {
  const entries = await readEntries(file);
  return entries
    .filter(({ fileName }) => fileName.endsWith('.npy'))
    .map((entry) => ({
      name: entry.fileName.slice(0, -'.npy'.length),
      open: () => openEntry(file, entry),
    }));
}

async function readEntries(file: ByteFile): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  await new Promise<void>((resolve, reject) => {
    const fail = (cause: unknown) => {
      const found = errorMessage(cause);
      reject(
        isSoftpackError(cause)
          ? cause
          : invalidFile(file.name, 'directory', 'not a whole .npz file', { found, cause }),
      );
    };
    const options = { lazyEntries: true, autoClose: false };
    fromRandomAccessReader(new Reader(file), file.size, options, (error, zip: ZipFile) => {
      if (error) return fail(error);
      zip.on('error', fail);
      zip.on('end', resolve);
      zip.on('entry', (entry: Entry) => {
        entries.push(entry);
        if (entries.length > MAX_ENTRIES) {
          const details = { expected: `at most ${MAX_ENTRIES}` };
          fail(invalidFile(file.name, 'directory', 'too many entries', details));
        } else zip.readEntry();
      });
      zip.readEntry();
    });
  });
  return entries;
}

/** A file as the zip reader expects it. */
class Reader extends RandomAccessReader {
  readonly #file: ByteFile;

  constructor(file: ByteFile) {
    super();
    this.#file = file;
  }

  override _readStreamForRange(start: number, end: number): Readable {
    const file = this.#file;
    async function* bytes() {
      const piece = Buffer.alloc(end - start);
      await file.read(start, piece);
      yield piece;
    }
    return Readable.from(bytes());
  }
}

async function openEntry(file: ByteFile, entry: Entry): Promise<ByteFile> {
  const name = `${file.name}: ${entry.fileName}`;
  const { compressionMethod: method, compressedSize, uncompressedSize } = entry;
  if (method !== STORED && method !== DEFLATED) {
    const details = { field: name, expected: 'stored or deflated', found: `method ${method}` };
    throw new SoftpackError('UNSUPPORTED', 'unknown compression of an .npz file', details);
  }
  const begin = await dataOffset(file, entry);
  if (begin + compressedSize > file.size) {
    const details = { expected: begin + compressedSize, found: file.size };
    throw invalidFile(name, 'size', 'array is cut short', details);
  }
  if (method === STORED) return slice(file, name, begin, compressedSize);
  const most = Math.min(MAX_INFLATED, MAX_DEFLATE_RATIO * compressedSize);
  if (uncompressedSize > most) {
    const details = { expected: `at most ${most} bytes`, found: uncompressedSize };
    throw invalidFile(name, 'size', 'array too large to inflate: use numpy.savez', details);
  }
  const deflated = new Uint8Array(allocate(compressedSize, name));
  await file.read(begin, deflated);
  return memoryFile(name, inflate(name, deflated, entry));
}

/** The name and extra field of the local header may be longer than those of the directory. */
async function dataOffset(file: ByteFile, entry: Entry): Promise<number> {
  const header = Buffer.alloc(LOCAL_HEADER_BYTES);
  await file.read(entry.relativeOffsetOfLocalHeader, header);
  if (!hasZipMagic(header)) {
    const details = { found: header.subarray(0, 4).toString('hex') };
    throw invalidFile(`${file.name}: ${entry.fileName}`, 'header', 'not an entry', details);
  }
  const lengths = header.readUInt16LE(26) + header.readUInt16LE(28);
  return entry.relativeOffsetOfLocalHeader + LOCAL_HEADER_BYTES + lengths;
}

function inflate(name: string, deflated: Uint8Array, entry: Entry): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = inflateRawSync(deflated, { maxOutputLength: Math.max(1, entry.uncompressedSize) });
  } catch (cause) {
    const found = errorMessage(cause);
    throw invalidFile(name, 'content', 'array does not inflate', { found, cause });
  }
  if (crc32(bytes) === entry.crc32) return bytes;
  throw new SoftpackError('CORRUPT_DATA', 'checksum of the array does not match', {
    field: name,
    expected: entry.crc32,
    found: crc32(bytes),
  });
}

function slice(file: ByteFile, name: string, begin: number, size: number): ByteFile {
  return {
    name,
    size,
    async read(offset, into) {
      requireWithin(this, offset, into.length);
      await file.read(begin + offset, into);
    },
    close: () => file.close(),
  };
}
