import * as tf from '@tensorflow/tfjs';
import {
  type DecodeOptions,
  isLossCodec,
  type LossCodec,
  type PackedCodes,
} from '../codecs/codec.js';
import { loadCodec } from '../codecs/registry.js';
import type { CodecParts } from '../core/codec-parts.js';
import { warnOfPlainBackend } from '../core/plain-backend.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';

export interface PackedLossOptions extends DecodeOptions {
  /** An archive's `codecParts`, or those of all of its parts, of which one at a time is loaded. */
  readonly codec: CodecParts | readonly CodecParts[];
  /** Temperature of the student; default that of the labels of each batch. */
  readonly tau?: number;
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
  readonly #parts: readonly CodecParts[];
  readonly #load: (parts: CodecParts) => LossCodec;
  readonly #tau: number | undefined;
  readonly #threads: number;
  #part = 0;
  #codec: LossCodec;

  constructor({
    codec,
    tau,
    kernels = loadKernels(),
    threads = 0,
    ...decoding
  }: PackedLossOptions) {
    this.#parts = 'name' in codec ? [codec] : codec;
    this.#load = (parts) => loadLossCodec(parts, kernels, decoding);
    this.#tau = tau;
    this.#threads = threads;
    this.#codec = this.#load(this.#partAt(0));
  }

  /** A scalar to minimise; `logits` are the student's, [batch, classes]. */
  loss(logits: tf.Tensor, { row, labels, part = 0, tau: ofLabels }: PackedCodes): tf.Scalar {
    warnOfPlainBackend(tf.getBackend());
    const codec = this.#codecOf(part);
    if (ofLabels !== undefined && ofLabels !== codec.tau) throw otherTau(codec.tau, ofLabels);
    const [batch, classes] = logits.shape;
    if (logits.rank !== 2 || batch !== labels.length || classes !== codec.classes) {
      throw new SoftpackError('INVALID_ARGUMENT', 'logits and codes do not match', {
        field: 'logits',
        expected: [labels.length, codec.classes],
        found: logits.shape,
      });
    }
    const divergence = tf.customGrad((z, save) => {
      const losses = new Float32Array(batch);
      const gradient = new Float32Array(batch * classes);
      codec.decodeKl({
        ...{ row, labels, context: { epoch: 0, samples: labels } },
        ...{ logits: (z as tf.Tensor).dataSync<'float32'>(), tau: this.#tau ?? codec.tau },
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

  #codecOf(part: number): LossCodec {
    if (part === this.#part) return this.#codec;
    const codec = this.#load(this.#partAt(part));
    this.#codec.dispose();
    this.#codec = codec;
    this.#part = part;
    return codec;
  }

  #partAt(part: number): CodecParts {
    const parts = this.#parts[part];
    if (parts !== undefined) return parts;
    throw new SoftpackError('INVALID_ARGUMENT', 'codes of a part whose codec was not given', {
      field: 'codec',
      expected: 'archive.parts.map(({ codecParts }) => codecParts)',
      found: `${this.#parts.length} of at least ${part + 1}`,
    });
  }
}

function loadLossCodec(parts: CodecParts, kernels: Kernels, decoding: DecodeOptions): LossCodec {
  const loaded = loadCodec(parts, kernels, decoding);
  if (isLossCodec(loaded)) return loaded;
  loaded.dispose();
  throw new SoftpackError('UNSUPPORTED', 'no loss on the codes of this codec', {
    field: 'codec',
    expected: "labels: 'probabilities' in the loader, and kdLoss",
    found: parts.name,
  });
}

function otherTau(expected: number, found: number): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'no loss on codes at another temperature', {
    field: 'tau',
    expected: `${expected}, or labels: 'probabilities' in the loader, and kdLoss`,
    found,
  });
}
