import type { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import { argumentChecker, type CommonConfig, checkCommon, configOf } from './config.js';
import type { CodecDescriptor, CodecTraining } from './descriptor.js';
import { clampHead, LabelwiseCodec } from './labelwise.js';
import {
  codecShape,
  float16Tensor,
  invalidTensor,
  readFloat16,
  requireTensor,
  throughFloat16,
} from './tensors.js';

export interface MeanConfig extends CommonConfig {
  /** Groups of samples that share a label. */
  readonly groups: number;
  readonly samples: number;
}

/** Least float16 normal: a floor that only exact zeros of the stored means can reach. */
const FLOOR = 2 ** -24;

/**
 * No bits per label: every label of a group of samples (a class, or one sample) is the group's mean. The control
 * that any codec which spends bits must beat.
 */
class MeanCodec extends LabelwiseCodec {
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

  get knowsSamples(): boolean {
    return true;
  }

  static fromParts(parts: CodecParts): MeanCodec {
    const config = configOf(parts, checkMeanConfig);
    const { groups, classes, samples } = config;
    const means = readFloat16(parts.tensors, 'means', [groups, classes]);
    const bytes = requireTensor(parts.sampleTensors, 'group', 'U32', [samples]);
    const group = new Uint32Array(bytes.slice().buffer);
    const beyond = group.find((number) => number >= groups);
    if (beyond !== undefined) {
      throw invalidTensor('group', 'group out of range', `less than ${groups}`, beyond);
    }
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

function checkMeanConfig(
  config: MeanConfig,
  check: FieldChecker = argumentChecker('mean'),
): MeanConfig {
  const { classes, tau, groups, samples } = config;
  checkCommon(config, check);
  check.count(groups, 'groups', 1, 2 ** 32);
  check.count(samples, 'samples', 1, 2 ** 32);
  return { classes, tau, groups, samples };
}

export interface MeanChoice {
  readonly name: 'mean';
  /** [samples]: samples with the same number share one label. Default: each sample has its own. */
  readonly groups?: Uint32Array;
}

export const MEAN: CodecDescriptor<MeanChoice, MeanChoice> = {
  name: 'mean',
  parameters: [{ name: 'groups', words: 'group of each sample', kind: 'form', libraryOnly: true }],
  docs: {
    label: 'nothing: all labels of a group of samples are their mean',
    bits: '0',
    besides: '2 groups C, 4 samples',
  },
  perSample: true,
  sized: (choice) => choice,
  check({ groups }, { classes, tau, samples }, checker) {
    const given = groups?.length ?? samples;
    checker.that(given === samples, given, 'groups', `one group per sample: ${samples}`);
    checkMeanConfig({ classes, tau, samples, groups: groupCount({ groups }, samples) }, checker);
  },
  shape(choice, { classes, samples }) {
    return codecShape(
      'mean',
      0,
      [{ name: 'means', dtype: 'F16', shape: [groupCount(choice, samples), classes] }],
      [{ name: 'group', dtype: 'U32', shape: [samples] }],
    );
  },
  train: async ({ groups }, context) => ({ codec: await averageGroups(groups, context) }),
  load: (parts) => MeanCodec.fromParts(parts),
};

function groupCount({ groups }: Pick<MeanChoice, 'groups'>, samples: number): number {
  return groups?.reduce((most, group) => Math.max(most, group + 1), 1) ?? samples;
}

async function averageGroups(
  groups: Uint32Array | undefined,
  { classes, samples, tau, scan }: CodecTraining,
): Promise<MeanCodec> {
  const group = groups ?? Uint32Array.from({ length: samples }, (_, i) => i);
  if (group.length !== samples) {
    throw new SoftpackError('INVALID_ARGUMENT', 'number of groups differs from samples', {
      field: 'codec.groups',
      expected: samples,
      found: group.length,
    });
  }
  const count = groupCount({ groups }, samples);
  const sums = new Float64Array(count * classes);
  const members = new Float64Array(count);
  await scan((first, labels) => {
    for (let i = 0; i * classes < labels.length; i++) {
      const at = group[first + i] * classes;
      members[group[first + i]]++;
      for (let j = 0; j < classes; j++) sums[at + j] += labels[i * classes + j];
    }
  });
  const means = Float32Array.from(
    sums,
    (sum, i) => (sum * classes) / Math.max(1, members[Math.floor(i / classes)]),
  );
  return new MeanCodec({ classes, tau, groups: count, samples }, means, group);
}
