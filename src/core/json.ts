import { errorMessage, excerpt, invalidFile, SoftpackError } from '../errors.js';
import { decodeText } from './text.js';

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

export type JsonObject = { readonly [key: string]: JsonValue };

/** Deeper documents are refused: recursive readers (ours and others') run out of stack. */
const MAX_DEPTH = 64;
/**
 * Values, keys and containers of one document. Parsed, each takes up to 160 bytes, so a document takes some 300 MiB
 * at most; 140,000 shards of an archive or 230,000 tensors of a file stay below.
 */
const MAX_ITEMS = 2 ** 21;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Parses untrusted UTF-8 JSON, with or without a byte-order mark. `INVALID_FILE` for bytes that are not UTF-8 or not
 * JSON, for an object that names a key twice (parsers disagree on which one counts), and for documents nested too
 * deep or of too many values, which are refused before anything is allocated for them.
 */
export function parseJson(file: string, field: string, bytes: Uint8Array): JsonValue {
  checkBounds(file, field, bytes);
  const text = decodeText(file, field, bytes);
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw invalidFile(file, field, 'not JSON', { found: errorMessage(cause), cause });
  }
  checkKeys(file, field, text);
  return value;
}

/** Bounds depth and number of values by brackets and commas outside of strings, in text that may not be JSON. */
function checkBounds(file: string, field: string, bytes: Uint8Array): void {
  let depth = 0;
  let items = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = endOfString(bytes, at);
    } else if (byte === COMMA) {
      items++;
    } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      items++;
      depth++;
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) {
      depth--;
    }
    if (depth > MAX_DEPTH) {
      const expected = `at most ${MAX_DEPTH} levels`;
      throw invalidFile(file, field, 'nested too deep', { expected });
    }
    if (items > MAX_ITEMS) {
      const expected = `at most ${MAX_ITEMS} values`;
      throw invalidFile(file, field, 'too many values', { expected });
    }
  }
}

/** Position of the quote that ends the string, or the end of the bytes. */
function endOfString(bytes: Uint8Array, begin: number): number {
  let at = begin + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}

/** Finds repeated keys in text that is known to be JSON. */
function checkKeys(file: string, field: string, text: string): void {
  // The keys of each open object; undefined for an open array.
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; ++at) {
    const character = text[at];
    if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : undefined);
    } else if (character === '}' || character === ']') {
      open.pop();
    } else if (character === '"') {
      const begin = at;
      at = closingQuote(text, begin);
      const keys = open.at(-1);
      if (keys === undefined || !colonFollows(text, at + 1)) continue;
      const key = JSON.parse(text.slice(begin, at + 1)) as string;
      if (keys.has(key)) throw invalidFile(file, field, 'key occurs twice', { found: key });
      keys.add(key);
    }
  }
}

function closingQuote(text: string, begin: number): number {
  let at = begin + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

function colonFollows(text: string, after: number): boolean {
  let at = after;
  while (' \t\r\n'.includes(text[at])) at += 1;
  return text[at] === ':';
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A copy with the keys of every object in order, so that equal values give equal bytes. `INVALID_ARGUMENT`
 * naming the path of anything that JSON cannot carry unchanged.
 */
export function canonicalJson(value: unknown, path: string): JsonValue {
  return canonical(value, path, 0);
}

function canonical(value: unknown, path: string, depth: number): JsonValue {
  const fail = (expected: string): never => {
    const found = typeof value === 'object' ? Object.prototype.toString.call(value) : typeof value;
    const details = { field: path, expected, found: Number.isNaN(value) ? 'NaN' : excerpt(found) };
    throw new SoftpackError('INVALID_ARGUMENT', 'not plain JSON', details);
  };
  if (depth > MAX_DEPTH) fail(`at most ${MAX_DEPTH} levels`);
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : fail('a finite number');
  if (Array.isArray(value)) {
    return value.map((item, i) => canonical(item, `${path}[${i}]`, depth + 1));
  }
  if (typeof value !== 'object') return fail('a JSON value');
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return fail('a plain object or array');
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => [key, canonical(item, `${path}.${key}`, depth + 1)]);
  return Object.fromEntries(entries);
}
