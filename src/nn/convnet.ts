import * as tf from '@tensorflow/tfjs';
import { requireMemory } from '../core/allocate.js';
import { argument, type FieldChecker } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { batchNormalise, normaliseWith } from './batch-norm.js';
import { type ApplyOptions, IMAGE_CHANNELS, type Network, type Parameter } from './network.js';

/**
 * A small residual network for square colour images.
 *
 * Each stage halves the image by a convolution 4x4 of stride 2 with batch norm and ReLU, then has its residual
 * blocks of two convolutions 3x3 each. After the last stage: mean over the image, dense layer to logits. Strides do
 * the work of pooling layers, whose gradients take as long as the convolutions on the wasm backend.
 */
export interface ConvNetConfig {
  /** Height and width of the images, pixels. */
  readonly inputSize: number;
  /** Channels of each stage. */
  readonly widths: readonly number[];
  /** Residual blocks of each stage; as long as `widths`. */
  readonly blocks: readonly number[];
  readonly classes: number;
}

/** Share of the old value that moving statistics keep at each training step. */
const MOMENTUM = 0.9;
const EPSILON = 1e-5;

/** Stages and blocks together: twenty times as many as the deepest residual networks in use. */
const MAX_BLOCKS = 10_000;

/** TensorFlow.js keeps variables by name, process-wide: each network gets its own name. */
let networks = 0;

export class ConvNet implements Network {
  readonly config: ConvNetConfig;
  readonly trainable: readonly tf.Variable[];
  readonly #variables: ReadonlyMap<string, tf.Variable>;

  private constructor(config: ConvNetConfig, variables: ReadonlyMap<string, tf.Variable>) {
    this.config = config;
    this.#variables = variables;
    this.trainable = [...variables.values()].filter((variable) => variable.trainable);
  }

