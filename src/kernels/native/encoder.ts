import { STATUSES } from '../abi.js';
import type { NativeEncoder } from '../addon.js';
import { checkEncode } from '../check/labels.js';
import { present } from '../check/sizes.js';
import type { EncodeArgs, Encoder, EncoderSpec } from '../types.js';
import { created, type NativeBackend, nativeFailure } from './backend.js';

export class NativeEncoderHandle implements Encoder {
  readonly spec: EncoderSpec;
  readonly #backend: NativeBackend;
  #native: NativeEncoder | undefined;

  constructor(backend: NativeBackend, spec: EncoderSpec) {
    const { projection, codebook, classes, latent, width, bits } = spec;
    this.spec = spec;
    this.#backend = backend;
    this.#native = created(backend, 'createEncoder', () => {
      return new backend.operations.Encoder(projection, codebook, classes, latent, width, bits);
    });
  }

  encode(args: EncodeArgs): void {
    const native = present('encoder', this.#native);
    const { labels, out, threads } = checkEncode(this.spec, args);
    this.#end(native.encode(labels, out, threads));
  }

  async encodeAsync(args: EncodeArgs): Promise<void> {
    const native = present('encoder', this.#native);
    const { labels, out, threads } = checkEncode(this.spec, args);
    this.#end(await native.encodeAsync(labels, out, threads));
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #end(status: number): void {
    if (status !== STATUSES.ok) throw nativeFailure(this.#backend, 'encode', status);
  }
}
