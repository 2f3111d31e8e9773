import { SoftpackError } from '../errors.js';
import { argMax } from '../labels/arg-max.js';
import { IMAGE_CHANNELS, type Network, predict } from '../nn/network.js';

/** Images with one true class each. */
export interface LabelledImages {
  /** [count, size, size, 3], normalised. */
  readonly xs: Float32Array;
  /** [count] class indices. */
  readonly classes: Uint16Array;
}

/** Images per forward pass: enough to fill the kernels, few enough to stay small in memory. */
const BATCH = 128;

/** Share of images whose highest logit is their true class, 0 to 1. */
export async function evaluateTop1(network: Network, images: LabelledImages): Promise<number> {
  const { classes, inputSize } = network;
  const count = images.classes.length;
  const stride = inputSize ** 2 * IMAGE_CHANNELS;
  if (count === 0 || images.xs.length !== count * stride) {
    throw new SoftpackError('INVALID_ARGUMENT', 'images and classes do not match', {
      field: 'xs',
      expected: count * stride,
      found: images.xs.length,
    });
  }
  let hits = 0;
  for (let start = 0; start < count; start += BATCH) {
    const end = Math.min(count, start + BATCH);
    const logits = await predict(network, images.xs.slice(start * stride, end * stride));
    for (let i = start; i < end; i++) {
      const row = logits.subarray((i - start) * classes, (i - start + 1) * classes);
      if (argMax(row) === images.classes[i]) hits += 1;
    }
  }
  return hits / count;
}
