import type { CodecParts, CodeLayout } from '../core/codec-parts.js';
import type { ThreadOptions } from '../kernels/types.js';
import type { Codec, DecodeLabelsArgs, LabelContext } from './codec.js';

/** Base of codecs whose labels all take the same number of bits. */
export abstract class FixedCodec implements Codec {
  abstract readonly name: string;
  abstract readonly config: { readonly classes: number; readonly tau: number };
  abstract readonly decoding: string;
  readonly layout: CodeLayout;
  protected readonly bitsPerLabel: number;

  constructor(bitsPerLabel: number) {
    this.bitsPerLabel = bitsPerLabel;
    this.layout = { kind: 'fixed', bitsPerLabel };
  }

  get classes(): number {
    return this.config.classes;
  }

  get tau(): number {
    return this.config.tau;
  }

  get anyTau(): boolean {
    return false;
  }

  abstract encode(
    logits: Float32Array,
    context: LabelContext,
    options?: ThreadOptions,
  ): Promise<Uint8Array>;
  abstract decode(args: DecodeLabelsArgs): void;
  abstract decodeAsync(args: DecodeLabelsArgs): Promise<void>;
  abstract parts(options?: { readonly encoder?: boolean }): CodecParts;

  dispose(): void {}

  [Symbol.dispose](): void {
    this.dispose();
  }
}
