import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { SoftpackError } from '../errors.js';
import { networkFailed, TransientFailure } from './network-error.js';
import { parseContentRange, parseRetryAfter, parseUnsatisfied } from './range.js';

/** What a server answers to a request for a range, and the rules that it must keep; the body of one that breaks a rule is destroyed. */

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readable;
}

/** Statuses that pass: too many requests, a server that restarts or is overloaded. */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);

/** The failure that a status means; undefined for those that the caller looks at. */
export function failureOf(
  name: string,
  { status, headers }: Pick<Answer, 'status' | 'headers'>,
): unknown {
  const found = `status ${status}`;
  if (TRANSIENT.has(status)) {
    const wait = parseRetryAfter(headers['retry-after']);
    const asked = wait === undefined ? found : `${found}, Retry-After ${wait / 1000} s`;
    return new TransientFailure(networkFailed(name, 'server failed', { found: asked }), wait);
  }
  if (status === 404 || status === 410) {
    return new SoftpackError('NOT_FOUND', 'no such file on the server', { field: name, found });
  }
  if (status === 401 || status === 403) {
    const message = 'server denies access; check the address and its credentials';
    return new SoftpackError('PERMISSION_DENIED', message, { field: name, found });
  }
  if (status === 507) {
    const message = 'no space left on the server; free some or choose another place';
    return new SoftpackError('NO_SPACE', message, { field: name, found });
  }
  if ([200, 206, 412, 416].includes(status)) return undefined;
  return networkFailed(name, 'unexpected answer', { expected: 'status 206', found });
}

/** `UNSUPPORTED` unless the answer is a plain range. */
export function requireRange(name: string, { status, headers, body }: Answer): void {
  const encoding = headers['content-encoding'] ?? 'identity';
  if (status === 206 && encoding === 'identity') return;
  body.destroy();
  if (status === 206) {
    const message = 'server compresses ranges; switch that off for these files';
    throw unsupported(name, message, encoding);
  }
  const message = 'server does not answer ranges; use one that does, e.g. nginx, or copy the files';
  throw unsupported(name, message, `status ${status}`);
}

/** The answer must be this range, and its length, if told, that of the range. */
export function requireExactly(
  name: string,
  answer: Answer,
  wanted: { readonly first: number; readonly last: number; readonly size: number },
): void {
  const { headers } = answer;
  const problem = rangeProblem(name, headers, wanted);
  if (problem === undefined) return;
  answer.body.destroy();
  throw problem;
}

function rangeProblem(
  name: string,
  headers: IncomingHttpHeaders,
  { first, last, size }: { readonly first: number; readonly last: number; readonly size: number },
): SoftpackError | undefined {
  const text = headers['content-range'];
  const range = parseContentRange(text);
  const expected = `bytes ${first}-${last}/${size}`;
  if (range?.size !== undefined && range.size !== size) return changed(name, text, expected);
  if (range === undefined || range.first !== first || range.last !== last) {
    const found = text ?? 'nothing';
    return networkFailed(name, 'server sent another range', { expected, found });
  }
  const length = headers['content-length'];
  if (length === undefined || length === String(last - first + 1)) return undefined;
  const details = { expected: last - first + 1, found: length };
  return networkFailed(name, 'length of the answer is not that of its range', details);
}

export function changed(name: string, found: unknown, expected?: unknown): SoftpackError {
  const message = 'file was changed on the server since it was opened; open it again';
  return new SoftpackError('CHANGED', message, { field: name, expected, found });
}

function unsupported(name: string, message: string, found?: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', message, { field: name, found });
}

/** A file of no bytes has no range: servers answer 416, or 200 and nothing. */
export function isEmpty({ status, headers }: Answer): boolean {
  if (status === 416) return parseUnsatisfied(headers['content-range']) === 0;
  return status === 200 && headers['content-length'] === '0';
}

/** The size of the file, from the first range of it. */
export function requireTotal(name: string, answer: Answer): number {
  const text = answer.headers['content-range'];
  const range = parseContentRange(text);
  if (range?.size !== undefined) return range.size;
  answer.body.destroy();
  if (range !== undefined) throw unsupported(name, 'server does not tell the size of the file');
  const details = { expected: 'Content-Range: bytes first-last/size', found: text ?? 'nothing' };
  throw networkFailed(name, 'server does not say which range it sent', details);
}
