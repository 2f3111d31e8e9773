import { totalmem } from 'node:os';
import { errorMessage, SoftpackError } from '../errors.js';
import { argument } from './check.js';

/** The memory of the machine, or of the container if that is less: no single array can be larger. */
export const MEMORY = Math.min(
  totalmem(),
  process.constrainedMemory?.() || Number.MAX_SAFE_INTEGER,
);

/**
 * A zeroed buffer of `bytes` bytes for `field`; `OUT_OF_MEMORY` if it exceeds `limit` or the engine refuses it. Sizes
 * that a file declares must be compared with that file's length first: this is the last bound, not the first.
 */
export function allocate(bytes: number, field: string, limit = MEMORY): ArrayBuffer {
  return within(bytes, field, limit, () => new ArrayBuffer(bytes));
}

/** The same, shared between threads. */
export function allocateShared(bytes: number, field: string, limit = MEMORY): SharedArrayBuffer {
  return within(bytes, field, limit, () => new SharedArrayBuffer(bytes));
}

/** `OUT_OF_MEMORY` if several arrays of `bytes` bytes in all exceed the limit, before the first is allocated. */
export function requireMemory(bytes: number, field: string, limit = MEMORY): void {
  argument.count(bytes, field, 0);
  const most = Math.min(limit, MEMORY);
  if (bytes > most) throw tooLarge(field, bytes, `at most ${most} bytes`);
}

function within<T>(bytes: number, field: string, limit: number, create: () => T): T {
  requireMemory(bytes, field, limit);
  try {
    return create();
  } catch (cause) {
    throw tooLarge(field, bytes, `less memory (${errorMessage(cause)})`, cause);
  }
}

function tooLarge(field: string, bytes: number, expected: string, cause?: unknown): SoftpackError {
  return new SoftpackError('OUT_OF_MEMORY', 'needs more memory than this process can have', {
    field,
    expected,
    found: `${bytes} bytes`,
    cause,
  });
}
