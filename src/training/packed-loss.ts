import * as tf from '@tensorflow/tfjs';
import type { DecodeOptions, Lender, LossCodec, PackedCodes } from '../codecs/codec.js';
import { LossCodecs } from '../codecs/loss-codecs.js';
import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';
import {
  decodeLabelsKl,
  labelOperations,
  requireLabelOperations,
  requireLender,
} from '../nn/backend/operations.js';
import { warnOfPlainBackend } from '../nn/backend/plain-backend.js';

export interface PackedLossOptions extends DecodeOptions {
  /** An archive's `codecParts`, or those of all of its parts, of which one at a time is loaded. */
  readonly codec: CodecParts | readonly CodecParts[];
  /** Temperature of the student; default that of the labels of each batch. */
  readonly tau?: number;
  readonly kernels?: Kernels;
  /** Threads to decode on; 0 (default): all processors. */
  readonly threads?: number;
  /**
   * Whether native TensorFlow computes it, from logits in its own memory to a gradient there, by the operations of
   * `softpack tensorflow install`: `true` requires them, `false` never uses them; default: if they are there. The
   * gradient is the same to the bit.
   */
  readonly device?: boolean;
}

/**
 * KL(y || softmax(z / tau)), averaged over the batch, straight from packed codes: what `kdLoss` gives for the decoded
 * labels y, which never exist. One native call reads the logits and gives loss and gradient.
 *
 * It reads the logits synchronously, unless native TensorFlow has the operations for it: for the backends `wasm`,
 * `tensorflow` and `cpu`.
 *
 * @throws `UNSUPPORTED` for a codec that no kernel decodes inside the loss: let the loader decode its labels.
 */
export class PackedLoss implements Disposable {
  readonly #codecs: LossCodecs;
  readonly #tau: number | undefined;
  readonly #threads: number;
  readonly #device: boolean | undefined;

  constructor({
    codec,
    tau,
    kernels = loadKernels(),
    threads = 0,
    device,
    ...decoding
  }: PackedLossOptions) {
    const instead = "labels: 'probabilities' in the loader, and kdLoss";
    this.#codecs = new LossCodecs({ codec, kernels, decoding, instead });
    this.#tau = tau;
    this.#threads = threads;
    this.#device = device;
  }

  /** A scalar to minimise; `logits` are the student's, [batch, classes]. */
  loss(logits: tf.Tensor, codes: PackedCodes): tf.Scalar {
    warnOfPlainBackend(tf.getBackend());
    const { labels } = codes;
    const codec = this.#codecs.of(codes);
    const [batch, classes] = logits.shape;
    if (logits.rank !== 2 || batch !== labels.length || classes !== codec.classes) {
      throw new SoftpackError('INVALID_ARGUMENT', 'logits and codes do not match', {
        field: 'logits',
        expected: [labels.length, codec.classes],
        found: logits.shape,
      });
    }
    const divergence = tf.customGrad((z, save) => {
      const { value, gradient } = this.#evaluate(codec, codes, z as tf.Tensor);
      (save as tf.GradSaveFunc)([gradient]);
      const gradFunc = (dy: tf.Tensor, [saved]: tf.Tensor[]): tf.Tensor => saved.mul(dy);
      return { value, gradFunc };
    });
    return divergence(logits) as tf.Scalar;
  }

  [Symbol.dispose](): void {
    this.#codecs[Symbol.dispose]();
  }

  #evaluate(codec: LossCodec, { row, labels }: PackedCodes, z: tf.Tensor): Evaluated {
    const [batch, classes] = [labels.length, codec.classes];
    const tau = this.#tau ?? codec.tau;
    const args = { row, labels, tau, scale: 1 / batch, threads: this.#threads };
    const lend = this.#lender(codec);
    if (lend !== undefined) {
      const { losses, gradient } = decodeLabelsKl(lend, args, z);
      return { value: losses.mean(), gradient };
    }
    const losses = new Float32Array(batch);
    const gradient = new Float32Array(batch * classes);
    const logits = z.dataSync<'float32'>();
    const context = { epoch: 0, samples: labels };
    codec.decodeKl({ ...args, context, logits, losses, gradient });
    const value = tf.scalar(losses.reduce((sum, loss) => sum + loss, 0) / batch);
    return { value, gradient: tf.tensor2d(gradient, [batch, classes]) };
  }

  #lender(codec: LossCodec): Lender | undefined {
    if (this.#device === true) {
      requireLabelOperations('device');
      return requireLender(codec);
    }
    const native = this.#device !== false && tf.getBackend() === 'tensorflow';
    return native && labelOperations().state === 'ready' ? codec.lender() : undefined;
  }
}

interface Evaluated {
  readonly value: tf.Scalar;
  readonly gradient: tf.Tensor2D;
}
