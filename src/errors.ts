/**
 * Every failure that softpack foresees, by a stable code that programs may test for.
 *
 * - `INVALID_ARGUMENT`: a caller's value is of the wrong type, shape or range.
 * - `INVALID_FILE`: a file's bytes contradict its format.
 * - `CORRUPT_DATA`: a checksum or hash does not match the stored bytes.
 * - `NOT_FOUND`: a named file, archive or tensor does not exist.
 * - `ALREADY_EXISTS`: writing would replace something that is already there.
 * - `INCOMPLETE`: an archive that was never finished.
 * - `UNSUPPORTED`: well-formed, but not something this version can do.
 * - `TOO_FEW_LABELS`: not enough labels to train the codec that was asked for.
 * - `NON_FINITE`: NaN or infinity where a number is needed.
 * - `BACKEND_UNAVAILABLE`: the kernel or TensorFlow.js backend asked for is not ready.
 * - `NATIVE_FAILED`: native code reported a failure that was not the caller's.
 * - `DEVICE_LOST`: the GPU failed and cannot be used again by this process; what the call wrote is not to be trusted.
 * - `WORKER_FAILED`: a worker thread died or threw.
 * - `TOOL_MISSING`: a program that the task needs (pip, npm, a compiler) was not found.
 * - `NO_SPACE`: too little free disk space.
 * - `PERMISSION_DENIED`: the system does not allow this access to a file.
 * - `IO_FAILED`: the system failed to read or write a file.
 * - `LOCKED`: another process is writing here.
 * - `DOWNLOAD_FAILED`: a package could not be fetched.
 * - `BUILD_FAILED`: a compiler reported an error.
 * - `ABORTED`: the caller's signal was aborted.
 */
export type SoftpackErrorCode =
  | 'INVALID_ARGUMENT'
  | 'INVALID_FILE'
  | 'CORRUPT_DATA'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'INCOMPLETE'
  | 'UNSUPPORTED'
  | 'TOO_FEW_LABELS'
  | 'NON_FINITE'
  | 'BACKEND_UNAVAILABLE'
  | 'NATIVE_FAILED'
  | 'DEVICE_LOST'
  | 'WORKER_FAILED'
  | 'TOOL_MISSING'
  | 'NO_SPACE'
  | 'PERMISSION_DENIED'
  | 'IO_FAILED'
  | 'LOCKED'
  | 'DOWNLOAD_FAILED'
  | 'BUILD_FAILED'
  | 'ABORTED';

export interface SoftpackErrorDetails {
  /** The argument, option or file field that is wrong, e.g. `codebook` or `manifest.json: epochs`. */
  readonly field?: string;
  readonly expected?: unknown;
  readonly found?: unknown;
  readonly cause?: unknown;
}

/** The one error class of the library: a sentence for people, a `code` for programs. */
export class SoftpackError extends Error {
  readonly code: SoftpackErrorCode;
  readonly field: string | undefined;
  readonly expected: unknown;
  readonly found: unknown;

  constructor(code: SoftpackErrorCode, message: string, details: SoftpackErrorDetails = {}) {
    super(withDetails(message, details), { cause: details.cause });
    this.name = 'SoftpackError';
    this.code = code;
    this.field = details.field;
    this.expected = details.expected;
    this.found = details.found;
  }
}

function withDetails(message: string, { field, expected, found }: SoftpackErrorDetails): string {
  const parts: string[] = [];
  if (expected !== undefined) parts.push(`expected ${String(expected)}`);
  if (found !== undefined) parts.push(`found ${String(found)}`);
  const where = field === undefined ? '' : `${field}: `;
  return parts.length === 0 ? `${where}${message}` : `${where}${message} (${parts.join(', ')})`;
}

/** Throws `ABORTED` with the signal's reason as its cause, if the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SoftpackError('ABORTED', 'aborted', { cause: signal.reason });
}

/** An error as plain data, which another thread can be sent. */
export interface ErrorData {
  readonly code: SoftpackErrorCode;
  readonly message: string;
  readonly field?: string;
  readonly expected?: string;
  readonly found?: string;
  /** Of an error that is not the library's: where it was thrown. */
  readonly stack?: string;
}

/** Errors of other kinds become `WORKER_FAILED`. */
export function errorToData(error: unknown): ErrorData {
  if (!(error instanceof SoftpackError)) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { code: 'WORKER_FAILED', message, stack };
  }
  const text = (value: unknown) => (value === undefined ? undefined : String(value));
  const { code, message, field, expected, found } = error;
  return { code, message, field, expected: text(expected), found: text(found) };
}

export function errorFromData(data: ErrorData): SoftpackError {
  const { code, message, field, expected, found, stack } = data;
  const error = new SoftpackError(code, '', { field, expected, found, cause: stack });
  error.message = message;
  return error;
}

/** An error about the bytes of a file: `INVALID_FILE` naming file and field, with short forms of both values. */
export function invalidFile(
  file: string,
  field: string,
  message: string,
  { expected, found, cause }: { expected?: unknown; found?: unknown; cause?: unknown } = {},
): SoftpackError {
  return new SoftpackError('INVALID_FILE', message, {
    field: `${file}: ${field}`,
    ...(expected === undefined ? {} : { expected: excerpt(expected) }),
    ...(found === undefined ? {} : { found: excerpt(found) }),
    cause,
  });
}

const EXCERPT_LENGTH = 120;

/** A value as a person would want to see it in an error: JSON where it is not text or a number, cut short. */
export function excerpt(value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return text.length <= EXCERPT_LENGTH ? text : `${text.slice(0, EXCERPT_LENGTH)}...`;
}
