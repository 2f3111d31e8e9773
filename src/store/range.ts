import type { IncomingHttpHeaders } from 'node:http';

/** What servers say about ranges, versions and waiting, parsed strictly: anything else counts as not said. */

/** Bytes first to last, both included, of a file of `size` bytes. */
export interface ContentRange {
  readonly first: number;
  readonly last: number;
  /** Undefined if the server does not know. */
  readonly size: number | undefined;
}

export function parseContentRange(text: string | undefined): ContentRange | undefined {
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(text ?? '') ?? [];
  if (first === undefined || last === undefined || size === undefined) return undefined;
  const range = {
    first: Number(first),
    last: Number(last),
    size: size === '*' ? undefined : Number(size),
  };
  const numbers = [range.first, range.last, range.size ?? 0];
  const valid =
    numbers.every(Number.isSafeInteger) &&
    range.first <= range.last &&
    range.last < Number.MAX_SAFE_INTEGER &&
    (range.size === undefined || range.last < range.size);
  return valid ? range : undefined;
}

/** The size that an answer 416 tells: `bytes *\/123`. */
export function parseUnsatisfied(text: string | undefined): number | undefined {
  const [, size] = /^bytes \*\/(\d+)$/i.exec(text ?? '') ?? [];
  const bytes = Number(size ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Milliseconds, from seconds or a date; undefined if it is neither. */
export function parseRetryAfter(text: string | undefined, now = Date.now()): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return 1000 * Number(text);
  // Dates of HTTP begin with a day; Date.parse alone would take "-5" for a year.
  const date = /^[A-Z][a-z]{2,8}, /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** What tells a file from a later one under the same address. */
export interface Version {
  readonly size: number;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** Weak tags (`W/...`) mark equal meaning, not equal bytes: servers refuse them as a condition. */
export function isStrong(etag: string | undefined): etag is string {
  return etag !== undefined && /^"[\x21\x23-\x7e\x80-\xff]*"$/.test(etag);
}

/** Whether an answer of these headers belongs to another version. What either side does not say does not count. */
export function differs(
  { etag, lastModified }: Omit<Version, 'size'>,
  headers: IncomingHttpHeaders,
): boolean {
  if (etag !== undefined) return headers.etag !== undefined && headers.etag !== etag;
  const found = headers['last-modified'];
  return lastModified !== undefined && found !== undefined && found !== lastModified;
}
