import type { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '../core/half.js';
import { halfLogits } from '../labels/logits.js';
import { softmaxRows } from '../labels/temperature.js';
import type { LabelContext } from './codec.js';
import { type CommonConfig, checkCommon, configOf } from './config.js';
import type { CodecDescriptor } from './descriptor.js';
import { invalidCodes, LabelwiseCodec, renormalise } from './labelwise.js';
import { codecShape } from './tensors.js';

export interface NoneConfig extends CommonConfig {
  /** Content of the half floats: logits (any temperature later) or probabilities at `tau`. */
  readonly store: 'logits' | 'probabilities';
}

const STORES = ['logits', 'probabilities'] as const;

function checkNoneConfig(config: NoneConfig, check: FieldChecker): NoneConfig {
  checkCommon(config, check);
  check.oneOf(config.store, 'store', STORES);
  return config;
}

/** Uncompressed labels, 2 bytes per class: the reference that every ratio is measured against. */
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

  override get anyTau(): boolean {
    return this.config.store === 'logits';
  }

  static fromParts(parts: CodecParts): NoneCodec {
    return new NoneCodec(configOf(parts, checkNoneConfig));
  }

  async encode(logits: Float32Array, _context: LabelContext): Promise<Uint8Array> {
    const { classes, tau, store } = this.config;
    const halves = new Uint16Array(logits.length);
    if (store === 'logits') {
      halfLogits(logits, classes, halves);
    } else {
      const labels = new Float32Array(logits.length);
      softmaxRows(logits, logits.length / classes, classes, tau, labels);
      float32ToFloat16(labels, halves);
    }
    return new Uint8Array(halves.buffer);
  }

  protected decodeLabel(
    row: Uint8Array,
    position: number,
    values: Float32Array,
    _sample: number,
    tau: number,
  ): void {
    const { classes, store } = this.config;
    const at = position / 8;
    const halves = new Uint16Array(row.slice(at, at + 2 * classes).buffer);
    float16ToFloat32(halves, values);
    for (const value of values) {
      if (!Number.isFinite(value)) throw invalidCodes('finite values', value);
    }
    if (store === 'logits') softmaxRows(values, 1, classes, tau, values);
    else renormalise(values); // Rounding to float16 leaves a sum that is off by up to 2^-11.
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

export interface NoneChoice {
  readonly name: 'none';
  readonly store?: NoneConfig['store'];
}

export const NONE: CodecDescriptor<NoneChoice, NoneChoice> = {
  name: 'none',
  parameters: [
    {
      name: 'store',
      words: 'what the half floats are',
      kind: 'form',
      values: STORES,
      libraryOnly: true,
    },
  ],
  docs: {
    label: 'float16 logits, or probabilities (`store`)',
    bits: '16 C',
    besides: '',
    numpy: `x = half(fields(row, n, *[16] * C))
return softmax(x, c['tau']) if c['store'] == 'logits' else x / x.sum(1, keepdims=True)`,
  },
  anyTau: ({ store = 'logits' }) => store === 'logits',
  sized: (choice) => choice,
  check({ store = 'logits' }, { classes, tau }, checker) {
    checkNoneConfig({ classes, tau, store }, checker);
  },
  shape: (_, { classes }) => codecShape('none', 16 * classes),
  async train({ store = 'logits' }, { classes, tau }) {
    return { codec: new NoneCodec({ classes, tau, store }) };
  },
  load: (parts) => NoneCodec.fromParts(parts),
  /** S11: float16 probabilities. */
  paperBytes: (_, { classes, labels }) => 2 * classes * labels,
};
