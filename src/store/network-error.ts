import { errorCode, errorMessage, SoftpackError, type SoftpackErrorDetails } from '../errors.js';

/** A failed attempt that may succeed if it is repeated, with the error to report if none does. */
export class TransientFailure extends Error {
  readonly failure: SoftpackError;
  /** What the server asked to wait, milliseconds. */
  readonly waitMs: number | undefined;

  constructor(failure: SoftpackError, waitMs?: number) {
    super(failure.message);
    this.failure = failure;
    this.waitMs = waitMs;
  }
}

export function networkFailed(
  name: string,
  message: string,
  details: Omit<SoftpackErrorDetails, 'field'> = {},
): SoftpackError {
  return new SoftpackError('NETWORK_FAILED', message, { field: name, ...details });
}

interface Cause {
  readonly message: string;
  /** Repeating it gives the same answer. */
  readonly final?: true;
}

const CAUSES: Readonly<Record<string, Cause>> = {
  ENOTFOUND: { message: 'no such host; check the address', final: true },
  EAI_AGAIN: { message: 'names of hosts cannot be resolved at present' },
  ECONNREFUSED: { message: 'connection refused; check host and port, and that the server runs' },
  ECONNRESET: { message: 'connection broke off' },
  EPIPE: { message: 'connection broke off' },
  ETIMEDOUT: { message: 'connection timed out' },
  EHOSTUNREACH: { message: 'host cannot be reached' },
  ENETUNREACH: { message: 'network cannot be reached' },
  EPROTO: { message: 'TLS failed; check that the server speaks https on this port', final: true },
};

/** Node.js's and OpenSSL's names of certificates that are refused. */
const CERTIFICATE =
  /CERT|SELF_SIGNED|ISSUER|UNABLE_TO_VERIFY|ERR_TLS_CERT_ALTNAME_INVALID|CRL|HOSTNAME_MISMATCH/;

/**
 * A failure of a socket, of TLS or of the parser of answers: `NETWORK_FAILED`, or a {@link TransientFailure} of it.
 * Anything else is returned unchanged.
 */
export function networkError(name: string, cause: unknown): unknown {
  const code = errorCode(cause);
  if (cause instanceof SoftpackError || cause instanceof TransientFailure || code === undefined) {
    return cause;
  }
  if (CERTIFICATE.test(code)) {
    const message =
      'certificate of the server is not trusted; add its authority by NODE_EXTRA_CA_CERTS';
    return networkFailed(name, message, { found: `${code}: ${errorMessage(cause)}`, cause });
  }
  if (code.startsWith('HPE_')) {
    // Also what a connection gives that breaks off within the head of an answer.
    const message = 'answer is not HTTP';
    return new TransientFailure(networkFailed(name, message, { found: code, cause }));
  }
  const known = CAUSES[code];
  if (known === undefined && !/^(E[A-Z]+|ERR_(STREAM|SSL|TLS|HTTP2?|SOCKET)_.*)$/.test(code)) {
    return cause;
  }
  const message = known?.message ?? 'connection failed';
  const failure = networkFailed(name, message, { found: code, cause });
  return known?.final ? failure : new TransientFailure(failure);
}
