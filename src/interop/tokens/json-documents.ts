import { type JsonValue, parseJson } from '../../core/json.js';
import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import { linesOf } from './lines.js';

/** Something in a file, and where. */
export interface Named<T> {
  readonly name: string;
  readonly value: T;
}

/** Documents of a file: one per line, or a single one over all lines. */
export async function* documentsOf(file: ByteFile): AsyncGenerator<Named<JsonValue>> {
  const lines = linesOf(file);
  const { value: first } = await lines.next();
  if (first === undefined) throw invalidFile(file.name, 'content', 'file is empty');
  const parts = [first.bytes];
  if (!isWhole(first.bytes)) {
    for await (const line of lines) parts.push(line.bytes);
    yield { name: file.name, value: parseJson(file.name, 'content', Buffer.concat(parts)) };
    return;
  }
  const parse = ({ number, bytes }: typeof first) => {
    const field = `line ${number}`;
    return { name: `${file.name}: ${field}`, value: parseJson(file.name, field, bytes) };
  };
  yield parse(first);
  for await (const line of lines) yield parse(line);
}

const CLOSING: ReadonlyMap<number, number> = new Map([
  [0x7b, 0x7d],
  [0x5b, 0x5d],
]);

/** Whether a line could be a document of its own: it ends with the bracket that it begins with. */
function isWhole(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const begin = text.findIndex((byte) => CLOSING.has(byte));
  const end = text.findLastIndex((byte) => byte > 0x20);
  return begin >= 0 && begin < end && CLOSING.get(text[begin]) === text[end];
}
