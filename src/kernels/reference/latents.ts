import { checkDecodeLatents, checkLatentDecoderSpec } from '../check/latents.js';
import { present } from '../check/sizes.js';
import type { DecodeLatentsArgs, LatentDecoder, LatentDecoderSpec } from '../latents.js';
import { decodeLatents } from './decode.js';

export class ReferenceLatentDecoder implements LatentDecoder {
  readonly spec: LatentDecoderSpec;
  #copied: LatentDecoderSpec | undefined;

  constructor(spec: LatentDecoderSpec) {
    this.spec = checkLatentDecoderSpec(spec);
    this.#copied = { basis: spec.basis.slice(), bias: spec.bias.slice() };
  }

  decode(args: DecodeLatentsArgs): void {
    decodeLatents(present('decoder', this.#copied), checkDecodeLatents(this.spec, args));
  }

  async decodeAsync(args: DecodeLatentsArgs): Promise<void> {
    this.decode(args);
  }

  dispose(): void {
    this.#copied = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
