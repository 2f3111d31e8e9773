import { FieldChecker } from '../../core/check.js';
import { type JsonValue, parseJson } from '../../core/json.js';
import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import { linesOf } from './lines.js';

/** Something in a file, and where. */
export interface Named<T> {
  readonly name: string;
  readonly value: T;
}

/** Documents of a file, one per line or a single one over all lines; of a list its items. */
export async function* documentsOf(file: ByteFile): AsyncGenerator<Named<JsonValue>> {
  for await (const { name, value } of wholeDocuments(file)) yield* itemsOf(name, value);
}

function* itemsOf(name: string, value: JsonValue): Generator<Named<JsonValue>> {
  if (!Array.isArray(value)) return yield { name, value };
  for (const [i, item] of (value as readonly JsonValue[]).entries()) {
    yield* itemsOf(`${name}[${i}]`, item);
  }
}

async function* wholeDocuments(file: ByteFile): AsyncGenerator<Named<JsonValue>> {
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

/** `prompt_token_ids` of an answer, which a server gives if the request asks for them. */
export function promptIds(
  name: string,
  value: JsonValue | undefined,
  vocabulary: number,
): readonly number[] | undefined {
  if (value == null) return undefined;
  const check = new FieldChecker(name, 'INVALID_FILE');
  return check
    .list(value, 'prompt_token_ids')
    .map((id, i) => check.count(id, `prompt_token_ids[${i}]`, 0, vocabulary - 1));
}
