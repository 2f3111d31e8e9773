import { invalidFile, SoftpackError } from '../errors.js';

/** A tensor of a checkpoint: its shape, and its values when they are wanted. */
export interface CheckpointTensor {
  readonly shape: readonly number[];
  values(): Promise<Float32Array>;
}

/** A convolution without a bias and the batch norm after it. */
export interface PlannedConv {
  readonly conv: string;
  readonly norm: string;
  readonly stride: number;
  /** [out, in, height, width]. */
  readonly shape: [number, number, number, number];
}

/** The form of a residual network. */
export interface ResNetPlan {
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
export function planResNet(
  path: string,
  tensors: ReadonlyMap<string, CheckpointTensor>,
): ResNetPlan {
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
