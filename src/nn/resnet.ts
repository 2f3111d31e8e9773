import * as tf from '@tensorflow/tfjs';
import { normaliseWith } from './batch-norm.js';
import type { BatchNormTap, NormStatistics } from './network.js';
import { type CheckpointTensor, type PlannedConv, planResNet } from './resnet-plan.js';

/** Batch norms of torchvision, and of every ResNet made with it. */
const EPSILON = 1e-5;

interface ConvNorm {
  /** Name of the batch norm. */
  readonly norm: string;
  readonly stride: number;
  readonly kernel: tf.Tensor4D;
  readonly gamma: tf.Tensor1D;
  readonly beta: tf.Tensor1D;
  readonly mean: tf.Tensor1D;
  readonly variance: tf.Tensor1D;
}

interface Block {
  /** Two convolutions 3x3, or 1x1, 3x3 and 1x1; ReLU after each but the last, which comes after the sum. */
  readonly inner: readonly ConvNorm[];
  readonly shortcut?: ConvNorm;
}

/**
 * A residual network of torchvision (He et al. 2015, with the stride of bottlenecks in their 3x3 convolution), for inference: the
 * parameters' names and shapes say everything else. A stem of 7x7 has stride 2 and is followed by max-pooling; one of 3x3, which
 * is common for small images, has neither.
 */
export class ResNet implements Disposable {
  readonly classes: number;
  readonly #stem: ConvNorm;
  readonly #pools: boolean;
  readonly #blocks: readonly Block[];
  readonly #head: { readonly kernel: tf.Tensor2D; readonly bias: tf.Tensor1D };

  private constructor(
    stem: ConvNorm,
    blocks: readonly Block[],
    head: { readonly kernel: tf.Tensor2D; readonly bias: tf.Tensor1D },
  ) {
    this.#stem = stem;
    this.#pools = stem.kernel.shape[0] > 3;
    this.#blocks = blocks;
    this.#head = head;
    this.classes = head.bias.shape[0];
  }

  /**
   * @throws `INVALID_FILE` naming the tensor that is missing, left over or of another shape; `UNSUPPORTED` for grouped
   *   convolutions (ResNeXt).
   */
  static async fromCheckpoint(
    path: string,
    tensors: ReadonlyMap<string, CheckpointTensor>,
  ): Promise<ResNet> {
    const plan = planResNet(path, tensors);
    const made: tf.Tensor[] = [];
    const keep = <T extends tf.Tensor>(tensor: T): T => {
      made.push(tensor);
      return tensor;
    };
    const vector = async (name: string) =>
      keep(tf.tensor1d((await tensors.get(name)?.values()) ?? new Float32Array()));
    const convNorm = async ({ conv, norm, stride, shape }: PlannedConv): Promise<ConvNorm> => {
      const values = (await tensors.get(`${conv}.weight`)?.values()) ?? new Float32Array();
      const kernel = tf.tidy(() => tf.tensor4d(values, shape).transpose<tf.Tensor4D>([2, 3, 1, 0]));
      return {
        ...{ norm, stride, kernel: keep(kernel) },
        gamma: await vector(`${norm}.weight`),
        beta: await vector(`${norm}.bias`),
        mean: await vector(`${norm}.running_mean`),
        variance: await vector(`${norm}.running_var`),
      };
    };
    try {
      const stem = await convNorm(plan.stem);
      const blocks: Block[] = [];
      for (const { inner, shortcut } of plan.blocks) {
        const convs: ConvNorm[] = [];
        for (const conv of inner) convs.push(await convNorm(conv));
        const beside = shortcut && { shortcut: await convNorm(shortcut) };
        blocks.push({ inner: convs, ...beside });
      }
      const weights = (await tensors.get('fc.weight')?.values()) ?? new Float32Array();
      const kernel = keep(
        tf.tidy(() => tf.tensor2d(weights, plan.head).transpose<tf.Tensor2D>([1, 0])),
      );
      return new ResNet(stem, blocks, { kernel, bias: await vector('fc.bias') });
    } catch (error) {
      tf.dispose(made);
      throw error;
    }
  }

  /** Whether the stem is that of ImageNet's networks. */
  get isLarge(): boolean {
    return this.#pools;
  }

  /** Names of the batch norms in the order of the forward pass. */
  get norms(): readonly string[] {
    return this.#convs().map(({ norm }) => norm);
  }

  statistics(): readonly NormStatistics[] {
    return this.#convs().map(({ mean, variance }) => ({
      mean: Float32Array.from(mean.dataSync()),
      variance: Float32Array.from(variance.dataSync()),
    }));
  }

  /** Logits [images, classes] of images [images, height, width, 3]; differentiable in the images. */
  apply(images: tf.Tensor4D, tap?: BatchNormTap): tf.Tensor2D {
    return tf.tidy(() => {
      let x = convNormOf(images, this.#stem, tap).relu<tf.Tensor4D>();
      // What is padded with zeros has none below.
      if (this.#pools) x = tf.maxPool(tf.pad(x, sides(1)), 3, 2, 'valid');
      for (const { inner, shortcut } of this.#blocks) {
        let y = x;
        for (const [i, conv] of inner.entries()) {
          y = convNormOf(y, conv, tap);
          if (i < inner.length - 1) y = y.relu();
        }
        x = y.add<tf.Tensor4D>(shortcut ? convNormOf(x, shortcut, tap) : x).relu();
      }
      const features = x.mean<tf.Tensor2D>([1, 2]);
      return tf.matMul(features, this.#head.kernel).add(this.#head.bias);
    });
  }

  [Symbol.dispose](): void {
    for (const { kernel, gamma, beta, mean, variance } of this.#convs()) {
      tf.dispose([kernel, gamma, beta, mean, variance]);
    }
    tf.dispose([this.#head.kernel, this.#head.bias]);
  }

  #convs(): readonly ConvNorm[] {
    const ofBlocks = this.#blocks.flatMap(({ inner, shortcut }) => [
      ...inner,
      ...(shortcut ? [shortcut] : []),
    ]);
    return [this.#stem, ...ofBlocks];
  }
}

function convNormOf(
  x: tf.Tensor4D,
  { norm, kernel, stride, gamma, beta, mean, variance }: ConvNorm,
  tap: BatchNormTap | undefined,
): tf.Tensor4D {
  const pad = (kernel.shape[0] - 1) / 2;
  // "Same" pads one side more at stride 2, and native TensorFlow has no gradient for explicit padding.
  const padded = stride > 1 && pad > 0 ? tf.pad(x, sides(pad)) : x;
  const y = tf.conv2d(padded, kernel, stride, stride > 1 ? 'valid' : 'same');
  tap?.(norm, y);
  return normaliseWith(y, gamma, beta, EPSILON, mean, variance);
}

function sides(pad: number): [number, number][] {
  return [
    [0, 0],
    [pad, pad],
    [pad, pad],
    [0, 0],
  ];
}
