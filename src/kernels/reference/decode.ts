import { readBits } from '../../core/bits.js';
import type { OutputDtype } from '../../core/dtypes.js';
import { toBfloat, toHalf } from '../../core/half.js';
import { SoftpackError } from '../../errors.js';
import type { CheckedDecode, CheckedDecodeKl, CheckedLabels } from '../check/labels.js';
import type { CheckedDecodeLatents } from '../check/latents.js';
import type { LatentDecoderSpec } from '../latents.js';
import type { DecoderSpec, Head } from '../types.js';

/** exp of this is about the least normal float32, so that no probability of a softmax head is zero. */
const LEAST_EXPONENT = -87;

/** As native/cpu/decoder.cc has it: close to the largest float32. */
const LARGEST_SUM = 3.4e38;

const CONVERSIONS: Readonly<Record<OutputDtype, (value: number) => number>> = {
  F32: Number,
  F16: toHalf,
  BF16: toBfloat,
};

/** Latent vector, basis product and head of one label after the other, in float64. */
export function decode(spec: DecoderSpec, args: CheckedDecode): void {
  const { classes } = spec;
  const { out } = args;
  const convert = CONVERSIONS[args.dtype];
  forEachLabel(spec, args, (i, values) => {
    for (let j = 0; j < classes; j++) out[i * classes + j] = convert(values[j] as number);
  });
}

/** Basis product and softmax of one latent vector after the other, in float64. */
export function decodeLatents(
  { basis, bias }: LatentDecoderSpec,
  args: CheckedDecodeLatents,
): void {
  const classes = bias.length;
  const length = basis.length / classes;
  const values = new Float64Array(classes);
  const head = { kind: 'softmax', tau: args.tau } as const;
  const convert = CONVERSIONS[args.dtype];
  for (let i = 0; i < args.count; i++) {
    const latent = args.latents.subarray(i * length, (i + 1) * length);
    multiplyByBasis({ classes, basis, bias }, latent, values);
    requireFinite(head, values, i);
    applyHead(head, values);
    for (let j = 0; j < classes; j++) args.out[i * classes + j] = convert(values[j] as number);
  }
}

/** KL or cross-entropy from the definition: labels y, p = softmax(logits / tau). */
export function decodeKl(spec: DecoderSpec, args: CheckedDecodeKl): void {
  const { classes } = spec;
  const { logits, tau, scale, losses, gradient } = args;
  forEachLabel(spec, args, (i, y) => {
    const exponents = Float64Array.from(y, (_, j) => (logits[i * classes + j] as number) / tau);
    const greatest = exponents.reduce((a, b) => Math.max(a, b), -Infinity);
    const sum = exponents.reduce((total, exponent) => total + Math.exp(exponent - greatest), 0);
    const logSum = greatest + Math.log(sum);
    let loss = 0;
    for (let j = 0; j < classes; j++) {
      const label = y[j] as number;
      const logP = (exponents[j] as number) - logSum;
      loss += label * ((args.loss === 'kl' ? Math.log(label) : 0) - logP);
      if (gradient !== undefined) {
        gradient[i * classes + j] = ((Math.exp(logP) - label) * scale) / tau;
      }
    }
    if (losses !== undefined) losses[i] = loss;
  });
}

function forEachLabel(
  spec: DecoderSpec,
  args: CheckedLabels,
  use: (i: number, label: Float64Array) => void,
): void {
  const latent = new Float64Array(spec.latent);
  const values = new Float64Array(spec.classes);
  for (let i = 0; i < args.count; i++) {
    addCodewords(spec, args.codes, labelAt(args, i), latent);
    addPrediction(spec, args, i, latent);
    multiplyByBasis(spec, latent, values);
    requireFinite(spec.head, values, labelAt(args, i));
    applyHead(spec.head, values);
    use(i, values);
  }
}

