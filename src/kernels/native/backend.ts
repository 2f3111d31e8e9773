import { errorMessage, SoftpackError } from '../../errors.js';
import {
  type NativeDeviceBytes,
  type NativeOperations,
  STATUS_DEVICE_LOST,
  STATUS_UNSUPPORTED_METHOD,
} from '../addon.js';

/** A backend of the addon: its operations, and words for a status of theirs. */
export interface NativeBackend {
  readonly name: 'cpu' | 'cuda';
  readonly isa: string;
  readonly operations: NativeOperations;
  describe(status: number): string;
  keepCodes(codes: Uint8Array): NativeDeviceBytes | undefined;
}

/** An operation of a backend that failed; the status tells whether another backend may do better. */
export class NativeFailure extends SoftpackError {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(
      status === STATUS_DEVICE_LOST
        ? 'DEVICE_LOST'
        : status === STATUS_UNSUPPORTED_METHOD
          ? 'UNSUPPORTED'
          : 'NATIVE_FAILED',
      message,
      status === STATUS_UNSUPPORTED_METHOD ? { field: 'method' } : {},
    );
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
