import type { CodecDescriptor, RatioChoice } from '../descriptor.js';
import { codecShape } from '../tensors.js';
import { VqaeCodec } from './codec.js';
import { checkVqaeConfig, fewestLabels } from './config.js';
import { type VqaeSized, vqaeLevelSet } from './level-set.js';
import { checkVqaeTraining } from './options.js';
import { vqaeForRatio } from './plan.js';
import { VqaeTrainer } from './trainer.js';

export const VQAE: CodecDescriptor<
  VqaeSized,
  Readonly<{ name?: 'vqae' } & (RatioChoice | { dh: number; dc: number; k: number })>
> = {
  name: 'vqae',
  parameters: [
    { name: 'dh', words: 'latent length, a multiple of dc', kind: 'size' },
    { name: 'dc', words: 'segment length', kind: 'size' },
    { name: 'k', words: 'codewords, a power of two', kind: 'size' },
  ],
  docs: {
    label: "indices of codewords of a learnt linear autoencoder (the paper's)",
    bits: '(dh / dc) log2 k',
    besides: 'D: 4 C dh, codebook: 4 k dc, bias: 4 C',
    numpy: `q = fields(row, n, *[int(np.log2(c['k']))] * (c['dh'] // c['dc']))
return clamp(t['codebook'][q].reshape(n, -1) @ t['decoder'] + t['bias'], c['eps'])`,
  },
  steps: true,
  sized(choice, { classes, labels }) {
    if (!('ratio' in choice)) return { ...choice, name: 'vqae' };
    return { name: 'vqae', ...vqaeForRatio(classes, choice.ratio, labels) };
  },
  check({ dh, dc, k }, { classes, tau, eps, training = {} }, checker) {
    checkVqaeConfig({ classes, tau, eps, dh, dc, k }, checker);
    checkVqaeTraining(training, checker);
  },
  labelsNeeded: fewestLabels,
  /** P, D and the codebook, their gradients and two moments each, and the covariance that they start from. */
  trainingBytes: ({ dh, dc, k }, { classes }) =>
    4 * (8 * classes * dh + 4 * k * dc + classes * classes),
  forBytes(request) {
    const settings = vqaeLevelSet(request);
    return (settings.find(({ suggested }) => suggested) ?? settings[0])?.codec;
  },
  shape: ({ dh, dc, k }, { classes }) =>
    codecShape('vqae', (dh / dc) * Math.log2(k), [
      { name: 'decoder', dtype: 'F32', shape: [dh, classes] },
      { name: 'codebook', dtype: 'F32', shape: [k, dc] },
      { name: 'bias', dtype: 'F32', shape: [classes] },
    ]),
  async train({ dh, dc, k }, context) {
    const { classes, tau, eps, kernels, checkpoints, signal, onProgress } = context;
    const labels = await context.draw();
    const config = { classes, dh, dc, k, tau, eps };
    const trainer = new VqaeTrainer(config, labels, kernels, context.training);
    const training = await trainer.train({
      signal,
      checkpoints,
      onProgress: ({ step, steps, losses }) => onProgress?.(step, steps, losses.reconstruction),
    });
    return { codec: training.codec, training };
  },
  load: (parts, kernels, options) => VqaeCodec.fromParts(parts, kernels, options),
  /** S12: codes, float32 decoder D and codebook. */
  paperBytes: ({ dh, dc, k }, { classes, labels }) =>
    (labels * (dh / dc) * Math.log2(k)) / 8 + classes * dh * 4 + k * dc * 4,
};
