import type { CodecParts } from '../core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '../core/half.js';
import { softmaxRows } from '../labels/temperature.js';
import type { LabelContext } from './codec.js';
import { ConfigCheck } from './config-check.js';
import { invalidCodes, LabelwiseCodec } from './labelwise.js';

export interface NoneConfig {
  readonly classes: number;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  /** What the half floats are: logits (any temperature later) or probabilities at `tau`. */
  readonly store: 'logits' | 'probabilities';
}

/** Labels as they are, 2 bytes a class: the reference that every ratio is measured against. */
export class NoneCodec extends LabelwiseCodec {
  readonly name = 'none';
  readonly config: NoneConfig;
  readonly decoding: string;

  constructor(config: NoneConfig) {
    super(16 * config.classes);
    this.config = config;
    this.decoding =
      config.store === 'logits'
        ? 'a label is one little-endian float16 logit z a class; y = softmax(z / tau)'
        : 'a label is one little-endian float16 probability p a class; y = p / sum(p)';
  }

  static fromParts(parts: CodecParts): NoneCodec {
    const config = parts.config as unknown as NoneConfig;
    const check = new ConfigCheck('none', 'INVALID_FILE');
    check.count(config.classes, 'classes');
    check.positive(config.tau, 'tau');
    check.oneOf(config.store, 'store', ['logits', 'probabilities']);
    return new NoneCodec(config);
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

  protected decodeLabel(row: Uint8Array, position: number, values: Float32Array): void {
    const { classes, tau, store } = this.config;
    const at = position / 8;
    const halves = new Uint16Array(row.slice(at, at + 2 * classes).buffer);
    float16ToFloat32(halves, values);
    for (const value of values) {
      if (!Number.isFinite(value)) throw invalidCodes('finite values', value);
    }
    if (store === 'logits') softmaxRows(values, 1, classes, tau, values);
    else renormalise(values);
  }

  parts(): CodecParts {
    return {
      name: this.name,
      config: { ...this.config },
      tensors: new Map(),
      sampleTensors: new Map(),
    };
  }
}

/** Rounding to float16 leaves a sum that is off by up to 2^-11. */
function renormalise(values: Float32Array): void {
  let sum = 0;
  for (const value of values) {
    if (value < 0) throw invalidCodes('probabilities', value);
    sum += value;
  }
  if (sum === 0) throw invalidCodes('a positive sum', sum);
  for (let i = 0; i < values.length; i++) values[i] /= sum;
}
