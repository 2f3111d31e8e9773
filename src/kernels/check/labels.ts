import { apart, floats, isTypedArray, typedArray } from '../../core/arrays.js';
import { argument, holds } from '../../core/check.js';
import { OUTPUT_ARRAYS, type OutputDtype } from '../../core/dtypes.js';
import type {
  DecodeArgs,
  DecodeKlArgs,
  DecoderSpec,
  EncodeArgs,
  EncoderSpec,
  LabelArray,
  LabelsArgs,
  LentCall,
  Prediction,
  ResidentCodes,
} from '../types.js';
import { choice, given, holdsBits, positive, quotient, size, threads } from './sizes.js';

export interface CheckedEncode extends Required<EncodeArgs> {
  readonly count: number;
}

export interface CheckedLabels {
  readonly codes: Uint8Array;
  /** The object that holds the codes, unless that is the array itself. */
  readonly resident: ResidentCodes | undefined;
  /** First label, if labels are consecutive; unused with a list. */
  readonly start: number;
  readonly count: number;
  readonly list: Uint32Array | undefined;
  readonly prediction: Prediction | undefined;
  readonly threads: number;
}

export interface CheckedDecode extends CheckedLabels {
  readonly out: LabelArray;
  readonly dtype: OutputDtype;
}

export interface CheckedDecodeKl extends CheckedLabels {
  readonly logits: Float32Array;
  readonly tau: number;
  readonly loss: 'kl' | 'cross-entropy';
  readonly losses: Float32Array | undefined;
  readonly gradient: Float32Array | undefined;
  readonly scale: number;
}

export interface CheckedLent extends CheckedLabels {
  readonly tau: number;
  readonly scale: number;
}

export function checkEncode(spec: EncoderSpec, args: EncodeArgs): CheckedEncode {
  const labels = floats('labels', given(args).labels);
  const count = quotient('labels', labels.length, spec.classes, 'classes');
  const bits = (spec.latent / spec.width) * spec.bits;
  const out = typedArray('out', args.out, 'Uint8Array', Math.ceil((count * bits) / 8));
  apart('out', out, { labels });
  return { labels, count, out, threads: threads(args.threads) };
}

export function checkDecode(spec: DecoderSpec, args: DecodeArgs): CheckedDecode {
  const labels = checkLabels(spec, args);
  const dtype = outputDtype(args);
  const length = labels.count * spec.classes;
  const out = typedArray('out', args.out, OUTPUT_ARRAYS[dtype], length);
  apart('out', out, { codes: labels.codes });
  // Not spread: that took half of the time of a call for one label.
  const { codes, resident, start, count, list, prediction, threads: most } = labels;
  return { codes, resident, start, count, list, prediction, threads: most, out, dtype };
}

/** A Uint16Array holds what `outType` says, float16 by default. */
export function outputDtype({ out, outType }: Pick<DecodeArgs, 'out' | 'outType'>): OutputDtype {
  choice('outType', outType, ['float16', 'bfloat16']);
  if (!isTypedArray(out, 'Uint16Array')) return 'F32';
  return outType === 'bfloat16' ? 'BF16' : 'F16';
}

export function checkDecodeKl(spec: DecoderSpec, args: DecodeKlArgs): CheckedDecodeKl {
  if (spec.head.kind === 'identity') {
    argument.fail('head', 'gives no distribution', 'a clamp or softmax head', 'identity');
  }
  const labels = checkLabels(spec, args);
  const { codes, resident, start, count, list, prediction, threads: most } = labels;
  const logits = floats('logits', args.logits, count * spec.classes);
  const { tau, losses, gradient, scale = 1, loss = 'kl' } = args;
  checkScale(tau, scale);
  argument.oneOf(loss, 'loss', ['kl', 'cross-entropy']);
  if (losses !== undefined) {
    floats('losses', losses, count);
    apart('losses', losses, { codes, logits });
  }
  if (gradient !== undefined) {
    floats('gradient', gradient, count * spec.classes);
    const inPlace = gradient.buffer === logits.buffer && gradient.byteOffset === logits.byteOffset;
    apart('gradient', gradient, inPlace ? { codes } : { codes, logits });
    if (losses !== undefined) apart('gradient', gradient, { losses });
  }
  return {
    ...{ codes, resident, start, count, list, prediction, threads: most },
    ...{ logits, tau, loss, losses, gradient, scale },
  };
}

export function checkLent(spec: DecoderSpec, args: LentCall): CheckedLent {
  const labels = checkLabels(spec, args);
  const { tau = 1, scale = 1 } = args;
  checkScale(tau, scale);
  return { ...labels, tau, scale };
}

function checkScale(tau: number, scale: number): void {
  positive('tau', tau);
  const scalable = typeof scale === 'number' && Number.isFinite(Math.fround(scale / tau));
  argument.that(scalable, scale, 'scale', 'a number that gives a finite float32 scale / tau');
}

function checkLabels(spec: DecoderSpec, args: LabelsArgs): CheckedLabels {
  const { codes: held } = given(args);
  const resident = isResident(held) ? held : undefined;
  const codes = checkCodesArray(resident === undefined ? held : resident.host);
  const { start, count, list, last } = labelsOf(args.labels);
  if (count > 0) holdsBits('codes', codes, (last + 1) * spec.stages * spec.bits);
  const prediction = predictionOf(spec, args.prediction, count);
  return { codes, resident, start, count, list, prediction, threads: threads(args.threads) };
}

/** Packed codes, to be read or to be kept resident. */
export function checkCodesArray(codes: unknown): Uint8Array {
  return typedArray('codes', codes, 'Uint8Array');
}

function isResident(codes: unknown): codes is ResidentCodes {
  return holds(() => typeof codes === 'object' && codes !== null && 'host' in codes);
}

function labelsOf(labels: LabelsArgs['labels']): {
  start: number;
  count: number;
  list: Uint32Array | undefined;
  last: number;
} {
  if (isTypedArray(labels, 'Uint32Array')) {
    const list = typedArray('labels', labels, 'Uint32Array');
    let last = 0;
    for (const label of list) if (label > last) last = label;
    return { start: 0, count: list.length, list, last };
  }
  const isRange = holds(() => typeof labels === 'object' && labels !== null && 'start' in labels);
  argument.that(isRange, labels, 'labels', '{start, count} or a Uint32Array');
  const start = size('labels.start', labels.start);
  const count = size('labels.count', labels.count);
  return { start, count, list: undefined, last: start + count - 1 };
}

function predictionOf(
  spec: DecoderSpec,
  prediction: Prediction | undefined,
  count: number,
): Prediction | undefined {
  if (spec.bases === undefined) {
    if (prediction !== undefined) {
      argument.fail('prediction', 'the spec has no bases', 'none', 'some');
    }
    return undefined;
  }
  const given = argument.object(prediction, 'prediction');
  const pairs = typedArray('prediction.pairs', given.pairs, 'Uint32Array', 2 * count);
  const weights = floats('prediction.weights', given.weights, count);
  const rows = spec.bases.length / spec.latent;
  const position = pairs.findIndex((row) => row >= rows);
  if (position >= 0) {
    const found = pairs[position];
    argument.fail(`prediction.pairs[${position}]`, 'no such row', `less than ${rows}`, found);
  }
  const wrong = weights.findIndex((weight) => !(weight >= 0 && weight <= 1));
  if (wrong >= 0) {
    const found = weights[wrong];
    argument.fail(`prediction.weights[${wrong}]`, 'not a share', 'a number in [0, 1]', found);
  }
  return { pairs, weights };
}
