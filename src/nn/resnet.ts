import * as tf from '@tensorflow/tfjs';
import { invalidFile, SoftpackError } from '../errors.js';
import { normaliseWith } from './batch-norm.js';
import type { BatchNormTap, NormStatistics } from './network.js';

/** Batch norms of torchvision, and of every ResNet made with it. */
const EPSILON = 1e-5;

/** A tensor of a checkpoint: its shape, and its values when they are wanted. */
export interface CheckpointTensor {
  readonly shape: readonly number[];
  values(): Promise<Float32Array>;
}

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
    const plan = planOf(path, tensors);
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

interface PlannedConv {
  readonly conv: string;
  readonly norm: string;
  readonly stride: number;
  /** [out, in, height, width]. */
  readonly shape: [number, number, number, number];
}

interface Plan {
  readonly stem: PlannedConv;
  readonly blocks: readonly {
    readonly inner: readonly PlannedConv[];
    readonly shortcut?: PlannedConv;
  }[];
  /** [classes, channels]. */
  readonly head: [number, number];
}

const NOT_ONE =
  'not a ResNet of torchvision; for other networks, in Python: torch.onnx.export, and give the .onnx file';

/** Names that a checkpoint may have besides: counters of training steps. */
const COUNTERS = /\.num_batches_tracked$/;

/** Reads the network's form from names and shapes alone. */
function planOf(path: string, tensors: ReadonlyMap<string, CheckpointTensor>): Plan {
  const reader = new PlanReader(path, tensors);
  const stemSize = tensors.get('conv1.weight')?.shape[2] === 3 ? 3 : 7;
  const stem = reader.conv('conv1', 'bn1', 3, stemSize, stemSize === 3 ? 1 : 2);
  let [channels] = stem.shape;
  const blocks: { inner: PlannedConv[]; shortcut?: PlannedConv }[] = [];
  for (let layer = 1; reader.has(`layer${layer}.0.conv1.weight`); layer++) {
    for (let i = 0; reader.has(`layer${layer}.${i}.conv1.weight`); i++) {
      const name = `layer${layer}.${i}`;
      const sizes = reader.has(`${name}.conv3.weight`) ? [1, 3, 1] : [3, 3];
      const stride = layer > 1 && i === 0 ? 2 : 1;
      const strided = sizes.length === 3 ? 1 : 0;
      const inner: PlannedConv[] = [];
      let from = channels;
      for (const [k, size] of sizes.entries()) {
        const conv = `${name}.conv${k + 1}`;
        const step = k === strided ? stride : 1;
        inner.push(reader.conv(conv, `${name}.bn${k + 1}`, from, size, step));
        [from] = inner[k].shape;
      }
      const projected =
        reader.has(`${name}.downsample.0.weight`) || stride > 1 || from !== channels;
      const beside = `${name}.downsample`;
      blocks.push({
        inner,
        ...(projected
          ? { shortcut: reader.conv(`${beside}.0`, `${beside}.1`, channels, 1, stride, from) }
          : {}),
      });
      channels = from;
    }
  }
  const head = reader.head(channels);
  reader.requireNoMore();
  return { stem, blocks, head };
}

class PlanReader {
  readonly #path: string;
  readonly #tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly #used = new Set<string>();

  constructor(path: string, tensors: ReadonlyMap<string, CheckpointTensor>) {
    this.#path = path;
    this.#tensors = tensors;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  conv(
    conv: string,
    norm: string,
    from: number,
    size: number,
    stride: number,
    to?: number,
  ): PlannedConv {
    const name = `${conv}.weight`;
    const shape = this.#shapeOf(name, [to ?? 'channels', from, size, size]);
    const [out, into, height, width] = shape;
    const fits = shape.length === 4 && height === size && width === size && out > 0;
    if (fits && into > 0 && into < from && from % into === 0) {
      const message = 'grouped convolutions (ResNeXt) cannot be run here';
      const details = { field: `${this.#path}: ${name}`, expected: from, found: into };
      throw new SoftpackError('UNSUPPORTED', message, details);
    }
    if (!fits || into !== from || (to !== undefined && out !== to)) {
      this.#refuse(name, [to ?? 'channels', from, size, size], shape);
    }
    for (const part of ['weight', 'bias', 'running_mean', 'running_var']) {
      const given = this.#shapeOf(`${norm}.${part}`, [out]);
      if (String(given) !== String(out)) this.#refuse(`${norm}.${part}`, [out], given);
    }
    return { conv, norm, stride, shape: [out, from, size, size] };
  }

  head(channels: number): [number, number] {
    const [classes = 0, into, ...more] = this.#shapeOf('fc.weight', ['classes', channels]);
    if (classes < 1 || into !== channels || more.length > 0) {
      this.#refuse('fc.weight', ['classes', channels], [classes, into, ...more]);
    }
    const bias = this.#shapeOf('fc.bias', [classes]);
    if (String(bias) !== String(classes)) this.#refuse('fc.bias', [classes], bias);
    return [classes, channels];
  }

  requireNoMore(): void {
    const others = [...this.#tensors.keys()].filter(
      (name) => !this.#used.has(name) && !COUNTERS.test(name),
    );
    if (others.length === 0) return;
    throw invalidFile(this.#path, others[0], NOT_ONE, {
      expected: 'no other tensors',
      found: `${others.length} more`,
    });
  }

  #shapeOf(name: string, expected: readonly (number | string)[]): readonly number[] {
    const shape = this.#tensors.get(name)?.shape;
    if (shape === undefined) {
      const found = 'no such tensor';
      const details = { expected: `[${expected.join(', ')}]`, found };
      throw invalidFile(this.#path, name, NOT_ONE, details);
    }
    this.#used.add(name);
    return shape;
  }

  #refuse(name: string, expected: readonly (number | string)[], found: readonly number[]): never {
    const [wanted, given] = [expected, found].map((shape) => `[${shape.join(', ')}]`);
    const details = { expected: wanted, found: given };
    throw invalidFile(this.#path, name, 'tensor of another shape than a ResNet has', details);
  }
}
