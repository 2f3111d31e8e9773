import { crc32 } from 'node:zlib';

export interface StoredEntry {
  readonly name: string;
  readonly data: Uint8Array;
}

/** Storages begin at multiples of this, as torch writes them: they can be mapped into memory. */
const ALIGNMENT = 64;
const LOCAL_BYTES = 30;
const VERSION = 20;
/** 1980-01-01, the earliest date of the format: equal contents give equal bytes. */
const DATE = 0x21;
const UTF8 = 1 << 11;
/** Sizes and offsets have 32 bits. */
const MAX_BYTES = 0xffffffff;

/** A zip file of stored entries; the caller keeps it below 4 GiB. */
export function zipOf(entries: readonly StoredEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const { name, data } of entries) {
    const text = Buffer.from(name, 'utf8');
    const facts = { name: text, size: data.length, crc: crc32(data), offset: at };
    const header = localHeader(facts, paddingFor(at + LOCAL_BYTES + text.length));
    parts.push(header, data);
    directory.push(centralHeader(facts));
    at += header.length + data.length;
  }
  const bytes = directory.reduce((sum, part) => sum + part.length, 0);
  if (at + bytes > MAX_BYTES) throw new RangeError('zip file of 4 GiB or more');
  return Buffer.concat([...parts, ...directory, endRecord(entries.length, bytes, at)]);
}

interface EntryFacts {
  readonly name: Uint8Array;
  readonly size: number;
  readonly crc: number;
  readonly offset: number;
}

/** Length of an extra field that puts the data at a multiple of the alignment; at least its own header. */
function paddingFor(at: number): number {
  const least = at + 4;
  return 4 + ((ALIGNMENT - (least % ALIGNMENT)) % ALIGNMENT);
}

function localHeader({ name, size, crc }: EntryFacts, padding: number): Uint8Array {
  const bytes = Buffer.alloc(LOCAL_BYTES + name.length + padding);
  bytes.writeUInt32LE(0x04034b50, 0);
  commonFields(bytes, 4, { size, crc, nameBytes: name.length, extraBytes: padding });
  bytes.set(name, LOCAL_BYTES);
  // The mark that torch gives its padding.
  bytes.write('FB', LOCAL_BYTES + name.length, 'latin1');
  bytes.writeUInt16LE(padding - 4, LOCAL_BYTES + name.length + 2);
  return bytes;
}

function centralHeader({ name, size, crc, offset }: EntryFacts): Uint8Array {
  const bytes = Buffer.alloc(46 + name.length);
  bytes.writeUInt32LE(0x02014b50, 0);
  bytes.writeUInt16LE(VERSION, 4);
  commonFields(bytes, 6, { size, crc, nameBytes: name.length, extraBytes: 0 });
  bytes.writeUInt32LE(offset, 42);
  bytes.set(name, 46);
  return bytes;
}

/** Version, flags, method (stored), date, checksum, sizes and lengths: equal in both headers. */
function commonFields(
  bytes: Buffer,
  at: number,
  fields: { size: number; crc: number; nameBytes: number; extraBytes: number },
): void {
  bytes.writeUInt16LE(VERSION, at);
  bytes.writeUInt16LE(UTF8, at + 2);
  bytes.writeUInt16LE(DATE, at + 8);
  bytes.writeUInt32LE(fields.crc, at + 10);
  bytes.writeUInt32LE(fields.size, at + 14);
  bytes.writeUInt32LE(fields.size, at + 18);
  bytes.writeUInt16LE(fields.nameBytes, at + 22);
  bytes.writeUInt16LE(fields.extraBytes, at + 24);
}

function endRecord(count: number, bytes: number, offset: number): Uint8Array {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(bytes, 12);
  end.writeUInt32LE(offset, 16);
  return end;
}
