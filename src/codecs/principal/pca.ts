import type { CodecTraining } from '../descriptor.js';
import { principalComponents } from '../math/eigen.js';
import { trainingRandom } from '../training.js';
import { type PrincipalCodec, principalCodec } from './codec.js';
import {
  centre,
  principalDescriptor,
  requireEnoughLabels,
  SPARE_COMPONENTS,
} from './descriptor.js';

export const PCA = principalDescriptor(
  'pca',
  'float16 coefficients of the leading principal components',
  trainPca,
);

async function trainPca(k: number, context: CodecTraining): Promise<PrincipalCodec> {
  const { classes, tau, eps, kernels } = context;
  const labels = await context.draw();
  const rows = requireEnoughLabels('pca', labels, classes, k);
  const bias = centre(labels, classes);
  const covariance = new Float32Array(classes * classes);
  const shape = { rows: classes, inner: rows, columns: classes, transposeA: true };
  await kernels.projectAsync({ a: labels, b: labels, out: covariance, ...shape });
  const random = trainingRandom(context);
  const rank = Math.min(classes, rows, k + SPARE_COMPONENTS);
  const found = await principalComponents(covariance, classes, rank, kernels, random);
  const deviation = Math.sqrt(found.variances[0] / rows);
  const config = { classes, tau, k, eps };
  return principalCodec('pca', config, { ...found, bias, deviation }, kernels);
}
