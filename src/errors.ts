/**
 * Stable codes of all foreseen failures, for programs to test for.
 *
 * - `INVALID_ARGUMENT`: a caller's value is of the wrong type, shape or range.
 * - `INVALID_FILE`: a file's bytes contradict its format.
 * - `CORRUPT_DATA`: a checksum or hash does not match the stored bytes.
 * - `UNTRUSTED`: no signature by the key that was asked for.
 * - `NOT_FOUND`: a named file, archive or tensor does not exist.
 * - `ALREADY_EXISTS`: writing would replace something that is already there.
 * - `INCOMPLETE`: an archive that was never finished.
 * - `UNSUPPORTED`: well-formed, but beyond what this version can do.
 * - `TOO_FEW_LABELS`: not enough labels to train the codec that was asked for.
 * - `NON_FINITE`: NaN or infinity where a number is needed.
 * - `BACKEND_UNAVAILABLE`: the requested kernel or TensorFlow.js backend is not ready.
 * - `OUT_OF_MEMORY`: an array exceeds the memory available to this process.
 * - `NATIVE_FAILED`: native code reported a failure that the caller did not cause.
 * - `DEVICE_LOST`: the GPU failed and cannot be used again by this process; discard what the call wrote.
 * - `WORKER_FAILED`: a worker thread died or threw.
 * - `TOOL_MISSING`: a program or package that the task needs (pip, npm, a compiler, the AWS SDK) was not found.
 * - `NO_SPACE`: too little free disk space.
 * - `PERMISSION_DENIED`: the system does not allow this access to a file.
 * - `IO_FAILED`: the system failed to read or write a file.
 * - `LOCKED`: another process is writing here.
 * - `NETWORK_FAILED`: a server could not be reached, or broke the rules of its protocol, in every attempt.
 * - `CHANGED`: a file on a server is no longer the one that was opened; open it again.
 * - `DOWNLOAD_FAILED`: a package could not be fetched.
 * - `BUILD_FAILED`: a compiler reported an error.
 * - `ABORTED`: the caller's signal was aborted.
 */
export type SoftpackErrorCode =
  | 'INVALID_ARGUMENT'
  | 'INVALID_FILE'
  | 'CORRUPT_DATA'
  | 'UNTRUSTED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'INCOMPLETE'
  | 'UNSUPPORTED'
  | 'TOO_FEW_LABELS'
  | 'NON_FINITE'
  | 'BACKEND_UNAVAILABLE'
  | 'OUT_OF_MEMORY'
  | 'NATIVE_FAILED'
  | 'DEVICE_LOST'
  | 'WORKER_FAILED'
  | 'TOOL_MISSING'
  | 'NO_SPACE'
  | 'PERMISSION_DENIED'
  | 'IO_FAILED'
  | 'LOCKED'
  | 'NETWORK_FAILED'
  | 'CHANGED'
  | 'DOWNLOAD_FAILED'
  | 'BUILD_FAILED'
  | 'ABORTED';

export interface SoftpackErrorDetails {
  /** The invalid argument, option or file field, e.g. `codebook` or `manifest.json: epochs`. */
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
  if (expected !== undefined) parts.push(`expected ${show(expected)}`);
  if (found !== undefined) parts.push(`found ${show(found)}`);
  const where = field === undefined ? '' : `${show(field)}: `;
  const text = escapeControls(message, KEPT_IN_SENTENCES);
  return parts.length === 0 ? `${where}${text}` : `${where}${text} (${parts.join(', ')})`;
}

/** Throws `ABORTED` with the signal's reason as its cause, if the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SoftpackError('ABORTED', 'aborted', { cause: signal.reason });
}

/** An error as plain data that can be sent to another thread. */
export interface ErrorData {
  readonly code: SoftpackErrorCode;
  readonly message: string;
  readonly field?: string;
  readonly expected?: string;
  readonly found?: string;
  /** Present for errors of other kinds. */
  readonly stack?: string;
}

/** Errors of other kinds become `WORKER_FAILED`. */
export function errorToData(error: unknown): ErrorData {
  if (!isSoftpackError(error)) {
    return { code: 'WORKER_FAILED', message: errorMessage(error), stack: stackOf(error) };
  }
  const text = (value: unknown) => (value === undefined ? undefined : show(value));
  const { code, message, field, expected, found } = partsOf(error);
  return { code, message, field, expected: text(expected), found: text(found) };
}

/** The fields of an error of the library; also of a hostile value that only looks like one. */
function partsOf(error: SoftpackError): Omit<SoftpackError, 'name'> {
  const field = property(error, 'field');
  return {
    code: errorCode(error) as SoftpackErrorCode,
    message: errorMessage(error),
    field: field === undefined ? undefined : show(field, Number.POSITIVE_INFINITY),
    expected: property(error, 'expected'),
    found: property(error, 'found'),
  };
}

/** Also true for errors of another copy of this library; test runners load several. */
export function isSoftpackError(error: unknown): error is SoftpackError {
  return property(error, 'name') === 'SoftpackError' && errorCode(error) !== undefined;
}

