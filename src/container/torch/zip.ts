import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';

/** A stored (uncompressed) entry. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly headerOffset: number;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LOCATOR_BYTES = 20;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
/** End records, read in one go; comments are refused, so that the end of a file is in one place only. */
const TAIL_BYTES = END_BYTES + LOCATOR_BYTES;
/** A checkpoint has thousands of storages of about 100 bytes each in the directory. */
const MAX_DIRECTORY = 64 * 2 ** 20;
const MAX_NAME = 1024;
const ENCRYPTED = 1;

/**
 * Entries of a zip file of stored entries, from its central directory; nothing else is read. `INVALID_FILE` for
 * anything that the writers of torch files do not produce: compression, encryption, comments, several disks, names
 * that occur twice, entries beyond the directory.
 */
export async function readZipDirectory(file: ByteFile): Promise<ReadonlyMap<string, ZipEntry>> {
  const { begin, bytes: length, count } = await findDirectory(file);
  const bytes = new Uint8Array(length);
  await file.read(begin, bytes);
  const view = viewOf(bytes);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const field = `zip directory, entry ${i}`;
    const rest = length - at;
    if (rest < CENTRAL_BYTES || view.getUint32(at, true) !== CENTRAL) {
      throw invalidFile(file.name, field, 'not a directory entry', {
        expected: `${count} entries`,
      });
    }
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((o) =>
      view.getUint16(at + o, true),
    );
    const whole = CENTRAL_BYTES + nameBytes + extraBytes + commentBytes;
    if (rest < whole || nameBytes > MAX_NAME) {
      throw invalidFile(file.name, field, 'entry does not fit the directory', { found: whole });
    }
    const nameAt = at + CENTRAL_BYTES;
    const name = Buffer.from(bytes.buffer, nameAt, nameBytes).toString('utf8');
    const extra = bytes.subarray(nameAt + nameBytes, nameAt + nameBytes + extraBytes);
    const entry = readEntry(file.name, name, new DataView(bytes.buffer, at, CENTRAL_BYTES), extra);
    if (entry.headerOffset + LOCAL_BYTES + entry.size > begin) {
      throw invalidFile(file.name, name, 'entry reaches beyond the data', {
        expected: `at most ${begin} bytes`,
        found: entry.headerOffset + LOCAL_BYTES + entry.size,
      });
    }
    if (entries.has(name)) throw invalidFile(file.name, name, 'entry occurs twice');
    entries.set(name, entry);
    at += whole;
  }
  return entries;
}

/** Where the data of an entry begins; one small read. The local header must name the same entry. */
export async function zipDataOffset(file: ByteFile, entry: ZipEntry): Promise<number> {
  const name = Buffer.from(entry.name, 'utf8');
  const header = new Uint8Array(LOCAL_BYTES + name.length);
  const fits = entry.headerOffset + header.length + entry.size <= file.size;
  if (fits) await file.read(entry.headerOffset, header);
  const view = viewOf(header);
  const nameBytes = view.getUint16(26, true);
  const same =
    fits &&
    view.getUint32(0, true) === LOCAL &&
    view.getUint16(8, true) === 0 &&
    nameBytes === name.length &&
    name.equals(header.subarray(LOCAL_BYTES));
  if (!same) throw invalidFile(file.name, entry.name, 'local header differs from the directory');
  const offset = entry.headerOffset + header.length + view.getUint16(28, true);
  if (offset + entry.size > file.size) {
    throw invalidFile(file.name, entry.name, 'entry reaches beyond the file', {
      expected: `at most ${file.size} bytes`,
      found: offset + entry.size,
    });
  }
  return offset;
}

function readEntry(file: string, name: string, central: DataView, extra: Uint8Array): ZipEntry {
  const flags = central.getUint16(8, true);
  const method = central.getUint16(10, true);
  if (method !== 0 || (flags & ENCRYPTED) !== 0) {
    throw invalidFile(file, name, 'entry is compressed or encrypted', {
      expected: 'stored entries, as torch.save writes them',
      found: `method ${method}, flags ${flags}`,
    });
  }
  const [packed, size, headerOffset] = wideFields(file, name, central, extra);
  if (packed !== size) {
    throw invalidFile(file, name, 'sizes of a stored entry differ', {
      expected: size,
      found: packed,
    });
  }
  return { name, size, headerOffset };
}

