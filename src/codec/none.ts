import { sampleIds } from '../augment/augmenter.js';
import { SoftpackError } from '../errors.js';
import { float16ToFloat32, float32ToFloat16 } from '../labels/half.js';
import { softmaxRows } from '../labels/temperature.js';
import type { Codec, CodecParts, CodeLayout, DecodeLabelsArgs, LabelContext } from './codec.js';

export interface NoneConfig {
  readonly classes: number;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  /** What the half floats are: logits (any temperature later) or probabilities at `tau`. */
  readonly store: 'logits' | 'probabilities';
}

/** Labels as they are, 2 bytes a class: the reference that every ratio is measured against. */
export class NoneCodec implements Codec {
  readonly name = 'none';
  readonly config: NoneConfig;
  readonly layout: CodeLayout;
  readonly decoding: string;

  constructor(config: NoneConfig) {
    this.config = config;
    this.layout = { kind: 'fixed', bitsPerLabel: 16 * config.classes };
    this.decoding =
      config.store === 'logits'
        ? 'a label is one little-endian float16 logit z a class; y = softmax(z / tau)'
        : 'a label is one little-endian float16 probability p a class; y = p / sum(p)';
  }

  static fromParts(parts: CodecParts): NoneCodec {
    const { classes, tau, store } = parts.config;
    const check = (valid: boolean, field: string, expected: string, found: unknown) => {
      if (valid) return;
      const details = { field: `codec config ${field}`, expected, found };
      throw new SoftpackError('INVALID_FILE', 'not a valid none codec', details);
    };
    check(Number.isSafeInteger(classes) && Number(classes) > 0, 'classes', 'a count', classes);
    check(typeof tau === 'number' && tau > 0, 'tau', 'a positive number', tau);
    check(store === 'logits' || store === 'probabilities', 'store', 'logits|probabilities', store);
    return new NoneCodec(parts.config as unknown as NoneConfig);
  }

  get classes(): number {
    return this.config.classes;
  }

  get tau(): number {
    return this.config.tau;
  }

  async encode(logits: Float32Array, _context: LabelContext): Promise<Uint8Array> {
    const { classes, tau, store } = this.config;
    let values = logits;
    if (store === 'probabilities') {
      values = new Float32Array(logits.length);
      softmaxRows(logits, logits.length / classes, classes, tau, values);
    }
    const halves = new Uint16Array(logits.length);
    float32ToFloat16(values, halves);
    return new Uint8Array(halves.buffer);
  }

  decode({ row, labels, out }: DecodeLabelsArgs): void {
    const { classes, tau, store } = this.config;
    const ids = sampleIds(labels);
    const stored = new Uint16Array(classes);
    const bytes = new Uint8Array(stored.buffer);
    const values = new Float32Array(classes);
    for (const [i, id] of ids.entries()) {
      const at = id * 2 * classes;
      if (at + 2 * classes > row.length) {
        const found = { field: 'labels', expected: `< ${row.length / 2 / classes}`, found: id };
        throw new SoftpackError('INVALID_ARGUMENT', 'no such label in this row', found);
      }
      bytes.set(row.subarray(at, at + 2 * classes));
      float16ToFloat32(stored, values);
      if (store === 'logits') softmaxRows(values, 1, classes, tau, values);
      else renormalise(values);
      if (out instanceof Float32Array) out.set(values, i * classes);
      else float32ToFloat16(values, out.subarray(i * classes, (i + 1) * classes));
    }
  }

  async decodeAsync(args: DecodeLabelsArgs): Promise<void> {
    this.decode(args);
  }

  parts(): CodecParts {
    return {
      name: this.name,
      config: { ...this.config },
      tensors: new Map(),
      sampleTensors: new Map(),
    };
  }

  dispose(): void {}

  [Symbol.dispose](): void {}
}

/** Rounding to float16 leaves a sum that is off by up to 2^-11. */
function renormalise(values: Float32Array): void {
  let sum = 0;
  for (const value of values) sum += value;
  for (let i = 0; i < values.length; i++) values[i] /= sum;
}