/** `error.code` if it is text; for errors of any realm and any other value. */
export function errorCode(error: unknown): string | undefined {
  const code = property(error, 'code');
  return typeof code === 'string' ? code : undefined;
}

/** The message of an error from any realm; any other value as {@link show} gives it. */
export function errorMessage(error: unknown): string {
  const message = property(error, 'message');
  return typeof message === 'string' ? message : show(error);
}

/** The name of an error's class, e.g. `RangeError`; `Error` for values without one. */
export function errorName(error: unknown): string {
  const name = property(error, 'name');
  return typeof name === 'string' && name !== '' ? name : 'Error';
}

/** The stack of an error from any realm, if it has one. */
export function stackOf(error: unknown): string | undefined {
  const stack = property(error, 'stack');
  return typeof stack === 'string' ? stack : undefined;
}

/** An error of any realm as it is; anything else that was thrown as an error that shows it. */
export function asError(thrown: unknown): Error {
  const isError = typeof property(thrown, 'message') === 'string';
  return isError ? (thrown as Error) : new Error(show(thrown), { cause: thrown });
}

/** Undefined also if reading it throws. */
function property(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  try {
    return Reflect.get(value, name);
  } catch {
    return undefined;
  }
}

export function errorFromData(data: ErrorData): SoftpackError {
  const { code, message, field, expected, found, stack } = data;
  const error = new SoftpackError(code, '', { field, expected, found, cause: stack });
  error.message = message;
  return error;
}

/**
 * An error of the library with a place in front of its field, e.g. the file that holds the value; others unchanged.
 *
 * @param code if the place makes it another kind of error.
 */
export function errorAt(place: string, error: unknown, code?: SoftpackErrorCode): unknown {
  if (!isSoftpackError(error)) return error;
  const { message, field, expected, found } = partsOf(error);
  const where = field === undefined ? place : `${place}: ${field}`;
  const located = new SoftpackError(code ?? error.code, '', {
    field: where,
    expected,
    found,
    cause: error,
  });
  located.message = `${escapeControls(place)}: ${message}`;
  return located;
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

/** Numbers and booleans as they are, anything else as short text: a value to keep in an error. */
export function excerpt(value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  return show(value, EXCERPT_LENGTH);
}

const EXCERPT_LENGTH = 120;
const SHOWN_LENGTH = 600;
/** Objects within objects are shown to this depth, and this many items of each. */
const SHOWN_DEPTH = 3;
const SHOWN_ITEMS = 12;
const KEPT_IN_SENTENCES = '\n\t';

/**
 * Any value as short text for people: JSON for plain data, `Float32Array(8)` for typed arrays. Never throws,
 * reads a bounded part of the value, and escapes control sequences of terminals.
 */
export function show(value: unknown, length = SHOWN_LENGTH): string {
  const text = escapeControls(
    typeof value === 'string' ? value.slice(0, length + 1) : render(value),
  );
  return text.length <= length ? text : `${text.slice(0, length)}...`;
}

/** Control characters, line separators, marks that reverse the direction of text, halves of surrogate pairs. */
const CONTROLS = /[\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;

function escapeControls(text: string, kept = ''): string {
  return text.replace(CONTROLS, (found) =>
    kept.includes(found) ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function render(value: unknown, depth = 0): string {
  try {
    if (typeof value === 'string') return JSON.stringify(value.slice(0, SHOWN_LENGTH));
    if (typeof value === 'bigint') return renderBigInt(value);
    if (typeof value === 'function') return 'a function';
    if (typeof value !== 'object' || value === null) return String(value);
    return renderObject(value, depth);
  } catch {
    // A revoked proxy, a getter that throws.
    return 'a value that cannot be shown';
  }
}

function renderBigInt(value: bigint): string {
  // Longer ones take quadratic time to convert.
  return BigInt.asIntN(256, value) === value ? `${value}n` : 'a large bigint';
}

function renderObject(value: object, depth: number): string {
  if (ArrayBuffer.isView(value)) {
    const tag = Object.prototype.toString.call(value).slice(8, -1);
    return 'length' in value ? `${tag}(${value.length})` : tag;
  }
  if (Array.isArray(value)) {
    if (depth === SHOWN_DEPTH) return '[...]';
    const count = Math.min(value.length, SHOWN_ITEMS);
    const items = Array.from({ length: count }, (_, i) => render(value[i], depth + 1));
    return `[${items.join(',')}${value.length > count ? ',...' : ''}]`;
  }
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (tag === 'Error') {
    const message = property(value, 'message');
    return typeof message === 'string' ? message : 'an error';
  }
  if (tag !== 'Object') return tag;
  if (depth === SHOWN_DEPTH) return '{...}';
  const keys = Object.keys(value);
  const items = keys
    .slice(0, SHOWN_ITEMS)
    .map((key) => `${render(key)}:${render(Reflect.get(value, key), depth + 1)}`);
  return `{${items.join(',')}${keys.length > SHOWN_ITEMS ? ',...' : ''}}`;
}
