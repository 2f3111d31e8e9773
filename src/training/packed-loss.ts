import * as tf from '@tensorflow/tfjs';
import {
  type DecodeOptions,
  isLossCodec,
  type LossCodec,
  type PackedCodes,
} from '../codecs/codec.js';
import { loadCodec } from '../codecs/registry.js';
import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';

export interface PackedLossOptions extends DecodeOptions {
  /** An archive's `codecParts`. */
  readonly codec: CodecParts;
  /** Temperature of the student: that of the labels, `tau` of the batches. */
  readonly tau: number;
  readonly kernels?: Kernels;
  /** Threads to decode on; 0 (default): all processors. */
  readonly threads?: number;
}

/**
 * KL(y || softmax(z / tau)), averaged over the batch, straight from packed codes: what `kdLoss` gives for the decoded
 * labels y, which never exist. One native call reads the logits and gives loss and gradient.
 *
 * It reads the logits synchronously: for the backends `wasm`, `tensorflow` and `cpu`.
 *
 * @throws `UNSUPPORTED` for a codec that no kernel decodes inside the loss: let the loader decode its labels.
 */
export class PackedLoss implements Disposable {
  readonly #codec: LossCodec;
  readonly #tau: number;
  readonly #threads: number;

  constructor({
    codec,
    tau,
    kernels = loadKernels(),
    threads = 0,
    ...decoding
  }: PackedLossOptions) {
    const loaded = loadCodec(codec, kernels, decoding);
    if (!isLossCodec(loaded)) {
      loaded.dispose();
      throw new SoftpackError('UNSUPPORTED', 'no loss on the codes of this codec', {
        field: 'codec',
        expected: "labels: 'probabilities' in the loader, and kdLoss",
        found: codec.name,
      });
    }
    this.#codec = loaded;
    this.#tau = tau;
    this.#threads = threads;
  }

  /** A scalar to minimise; `logits` are the student's, [batch, classes]. */
  loss(logits: tf.Tensor2D, { row, labels }: PackedCodes): tf.Scalar {
    const [batch, classes] = logits.shape;
    if (batch !== labels.length || classes !== this.#codec.classes) {
      throw new SoftpackError('INVALID_ARGUMENT', 'logits and codes do not match', {
        field: 'logits',
        expected: [labels.length, this.#codec.classes],
        found: [batch, classes],
      });
    }
    const divergence = tf.customGrad((z, save) => {
      const losses = new Float32Array(batch);
      const gradient = new Float32Array(batch * classes);
      this.#codec.decodeKl({
        ...{ row, labels, context: { epoch: 0, samples: labels } },
        ...{ logits: (z as tf.Tensor).dataSync<'float32'>(), tau: this.#tau },
        ...{ losses, gradient, scale: 1 / batch, threads: this.#threads },
      });
      (save as tf.GradSaveFunc)([tf.tensor2d(gradient, [batch, classes])]);
      const value = tf.scalar(losses.reduce((sum, loss) => sum + loss, 0) / batch);
      const gradFunc = (dy: tf.Tensor, [saved]: tf.Tensor[]): tf.Tensor => saved.mul(dy);
      return { value, gradFunc };
    });
    return divergence(logits) as tf.Scalar;
  }

  [Symbol.dispose](): void {
    this.#codec.dispose();
  }
}
