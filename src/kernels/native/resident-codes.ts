import type { NativeDeviceBytes } from '../addon.js';
import type { ResidentCodes } from '../types.js';
import { created, type NativeBackend } from './backend.js';

export class NativeResidentCodes implements ResidentCodes {
  readonly host: Uint8Array;
  readonly #backend: NativeBackend;
  #native: NativeDeviceBytes | undefined;

  constructor(backend: NativeBackend, host: Uint8Array) {
    this.host = host;
    this.#backend = backend;
    this.#native = created(backend, 'residentCodes', () => backend.keepCodes(host));
  }

  /** The codes where `backend` reads them without a copy; undefined where it does not, or no longer. */
  of(backend: NativeBackend): NativeDeviceBytes | undefined {
    return backend === this.#backend ? this.#native : undefined;
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
