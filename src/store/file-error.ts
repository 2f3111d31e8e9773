import { errorCode, isSoftpackError, SoftpackError, type SoftpackErrorCode } from '../errors.js';

interface SystemCause {
  readonly code: SoftpackErrorCode;
  /** Cause and remedy. */
  readonly message: string;
}

const DENIED = 'access denied; check the owner and permissions of the path';
const FULL = 'no space left; free some space or choose another place';
const TOO_MANY = 'too many open files; raise the limit (ulimit -n) or use fewer workers';

/** System errors that have a remedy of their own; any other code of the system is `IO_FAILED`. */
const CAUSES: Readonly<Record<string, SystemCause>> = {
  ENOENT: { code: 'NOT_FOUND', message: 'no such file' },
  ENOTDIR: { code: 'NOT_FOUND', message: 'no such file: a part of the path is not a folder' },
  EACCES: { code: 'PERMISSION_DENIED', message: DENIED },
  EPERM: { code: 'PERMISSION_DENIED', message: DENIED },
  EROFS: { code: 'PERMISSION_DENIED', message: 'the file system is read-only' },
  ENOSPC: { code: 'NO_SPACE', message: FULL },
  EDQUOT: { code: 'NO_SPACE', message: 'disk quota exceeded; free some space or raise the quota' },
  EFBIG: { code: 'NO_SPACE', message: 'file too large for this file system or for ulimit -f' },
  EEXIST: { code: 'ALREADY_EXISTS', message: 'something of this name already exists' },
  ENOTEMPTY: { code: 'ALREADY_EXISTS', message: 'folder is not empty' },
  EISDIR: { code: 'INVALID_ARGUMENT', message: 'a folder, not a file; name a file' },
  ELOOP: {
    code: 'INVALID_ARGUMENT',
    message: 'symbolic link where none is allowed, or links that form a loop',
  },
  ENAMETOOLONG: { code: 'INVALID_ARGUMENT', message: 'path too long for this file system' },
  EMFILE: { code: 'IO_FAILED', message: TOO_MANY },
  ENFILE: { code: 'IO_FAILED', message: TOO_MANY },
  EIO: { code: 'IO_FAILED', message: 'the device failed to read or write; check disk and cables' },
  EBUSY: { code: 'IO_FAILED', message: 'in use by the system; try again later' },
  ESTALE: { code: 'IO_FAILED', message: 'the network file system lost this file; run again' },
  ETIMEDOUT: { code: 'IO_FAILED', message: 'the file system did not answer in time; run again' },
};

/**
 * A failure of the file system as a typed error with path and remedy; anything else is returned unchanged. Every access
 * to files goes through this: no raw system error reaches a user.
 */
export function fileError(path: string, cause: unknown): unknown {
  if (isSoftpackError(cause)) return cause;
  const code = errorCode(cause);
  if (code === undefined) return cause;
  if (code === 'ERR_INVALID_ARG_VALUE' && path.includes('\0')) {
    const details = { field: path, expected: 'a path without NUL characters', cause };
    return new SoftpackError('INVALID_ARGUMENT', 'not a path', details);
  }
  // System errors are E and capitals (libuv); ERR_... are the caller's or Node.js's own.
  if (!/^E[A-Z0-9]+$/.test(code)) return cause;
  const known = CAUSES[code] ?? { code: 'IO_FAILED', message: `the system reported ${code}` };
  return new SoftpackError(known.code, known.message, { field: path, cause });
}

/** Runs file operations on a path; their failures are {@link fileError}s. */
export async function onFile<T>(path: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw fileError(path, cause);
  }
}

/** {@link onFile} for synchronous operations. */
export function onFileSync<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw fileError(path, cause);
  }
}
