import { throwIfAborted } from '../../errors.js';
import type { CodecTraining } from '../descriptor.js';
import { robustDecomposition } from '../math/robust-pca.js';
import { thinned, trainingRandom } from '../training.js';
import { type PrincipalCodec, principalCodec } from './codec.js';
import {
  centre,
  principalDescriptor,
  requireEnoughLabels,
  SPARE_COMPONENTS,
} from './descriptor.js';

export const RPCA = principalDescriptor(
  'rpca',
  'the same, of the low-rank part that robust PCA finds',
  trainRobustPca,
);

/** Labels that are decomposed: an iteration takes 2 labels classes^2 flops. */
const ROBUST_LABELS = 4096;
/** Values that the threshold is estimated from. */
const THRESHOLD_VALUES = 2 ** 20;

async function trainRobustPca(k: number, context: CodecTraining): Promise<PrincipalCodec> {
  const { classes, tau, eps, kernels, signal, onProgress } = context;
  const all = await context.draw();
  requireEnoughLabels('rpca', all, classes, k);
  const bias = centre(all, classes);
  const labels = thinned(all, ROBUST_LABELS, classes);
  const rank = Math.min(classes, Math.max(2 * k, k + SPARE_COMPONENTS));
  const found = await robustDecomposition(
    labels,
    classes,
    {
      rank,
      onProgress: (done, total) => {
        throwIfAborted(signal);
        onProgress?.(done, total);
      },
    },
    kernels,
    trainingRandom(context),
  );
  const deviation = found.singularValues[0] / Math.sqrt(labels.length / classes);
  const { components } = found;
  const threshold = outlierThreshold(found.sparse);
  const config = { classes, tau, k, eps };
  return principalCodec('rpca', config, { components, bias, deviation, threshold }, kernels);
}

/** Huber's: 1.345 standard deviations, estimated from the median of what the low-rank part leaves over. */
function outlierThreshold(sparse: Float32Array): number {
  const sizes = thinned(sparse, THRESHOLD_VALUES).map(Math.abs).sort();
  const median = sizes[sizes.length >> 1];
  // If most of it is exactly zero, the mean gives the scale.
  const scale = median > 0 ? median / 0.6745 : sizes.reduce((sum, x) => sum + x, 0) / sizes.length;
  return 1.345 * scale;
}