/** Packed size, size and offset; fields of all ones stand in the zip64 extra field, in this order. */
function wideFields(
  file: string,
  name: string,
  central: DataView,
  extra: Uint8Array,
): readonly [number, number, number] {
  const wide = zip64Of(extra);
  let used = 0;
  // The order of the extra field: size, packed size, offset.
  const [size, packed, offset] = [24, 20, 42].map((at) => {
    const value = central.getUint32(at, true);
    if (value !== 0xffffffff) return value;
    if (wide === undefined || used + 8 > wide.byteLength) {
      throw invalidFile(file, name, 'zip64 field is missing');
    }
    used += 8;
    return safe(file, name, wide.getBigUint64(used - 8, true));
  });
  return [packed, size, offset];
}

function zip64Of(extra: Uint8Array): DataView | undefined {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length; ) {
    const bytes = view.getUint16(at + 2, true);
    if (at + 4 + bytes > extra.length) return undefined;
    if (view.getUint16(at, true) === 1) {
      return new DataView(extra.buffer, extra.byteOffset + at + 4, bytes);
    }
    at += 4 + bytes;
  }
  return undefined;
}

interface Directory {
  readonly begin: number;
  readonly bytes: number;
  readonly count: number;
}

async function findDirectory(file: ByteFile): Promise<Directory> {
  const tail = new Uint8Array(Math.min(TAIL_BYTES, file.size));
  await file.read(file.size - tail.length, tail);
  const view = viewOf(tail);
  const at = tail.length - END_BYTES;
  if (at < 0 || view.getUint32(at, true) !== END || view.getUint16(at + 20, true) !== 0) {
    throw invalidFile(file.name, 'end of file', 'no zip directory; the file may be cut off', {
      expected: `end record at byte ${Math.max(0, file.size - END_BYTES)}`,
      found: `${file.size} bytes`,
    });
  }
  const small = {
    count: view.getUint16(at + 10, true),
    bytes: view.getUint32(at + 12, true),
    begin: view.getUint32(at + 16, true),
  };
  const wide = at >= LOCATOR_BYTES && view.getUint32(at - LOCATOR_BYTES, true) === LOCATOR_64;
  const end = file.size - END_BYTES - (wide ? LOCATOR_BYTES : 0);
  const found = wide
    ? await directory64(file, viewOf(tail.subarray(at - LOCATOR_BYTES)), end)
    : small;
  const most = Math.min(MAX_DIRECTORY, end - found.begin);
  if (found.bytes > most || found.count * CENTRAL_BYTES > found.bytes) {
    throw invalidFile(file.name, 'zip directory', 'directory does not fit the file', {
      expected: `at most ${Math.max(0, most)} bytes`,
      found: `${found.count} entries in ${found.bytes} bytes at ${found.begin}`,
    });
  }
  return found;
}

async function directory64(file: ByteFile, locator: DataView, end: number): Promise<Directory> {
  const field = 'zip64 directory';
  const at = safe(file.name, field, locator.getBigUint64(8, true));
  const record = new Uint8Array(56);
  if (at + record.length <= end) await file.read(at, record);
  const view = viewOf(record);
  if (view.getUint32(0, true) !== END_64) {
    throw invalidFile(file.name, field, 'no zip64 end record', {
      expected: `before byte ${end}`,
      found: at,
    });
  }
  return {
    count: safe(file.name, field, view.getBigUint64(32, true)),
    bytes: safe(file.name, field, view.getBigUint64(40, true)),
    begin: safe(file.name, field, view.getBigUint64(48, true)),
  };
}

function safe(file: string, field: string, value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw invalidFile(file, field, 'number is too large', { found: String(value) });
}

export function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
