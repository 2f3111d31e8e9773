import { sha256 } from '../container/checksum.js';
import type { JsonObject, JsonValue } from '../core/json.js';
import { schemeOf, shownAddress } from '../store/address.js';

/**
 * How an archive was made: version of softpack, function that was called, and its arguments. Recorded when the archive is
 * begun; no part of its identity, and no two of its bytes depend on where or how fast it was made.
 */
export type Provenance = JsonObject;

/** Arguments that say where and how fast, or whom to tell: labels do not depend on them. */
const CIRCUMSTANCES: ReadonlySet<string> = new Set([
  ...['out', 'full', 'passes', 'workers', 'threads', 'concurrency', 'acceptFinished'],
  ...['provenance'],
]);
/** Longer lists are told by their length. */
const MAX_LISTED = 100;

/**
 * A call as archives record it. Paths stay as they were given; addresses lose passwords and queries; arrays of numbers
 * become their hash. What is no data (functions, signals, open sources) is left out.
 *
 * @param sources provenance of the archives that labels were taken from.
 */
export function callRecord(
  call: string,
  args: object,
  sources: readonly (Provenance | undefined)[] = [],
): Provenance {
  const known = sources.filter((source) => source !== undefined);
  const distinct = new Map(known.map((source) => [JSON.stringify(source), source]));
  return {
    call,
    arguments: recordableFields(args),
    ...(distinct.size === 0 ? {} : { sources: [...distinct.values()].slice(0, MAX_LISTED) }),
  };
}

function recordable(value: unknown): JsonValue | undefined {
  if (typeof value === 'string') return shown(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'boolean' || value === null) return value;
  if (ArrayBuffer.isView(value)) {
    return `sha256:${sha256(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}`;
  }
  if (Array.isArray(value)) {
    if (value.length > MAX_LISTED) return `${value.length} values`;
    return value.map((one) => recordable(one) ?? null);
  }
  if (typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) return;
  const isOpen = Object.values(value).some((one) => typeof one === 'function');
  return isOpen ? undefined : recordableFields(value);
}

function recordableFields(value: object): JsonObject {
  const entries = Object.entries(value)
    .filter(([name]) => !CIRCUMSTANCES.has(name))
    .map(([name, one]) => [name, recordable(one)] as const)
    .filter(([, one]) => one !== undefined);
  return Object.fromEntries(entries) as JsonObject;
}

function shown(text: string): string {
  if (schemeOf(text) === undefined) return text;
  try {
    return shownAddress(new URL(text));
  } catch {
    return `${schemeOf(text)}://...`;
  }
}
