import { invalidFile } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';

export interface TarMember {
  readonly name: string;
  /** First byte of the content in the archive. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

const BLOCK = 512;
const REGULAR = new Set(['0', '\0']);
/** Extended headers of PAX, whose times and long names no member that we read needs, and folders. */
const SKIPPED = new Set(['x', 'g', '5']);

/** Regular files of an uncompressed tar archive; only headers are read. */
export async function* tarMembers(file: ByteFile): AsyncGenerator<TarMember> {
  const header = Buffer.alloc(BLOCK);
  let at = 0;
  while (at + BLOCK <= file.size) {
    await file.read(at, header);
    if (header.every((byte) => byte === 0)) return;
    const size = checkedSize(file, at, header);
    const type = header.toString('latin1', 156, 157);
    const name = textOf(header, 0, 100);
    if (REGULAR.has(type)) yield { name, offset: at + BLOCK, size };
    else if (!SKIPPED.has(type)) {
      throw invalidFile(file.name, name, 'unknown kind of tar member', {
        expected: 'regular files',
        found: type,
      });
    }
    at += BLOCK + BLOCK * Math.ceil(size / BLOCK);
  }
}

function checkedSize(file: ByteFile, at: number, header: Buffer): number {
  const field = `tar header at ${at}`;
  const stated = Number.parseInt(textOf(header, 148, 8).trim(), 8);
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i];
  if (sum !== stated) {
    throw invalidFile(file.name, field, 'not a tar header', { expected: stated, found: sum });
  }
  const digits = textOf(header, 124, 12).trim();
  // Above 8 GiB a binary number with the highest bit set.
  const size =
    (header[124] & 0x80) !== 0
      ? Number(header.readBigUInt64BE(128))
      : /^[0-7]+$/.test(digits)
        ? Number.parseInt(digits, 8)
        : Number.NaN;
  if (Number.isSafeInteger(size) && at + BLOCK + size <= file.size) return size;
  throw invalidFile(file.name, field, 'member reaches beyond the archive', {
    expected: `at most ${file.size - at - BLOCK} bytes`,
    found: size,
  });
}

function textOf(header: Buffer, begin: number, length: number): string {
  const text = header.toString('latin1', begin, begin + length);
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}
