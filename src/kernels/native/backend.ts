import { errorMessage, SoftpackError, type SoftpackErrorCode } from '../../errors.js';
import { STATUSES } from '../abi.js';
import type { NativeCoding, NativeDeviceBytes, NativeOperations } from '../addon.js';

/** A backend of the addon: its operations, and words for a status of theirs. */
export interface NativeBackend {
  readonly name: 'cpu' | 'cuda';
  readonly isa: string;
  readonly operations: NativeOperations;
  describe(status: number): string;
  keepCodes(codes: Uint8Array): NativeDeviceBytes | undefined;
  /** The CPU's, whatever the backend. */
  readonly coding: NativeCoding;
}

/** Causes that have a code of their own; any other status is `NATIVE_FAILED`. */
const CAUSES: ReadonlyMap<number, { readonly code: SoftpackErrorCode; readonly field?: string }> =
  new Map([
    [STATUSES.deviceLost, { code: 'DEVICE_LOST' }],
    [STATUSES.unsupportedMethod, { code: 'UNSUPPORTED', field: 'method' }],
    [STATUSES.notFinite, { code: 'NON_FINITE', field: 'decoder' }],
  ]);

/** An operation of a backend that failed; the status tells whether another backend may do better. */
export class NativeFailure extends SoftpackError {
  constructor(
    readonly status: number,
    message: string,
  ) {
    const { code, field } = CAUSES.get(status) ?? { code: 'NATIVE_FAILED' };
    super(code, message, field === undefined ? {} : { field });
  }
}

export function nativeFailure(
  backend: NativeBackend,
  operation: string,
  status: number,
): NativeFailure {
  return new NativeFailure(status, `${operation} failed: ${backend.describe(status)}`);
}

/** Runs a native constructor and translates what it throws. */
export function created<T>(backend: NativeBackend, operation: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    const status = Reflect.get(Object(error), 'status') as unknown;
    if (typeof status === 'number') throw nativeFailure(backend, operation, status);
    throw new SoftpackError('NATIVE_FAILED', `${operation} failed: ${errorMessage(error)}`);
  }
}
