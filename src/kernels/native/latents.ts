import { DTYPES } from '../../core/dtypes.js';
import { STATUSES } from '../abi.js';
import type { NativeDecodeLatentsArgs, NativeLatentDecoder } from '../addon.js';
import { checkDecodeLatents, checkLatentDecoderSpec } from '../check/latents.js';
import { present } from '../check/sizes.js';
import type { DecodeLatentsArgs, LatentDecoder, LatentDecoderSpec } from '../latents.js';
import { created, type NativeBackend, nativeFailure } from './backend.js';

export class NativeLatentDecoderHandle implements LatentDecoder {
  readonly spec: LatentDecoderSpec;
  readonly #backend: NativeBackend;
  #native: NativeLatentDecoder | undefined;

  constructor(backend: NativeBackend, spec: LatentDecoderSpec) {
    const { basis, bias, fastest = false } = checkLatentDecoderSpec(spec);
    this.spec = spec;
    this.#backend = backend;
    this.#native = created(backend, 'createLatentDecoder', () => {
      const { LatentDecoder: Native } = backend.coding;
      return new Native(basis, bias, bias.length, fastest);
    });
  }

  decode(args: DecodeLatentsArgs): void {
    const native = present('decoder', this.#native);
    this.#end(native.decode(...this.#args(args)));
  }

  async decodeAsync(args: DecodeLatentsArgs): Promise<void> {
    const native = present('decoder', this.#native);
    this.#end(await native.decodeAsync(...this.#args(args)));
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #args(args: DecodeLatentsArgs): NativeDecodeLatentsArgs {
    const { latents, tau, out, dtype, threads } = checkDecodeLatents(this.spec, args);
    return [latents, tau, out, DTYPES[dtype].abi, threads];
  }

  #end(status: number): void {
    if (status !== STATUSES.ok) throw nativeFailure(this.#backend, 'decodeLatents', status);
  }
}
