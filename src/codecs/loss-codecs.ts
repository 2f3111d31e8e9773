import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import { type DecodeOptions, isLossCodec, type LossCodec, type PackedCodes } from './codec.js';
import { loadCodec } from './registry.js';

export interface LossCodecsOptions {
  /** An archive's `codecParts`, or those of all of its parts. */
  readonly codec: CodecParts | readonly CodecParts[];
  readonly kernels: Kernels;
  readonly decoding: DecodeOptions;
  /** What to do about a codec that no kernel decodes. */
  readonly instead: string;
}

/** Codecs of an archive's parts whose codes are used as they are: one at a time is loaded, as epochs follow each other. */
export class LossCodecs implements Disposable {
  readonly #parts: readonly CodecParts[];
  readonly #load: (parts: CodecParts) => LossCodec;
  readonly #instead: string;
  #part = 0;
  #codec: LossCodec;

  /** @throws `UNSUPPORTED` for a codec that no kernel decodes. */
  constructor({ codec, kernels, decoding, instead }: LossCodecsOptions) {
    this.#parts = 'name' in codec ? [codec] : codec;
    this.#instead = instead;
    this.#load = (parts) => loadLossCodec(parts, kernels, decoding, instead);
    this.#codec = this.#load(this.#partAt(0));
  }

  /** The codec of some codes, until the next call or the disposal. */
  of({ part = 0, tau }: Pick<PackedCodes, 'part' | 'tau'>): LossCodec {
    if (part !== this.#part) {
      const codec = this.#load(this.#partAt(part));
      this.#codec.dispose();
      this.#codec = codec;
      this.#part = part;
    }
    if (tau === undefined || tau === this.#codec.tau) return this.#codec;
    throw new SoftpackError('UNSUPPORTED', 'no use of codes at another temperature', {
      field: 'tau',
      expected: `${this.#codec.tau}, or ${this.#instead}`,
      found: tau,
    });
  }

  [Symbol.dispose](): void {
    this.#codec.dispose();
  }

  #partAt(part: number): CodecParts {
    const parts = this.#parts[part];
    if (parts !== undefined) return parts;
    throw new SoftpackError('INVALID_ARGUMENT', 'codes of a part whose codec was not given', {
      field: 'codec',
      expected: 'archive.parts.map(({ codecParts }) => codecParts)',
      found: `${this.#parts.length} of at least ${part + 1}`,
    });
  }
}

function loadLossCodec(
  parts: CodecParts,
  kernels: Kernels,
  decoding: DecodeOptions,
  instead: string,
): LossCodec {
  const loaded = loadCodec(parts, kernels, decoding);
  if (isLossCodec(loaded)) return loaded;
  loaded.dispose();
  throw new SoftpackError('UNSUPPORTED', 'no kernel decodes the codes of this codec', {
    field: 'codec',
    expected: instead,
    found: parts.name,
  });
}
