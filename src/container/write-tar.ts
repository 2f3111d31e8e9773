/** A regular file of an archive; folders of its name are separated by slashes. */
export interface TarFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const BLOCK = 512;
/** Bytes of a name in a plain header. */
const NAME = 100;

/**
 * An uncompressed tar archive of these files (POSIX.1-2001), the same bytes wherever and whenever it is made: owner and time
 * are zero. Names that are long, or not ASCII, are kept in extended headers.
 */
export function tarOf(files: readonly TarFile[]): Uint8Array<ArrayBuffer> {
  const pieces = files.flatMap(({ name, bytes }) => [
    ...headersOf(name, bytes.length),
    ...padded(bytes),
  ]);
  // Two empty blocks end an archive.
  return Buffer.concat([...pieces, Buffer.alloc(2 * BLOCK)]);
}

function headersOf(name: string, size: number): readonly Uint8Array[] {
  if (Buffer.byteLength(name) <= NAME && /^[ -~]*$/.test(name)) return [header(name, size, '0')];
  const path = pathRecord(name);
  // Readers that know no extended headers get a name too.
  const plain = name.replace(/[^ -~]/gu, '_').slice(-NAME);
  return [header('PaxHeader', path.length, 'x'), ...padded(path), header(plain, size, '0')];
}

/** `<length> path=<name>\n`, whose length counts its own digits. */
function pathRecord(name: string): Uint8Array {
  const rest = ` path=${name}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes;
  while (length !== bytes + String(length).length) length = bytes + String(length).length;
  return Buffer.from(`${length}${rest}`);
}

function header(name: string, size: number, type: '0' | 'x'): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0');
  block.write(name, 0, 'latin1');
  block.write(octal(0o644, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(size, 11), 124);
  block.write(octal(0, 11), 136);
  block.write(type, 156);
  block.write('ustar\x0000', 257, 'latin1');
  // The sum is that of a header with blanks in its place.
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148, 'latin1');
  return block;
}

function padded(bytes: Uint8Array): readonly Uint8Array[] {
  return [bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)];
}
