import { SoftpackError } from '../../errors.js';
import { argumentChecker, checkClamped } from '../config.js';
import type { CodecDescriptor, CodecTraining, RatioChoice } from '../descriptor.js';
import { largestFitting, unitsForRatio } from '../size-search.js';
import { codecShape } from '../tensors.js';
import { PrincipalCodec, type PrincipalName } from './codec.js';

export interface PrincipalSized {
  readonly name: PrincipalName;
  readonly k: number;
}

export type PrincipalChoice = Readonly<{ name: PrincipalName } & (RatioChoice | { k: number })>;

/** Common part of PCA and robust PCA: everything except the search for components. */
export function principalDescriptor(
  name: PrincipalName,
  label: string,
  train: (k: number, context: CodecTraining) => Promise<PrincipalCodec>,
): CodecDescriptor<PrincipalSized, PrincipalChoice> {
  return {
    name,
    parameters: [{ name: 'k', words: 'components', kind: 'size' }],
    docs: {
      label,
      bits: '16 k',
      besides: 'components: 2 k C, bias: 4 C',
      numpy: `a = half(fields(row, n, *[16] * c['k']))
return clamp(t['bias'] + c['scale'] * (a @ t['components'].astype(np.float64)), c['eps'])`,
    },
    sized(choice, { classes }) {
      if (!('ratio' in choice)) return choice;
      const k = unitsForRatio(name, { classes, ratio: choice.ratio }, 16, classes);
      return { name, k };
    },
    check({ k }, { classes, tau, eps }, checker) {
      checkClamped({ classes, tau, eps }, checker);
      checker.count(k, 'k', 1, classes);
    },
    labelsNeeded: ({ k }) => k + 1,
    trainingBytes: (_, { classes }) => 4 * classes * classes,
    forBytes(request) {
      return largestFitting(request, request.labels.classes, (k) => ({ name, k }));
    },
    shape: ({ k }, { classes }) =>
      codecShape(name, 16 * k, [
        { name: 'components', dtype: 'F16', shape: [k, classes] },
        { name: 'bias', dtype: 'F32', shape: [classes] },
      ]),
    async train({ k }, context) {
      argumentChecker(name).count(k, 'k', 1, context.classes);
      return { codec: await train(k, context) };
    },
    load: (parts, kernels) => PrincipalCodec.fromParts(parts, kernels),
    /** S16: k float16 coefficients per label, k float16 components. */
    paperBytes: ({ k }, { classes, labels }) => labels * 2 * k + k * classes * 2,
  };
}

/** Components found besides those that are kept: the last ones of an iteration are the slowest to settle. */
export const SPARE_COMPONENTS = 16;

/** The number of labels, checked to be more than the components. */
export function requireEnoughLabels(
  name: PrincipalName,
  labels: Float32Array,
  classes: number,
  k: number,
): number {
  const rows = labels.length / classes;
  if (rows > k) return rows;
  throw new SoftpackError('TOO_FEW_LABELS', `cannot find ${k} components for ${name}`, {
    field: 'labels',
    expected: `at least ${k + 1}`,
    found: rows,
  });
}

/** Subtracts the mean row, and returns it. */
export function centre(labels: Float32Array, classes: number): Float32Array {
  const sums = new Float64Array(classes);
  for (let i = 0; i < labels.length; i++) sums[i % classes] += labels[i];
  const mean = Float32Array.from(sums, (sum) => (sum * classes) / labels.length);
  for (let i = 0; i < labels.length; i++) labels[i] -= mean[i % classes];
  return mean;
}
