import { setTimeout } from 'node:timers/promises';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { TransientFailure } from './network-error.js';

export interface RetryOptions {
  /** Attempts after the first one. Default 5. */
  readonly retries?: number;
  /** The wait before the first repetition, at most; it doubles every time. Default 200 ms. */
  readonly backoffMs?: number;
}

/** The longest wait: a server that asks for more is not waited for. */
const MAX_WAIT_MS = 60_000;
const MAX_BACKOFF_MS = 20_000;

/**
 * Repeats an attempt while it throws {@link TransientFailure}. Waits grow exponentially and are drawn at random, so that
 * many clients do not return at once; a wait that the server asks for is kept.
 */
export async function withRetries<T>(
  { retries = 5, backoffMs = 200 }: RetryOptions,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let failed = 0; ; failed++) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransientFailure)) throw error;
      const { failure, waitMs = 0 } = error;
      if (failed === retries || waitMs > MAX_WAIT_MS) throw lastFailure(failure, failed + 1);
      const most = Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** failed);
      await pause(waitMs + Math.random() * most, signal);
    }
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch((cause: unknown) => {
    throwIfAborted(signal);
    throw cause;
  });
}

function lastFailure(failure: SoftpackError, attempts: number): SoftpackError {
  if (attempts === 1) return failure;
  const { code, field, expected, found, cause } = failure;
  const last = new SoftpackError(code, '', { field, expected, found, cause });
  last.message = `${failure.message}, in the last of ${attempts} attempts`;
  return last;
}
