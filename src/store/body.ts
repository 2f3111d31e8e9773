import type { Readable } from 'node:stream';
import type { Attempt } from './attempt.js';
import { networkError, networkFailed, TransientFailure } from './network-error.js';

/** Bytes of a range that have come so far; a later attempt asks for the rest. */
export interface Received {
  readonly into: Uint8Array;
  bytes: number;
}

/**
 * Reads the body of an answer into what is left of `received.into`, which it must fill exactly. One that breaks off or
 * ends early is a {@link TransientFailure}; `NETWORK_FAILED` if there is more.
 */
export async function readBody(
  name: string,
  body: Readable,
  received: Received,
  attempt: Attempt,
): Promise<void> {
  const { into } = received;
  const stop = () => body.destroy();
  if (attempt.signal.aborted) stop();
  attempt.signal.addEventListener('abort', stop);
  try {
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      attempt.touch();
      if (received.bytes + piece.length > into.length) {
        throw networkFailed(name, 'server sent more than it was asked for', {
          expected: `${into.length} bytes`,
        });
      }
      into.set(piece, received.bytes);
      received.bytes += piece.length;
    }
  } catch (cause) {
    throw attempt.reasonOr(networkError(name, cause));
  } finally {
    attempt.signal.removeEventListener('abort', stop);
  }
  if (attempt.signal.aborted) throw attempt.signal.reason;
  if (received.bytes === into.length) return;
  const details = { expected: `${into.length} bytes`, found: received.bytes };
  throw new TransientFailure(networkFailed(name, 'answer ends early', details));
}
