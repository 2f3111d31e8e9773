import { invalidFile } from '../errors.js';

/**
 * UTF-8 text of a file, its byte-order mark skipped; `INVALID_FILE` for bytes that are not UTF-8. Editors on Windows
 * write the mark, or UTF-16, which is named as what it is.
 */
export function decodeText(file: string, field: string, bytes: Uint8Array): string {
  const wide = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (wide) throw invalidFile(file, field, 'not UTF-8', { expected: 'UTF-8', found: 'UTF-16' });
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalidFile(file, field, 'not UTF-8', { cause });
  }
}