function addPrediction(
  { bases, latent: length }: DecoderSpec,
  { prediction }: CheckedLabels,
  i: number,
  latent: Float64Array,
): void {
  if (bases === undefined || prediction === undefined) return;
  const [a, b] = [prediction.pairs[2 * i] as number, prediction.pairs[2 * i + 1] as number];
  const weight = prediction.weights[i] as number;
  for (let d = 0; d < length; d++) {
    const first = bases[a * length + d] as number;
    const second = bases[b * length + d] as number;
    (latent[d] as number) += weight * first + (1 - weight) * second;
  }
}

/** Throws for the first index beyond the codebook among the requested labels. */
export function checkCodes(spec: DecoderSpec, args: CheckedLabels): void {
  for (let i = 0; i < args.count; i++) {
    const label = labelAt(args, i);
    for (let stage = 0; stage < spec.stages; stage++) codeAt(spec, args.codes, label, stage);
  }
}

/** Throws for the first label whose values the head cannot use. */
export function checkValues(spec: DecoderSpec, args: CheckedLabels): void {
  forEachLabel(spec, args, () => {});
}

function labelAt(args: CheckedLabels, i: number): number {
  return args.list === undefined ? args.start + i : (args.list[i] as number);
}

function codeAt(spec: DecoderSpec, codes: Uint8Array, label: number, stage: number): number {
  const code = readBits(codes, (label * spec.stages + stage) * spec.bits, spec.bits);
  if (code >= spec.levels) {
    throw new SoftpackError('INVALID_ARGUMENT', 'an index beyond the codebook', {
      field: 'codes',
      expected: `less than ${spec.levels}`,
      found: `${code} at stage ${stage} of label ${label}`,
    });
  }
  return code;
}

function addCodewords(
  spec: DecoderSpec,
  codes: Uint8Array,
  label: number,
  latent: Float64Array,
): void {
  latent.fill(0);
  for (let stage = 0; stage < spec.stages; stage++) {
    const code = codeAt(spec, codes, label, stage);
    const codeword = stage * spec.codebookStride + code * spec.width;
    for (let i = 0; i < spec.width; i++) {
      (latent[stage * spec.latentStep + i] as number) += spec.codebooks[codeword + i] as number;
    }
  }
}

function multiplyByBasis(
  spec: Pick<DecoderSpec, 'classes' | 'basis' | 'bias'>,
  latent: Float64Array | Float32Array,
  values: Float64Array,
): void {
  const { classes, basis } = spec;
  if (spec.bias === undefined) values.fill(0);
  else values.set(spec.bias);
  for (const [i, factor] of latent.entries()) {
    for (let j = 0; j < classes; j++) {
      (values[j] as number) += factor * (basis[i * classes + j] as number);
    }
  }
}

function applyHead(head: Head, values: Float64Array): void {
  if (head.kind === 'identity') return;
  if (head.kind === 'clamp') {
    for (const [j, value] of values.entries()) values[j] = Math.max(value, head.eps);
  } else {
    const greatest = values.reduce((a, b) => Math.max(a, b), -Infinity);
    for (const [j, value] of values.entries()) {
      values[j] = Math.exp(Math.max((value - greatest) / head.tau, LEAST_EXPONENT));
    }
  }
  const sum = values.reduce((a, b) => a + b, 0);
  for (const [j, value] of values.entries()) values[j] = value / sum;
}

/**
 * Throws `NON_FINITE` unless a head makes a distribution of these values: all of them, and of a clamp head their sum,
 * must be within float32, which other backends compute in.
 */
function requireFinite(head: Head, values: Float64Array, label: number): void {
  if (head.kind === 'identity') return;
  const wrong = values.findIndex((value) => !Number.isFinite(Math.fround(value)));
  const eps = head.kind === 'clamp' ? head.eps : 0;
  const sum = values.reduce((total, value) => total + Math.max(value, eps), 0);
  if (wrong < 0 && (head.kind !== 'clamp' || sum <= LARGEST_SUM)) return;
  throw new SoftpackError('NON_FINITE', "the decoder's tensors give values beyond float32", {
    field: 'decoder',
    expected: 'tensors of moderate size',
    found:
      wrong < 0
        ? `values that sum to ${sum} in label ${label}`
        : `${values[wrong]} for class ${wrong} of label ${label}`,
  });
}
