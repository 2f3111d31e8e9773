import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import { ConfigCheck, type ConfigErrorCode } from './config-check.js';
import { clampHead, LabelwiseCodec } from './labelwise.js';
import { float16Tensor, readFloat16, requireTensor, throughFloat16 } from './tensors.js';

export interface MeanConfig {
  readonly classes: number;
  readonly tau: number;
  /** Groups of samples with one label each. */
  readonly groups: number;
  readonly samples: number;
}

/** Least float16 normal: a floor that only exact zeros of the stored means can reach. */
const FLOOR = 2 ** -24;

/**
 * No bits a label: every label of a group of samples (a class, or one sample) is the group's mean. The control
 * that any codec which spends bits must beat.
 */
export class MeanCodec extends LabelwiseCodec {
  readonly name = 'mean';
  readonly config: MeanConfig;
  readonly decoding =
    'a label has no bits; v = means[group[sample]]; y = max(v, 2^-24) / sum(max(v, 2^-24))';
  /** [groups, classes]: mean labels times `classes`, near 1 where float16 is finest. */
  readonly means: Float32Array;
  /** [samples]. */
  readonly group: Uint32Array;

  constructor(config: MeanConfig, means: Float32Array, group: Uint32Array) {
    super(0);
    this.config = checkMeanConfig(config);
    this.means = throughFloat16('means', means);
    this.group = group;
  }

  static fromParts(parts: CodecParts): MeanCodec {
    const config = checkMeanConfig(parts.config as unknown as MeanConfig, 'INVALID_FILE');
    const { groups, classes, samples } = config;
    const means = readFloat16(parts.tensors, 'means', [groups, classes]);
    const bytes = requireTensor(parts.sampleTensors, 'group', 'U32', [samples]);
    const group = new Uint32Array(bytes.slice().buffer);
    const check = new ConfigCheck('mean', 'INVALID_FILE');
    for (const found of group) check.that(found < groups, 'group', `less than ${groups}`, found);
    return new MeanCodec(config, means, group);
  }

  async encode(): Promise<Uint8Array> {
    return new Uint8Array(0);
  }

  protected decodeLabel(
    _row: Uint8Array,
    _position: number,
    values: Float32Array,
    sample: number,
  ): void {
    const { classes, samples } = this.config;
    if (!(sample < samples)) {
      throw new SoftpackError('INVALID_ARGUMENT', 'no such sample', {
        field: 'context.samples',
        expected: `less than ${samples}`,
        found: sample,
      });
    }
    const at = this.group[sample] * classes;
    values.set(this.means.subarray(at, at + classes));
    clampHead(values, FLOOR);
  }

  parts(): CodecParts {
    const { groups, classes, samples } = this.config;
    const data = new Uint8Array(this.group.slice().buffer);
    return {
      name: this.name,
      config: { ...this.config },
      tensors: new Map([['means', float16Tensor(this.means, [groups, classes])]]),
      sampleTensors: new Map([['group', { dtype: 'U32', shape: [samples], data }]]),
    };
  }
}

export function checkMeanConfig(
  config: MeanConfig,
  code: ConfigErrorCode = 'INVALID_ARGUMENT',
): MeanConfig {
  const { classes, tau, groups, samples } = config;
  const check = new ConfigCheck('mean', code);
  check.count(classes, 'classes');
  check.positive(tau, 'tau');
  check.count(groups, 'groups');
  check.count(samples, 'samples', 1, 2 ** 32);
  return { classes, tau, groups, samples };
}