  /** A network with He-normal convolutions drawn from `seed`; the last norm of each block starts at zero. */
  static create(config: ConvNetConfig, seed: number): ConvNet {
    const shapes = parameterShapes(config);
    const sizes = [...shapes.values()].map((shape) => shape.reduce((size, n) => size * n, 1));
    const bytes = sizes.reduce((sum, size) => sum + size, 0) * Float32Array.BYTES_PER_ELEMENT;
    requireMemory(Math.min(bytes, Number.MAX_SAFE_INTEGER), 'config');
    let draws = 0;
    return ConvNet.#from(config, shapes, (name, shape) => {
      if (shape.length === 1) return tf.fill(shape, initialConstant(name));
      const fanIn = shape.slice(0, -1).reduce((product, size) => product * size, 1);
      const gain = shape.length === 4 ? 2 : 1;
      draws += 1;
      return tf.randomNormal(shape, 0, Math.sqrt(gain / fanIn), 'float32', seed * 1009 + draws);
    });
  }

  /** A network with the given parameters, as `parameters()` names them. */
  static fromParameters(
    config: ConvNetConfig,
    parameters: ReadonlyMap<string, Float32Array>,
  ): ConvNet {
    return ConvNet.#from(config, parameterShapes(config), (name, shape) => {
      const values = parameters.get(name);
      const size = shape.reduce((product, length) => product * length, 1);
      if (values?.length === size) return tf.tensor(values, [...shape], 'float32');
      throw new SoftpackError('INVALID_FILE', 'wrong number of values', {
        field: name,
        expected: size,
        found: values?.length ?? 'no such parameter',
      });
    });
  }

  static #from(
    config: ConvNetConfig,
    shapes: ReadonlyMap<string, readonly number[]>,
    initial: (name: string, shape: number[]) => tf.Tensor,
  ): ConvNet {
    networks += 1;
    const variables = new Map<string, tf.Variable>();
    try {
      for (const [name, shape] of shapes) {
        const value = initial(name, [...shape]);
        variables.set(name, tf.variable(value, !isMoving(name), `convnet${networks}/${name}`));
        value.dispose();
      }
    } catch (error) {
      for (const variable of variables.values()) variable.dispose();
      throw error;
    }
    return new ConvNet(config, variables);
  }

  get inputSize(): number {
    return this.config.inputSize;
  }

  get classes(): number {
    return this.config.classes;
  }

  apply(images: tf.Tensor4D, options: ApplyOptions = {}): tf.Tensor2D {
    return tf.tidy(() => {
      let x = images;
      this.config.widths.forEach((_, stage) => {
        x = this.#convNorm(x, `stage${stage}`, options, 2).relu();
        for (let block = 0; block < this.config.blocks[stage]; block++) {
          const name = `stage${stage}.block${block}`;
          const inner = this.#convNorm(x, `${name}.a`, options).relu<tf.Tensor4D>();
          x = x.add(this.#convNorm(inner, `${name}.b`, options)).relu();
        }
      });
      const features = x.mean<tf.Tensor2D>([1, 2]);
      const kernel = this.#variable('head.kernel') as tf.Tensor2D;
      return tf.matMul(features, kernel).add(this.#variable('head.bias'));
    });
  }

  /** Names of the batch norms in the order of the forward pass. */
  get norms(): readonly string[] {
    const names = [...this.#variables.keys()].filter((name) => name.endsWith('.mean'));
    return names.map((name) => name.slice(0, -'.mean'.length));
  }

  /** What the batch norm of this name normalises by in inference, [channels] each; they belong to the network. */
  normStatistics(name: string): { readonly mean: tf.Tensor1D; readonly variance: tf.Tensor1D } {
    const of = (part: string): tf.Tensor => this.#variable(`${name}.${part}`);
    return { mean: of('mean') as tf.Tensor1D, variance: of('variance') as tf.Tensor1D };
  }

  async parameters(): Promise<ReadonlyMap<string, Parameter>> {
    const parameters = new Map<string, Parameter>();
    for (const [name, variable] of this.#variables) {
      const values = Float32Array.from(await variable.data());
      parameters.set(name, { shape: variable.shape, values });
    }
    return parameters;
  }

  dispose(): void {
    for (const variable of this.#variables.values()) variable.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #convNorm(
    x: tf.Tensor4D,
    name: string,
    { training, tap }: ApplyOptions,
    stride = 1,
  ): tf.Tensor4D {
    const y = tf.conv2d(x, this.#variable(`${name}.kernel`) as tf.Tensor4D, stride, 'same');
    tap?.(name, y);
    const gamma = this.#variable(`${name}.gamma`) as tf.Tensor1D;
    const beta = this.#variable(`${name}.beta`) as tf.Tensor1D;
    if (!training) {
      const stored = this.normStatistics(name);
      return normaliseWith(y, gamma, beta, EPSILON, stored.mean, stored.variance);
    }
    const mean = this.#variable(`${name}.mean`);
    const variance = this.#variable(`${name}.variance`);
    return batchNormalise(y, gamma, beta, EPSILON, (batchMean, batchVariance) => {
      mean.assign(mean.mul(MOMENTUM).add(batchMean.mul(1 - MOMENTUM)));
      variance.assign(variance.mul(MOMENTUM).add(batchVariance.mul(1 - MOMENTUM)));
    });
  }

  #variable(name: string): tf.Variable {
    const variable = this.#variables.get(name);
    if (variable === undefined) throw new Error(`no parameter named ${name}`);
    return variable;
  }
}

/** Name and shape of every parameter, in the order they are made and stored. */
function parameterShapes(config: ConvNetConfig): Map<string, readonly number[]> {
  checkConvNetConfig(config, argument);
  const shapes = new Map<string, readonly number[]>();
  const convNorm = (name: string, size: number, from: number, to: number): void => {
    shapes.set(`${name}.kernel`, [size, size, from, to]);
    for (const part of ['gamma', 'beta', 'mean', 'variance']) shapes.set(`${name}.${part}`, [to]);
  };
  let channels = IMAGE_CHANNELS;
  config.widths.forEach((width, stage) => {
    convNorm(`stage${stage}`, 4, channels, width);
    for (let block = 0; block < config.blocks[stage]; block++) {
      convNorm(`stage${stage}.block${block}.a`, 3, width, width);
      convNorm(`stage${stage}.block${block}.b`, 3, width, width);
    }
    channels = width;
  });
  shapes.set('head.kernel', [channels, config.classes]);
  shapes.set('head.bias', [config.classes]);
  return shapes;
}

function initialConstant(name: string): number {
  if (name.endsWith('.variance')) return 1;
  // A block whose last norm starts at zero starts as the identity (Goyal et al. 2017, section 5.1).
  if (name.endsWith('.b.gamma')) return 0;
  return name.endsWith('.gamma') ? 1 : 0;
}

function isMoving(name: string): boolean {
  return name.endsWith('.mean') || name.endsWith('.variance');
}

/**
 * A network's configuration, without anything else that came with it.
 *
 * @param most stages and blocks together.
 */
export function checkConvNetConfig(
  config: Readonly<Record<keyof ConvNetConfig, unknown>>,
  check: FieldChecker,
  most = MAX_BLOCKS,
): ConvNetConfig {
  const inputSize = check.count(config.inputSize, 'inputSize', 1);
  const classes = check.count(config.classes, 'classes', 1);
  const listed = (name: 'widths' | 'blocks', least: number) => {
    const values = check.list(config[name], name);
    check.that(values.length <= most, values.length, name, `at most ${most}`);
    return values.map((value, i) => check.count(value, `${name}[${i}]`, least));
  };
  const widths = listed('widths', 1);
  const blocks = listed('blocks', 0);
  check.that(widths.length > 0, widths, 'widths', 'at least one');
  check.that(
    blocks.length === widths.length,
    blocks,
    'blocks',
    `one for each of ${widths.length} widths`,
  );
  const depth = blocks.reduce((sum, n) => sum + n, widths.length);
  check.that(depth <= most, depth, 'blocks', `at most ${most} stages and blocks in all`);
  return { inputSize, widths, blocks, classes };
}
