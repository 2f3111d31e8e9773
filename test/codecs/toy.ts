import type { Codec } from '#src/codecs/codec.js';
import { argumentChecker, type ClampedConfig, checkClamped, configOf } from '#src/codecs/config.js';
import type { CodecDescriptor, RatioChoice } from '#src/codecs/descriptor.js';
import { clampHead, LabelwiseCodec } from '#src/codecs/labelwise.js';
import { largestFitting, unitsForRatio } from '#src/codecs/size-search.js';
import { codecShape } from '#src/codecs/tensors.js';
import { readBits, writeBits } from '#src/core/bits.js';
import type { FieldChecker } from '#src/core/check.js';
import type { CodecParts } from '#src/core/codec-parts.js';
import { softmaxRows } from '#src/labels/temperature.js';

/** A codec that softpack does not have: every probability rounded to `bits` bits. */

interface RoundedConfig extends ClampedConfig {
  readonly bits: number;
}

function checkRounded(config: RoundedConfig, check: FieldChecker): RoundedConfig {
  checkClamped(config, check);
  check.count(config.bits, 'bits', 1, 24);
  return config;
}

class RoundedCodec extends LabelwiseCodec {
  readonly name = 'rounded';
  readonly decoding =
    'a label is an integer of `bits` bits per class, in units of 1 / (2^bits - 1)';
  readonly config: RoundedConfig;

  constructor(config: RoundedConfig) {
    super(config.classes * config.bits);
    this.config = checkRounded(config, argumentChecker('rounded'));
  }

  async encode(logits: Float32Array): Promise<Uint8Array> {
    const { classes, tau, bits } = this.config;
    const labels = new Float32Array(logits.length);
    softmaxRows(logits, logits.length / classes, classes, tau, labels);
    const codes = new Uint8Array(Math.ceil((labels.length * bits) / 8));
    for (const [i, p] of labels.entries()) {
      writeBits(codes, i * bits, bits, Math.round(p * (2 ** bits - 1)));
    }
    return codes;
  }

  protected decodeLabel(row: Uint8Array, position: number, values: Float32Array): void {
    const { bits, eps } = this.config;
    for (let j = 0; j < values.length; j++) {
      values[j] = readBits(row, position + j * bits, bits) / (2 ** bits - 1);
    }
    clampHead(values, eps);
  }

  parts(): CodecParts {
    const config = { ...this.config };
    return { name: this.name, config, tensors: new Map(), sampleTensors: new Map() };
  }
}

interface RoundedSized {
  readonly name: 'rounded';
  readonly bits: number;
}

export const ROUNDED: CodecDescriptor<
  RoundedSized,
  Readonly<{ name: 'rounded' } & (RatioChoice | { bits: number })>
> = {
  name: 'rounded',
  parameters: [{ name: 'bits', words: 'bits per class', kind: 'size' }],
  docs: { label: 'rounded probabilities', bits: 'bits C', besides: '' },
  sized(choice, { classes }) {
    if (!('ratio' in choice)) return choice;
    const { ratio } = choice;
    return { name: 'rounded', bits: unitsForRatio('rounded', { classes, ratio }, classes, 16) };
  },
  check({ bits }, { classes, tau, eps }, checker) {
    checkRounded({ classes, tau, eps, bits }, checker);
  },
  forBytes: (request) => largestFitting(request, 16, (bits) => ({ name: 'rounded', bits })),
  shape: ({ bits }, { classes }) => codecShape('rounded', bits * classes),
  async train({ bits }, { classes, tau, eps }) {
    return { codec: new RoundedCodec({ classes, tau, eps, bits }) };
  },
  load: (parts): Codec => new RoundedCodec(configOf(parts, checkRounded)),
};
