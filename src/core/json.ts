import { errorMessage, excerpt, invalidFile, SoftpackError } from '../errors.js';

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
 * Parses untrusted UTF-8 JSON. `INVALID_FILE` for bytes that are not UTF-8 or not JSON, for an object that
 * names a key twice (parsers disagree on which one counts), and for documents nested too deep.
 */
export function parseJson(file: string, field: string, bytes: Uint8Array): JsonValue {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw invalidFile(file, field, 'not UTF-8', { cause });
  }
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw invalidFile(file, field, 'not JSON', { found: errorMessage(cause), cause });
  }
  checkStructure(file, field, text);
  return value;
}

/** Finds repeated keys and deep nesting in text that is known to be JSON. */
function checkStructure(file: string, field: string, text: string): void {
  // The keys of each open object; undefined for an open array.
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; ++at) {
    const character = text[at];
    if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : undefined);
      if (open.length > MAX_DEPTH) {
        throw invalidFile(file, field, 'nested too deep', {
          expected: `at most ${MAX_DEPTH} levels`,
        });
      }
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
