import { SoftpackError } from '../../errors.js';
import type { DifferentiableNetwork } from '../network.js';
import { DESCRIPTION_FILE } from './description.js';
import type { TeacherShape } from './shape.js';
import type { Teacher } from './teacher.js';

export interface NetworkParts {
  readonly path: string;
  /** E.g. `onnx`; part of the fingerprint. */
  readonly kind: string;
  /** Fingerprint of the model's files. */
  readonly sha256: string;
  readonly shape: TeacherShape;
  /** Chosen among several. */
  readonly outputName?: string;
  /** The network's output [count, classes] for images in the network's own layout. */
  readonly run: (images: Float32Array, count: number) => Promise<Float32Array>;
  readonly network?: DifferentiableNetwork;
  readonly dispose: () => void;
}

/** Smallest probability distinguished from 0: float32 networks round what is below. */
export const LEAST_PROBABILITY = 1e-30;

/** A teacher from a network of another tool: lays out its input and ensures that its outputs are logits. */
export function networkTeacher(parts: NetworkParts): Teacher {
  const { path, kind, sha256, shape, outputName, network, dispose } = parts;
  const { size, classes, classNames, normalisation, rendering, layout, channels, output } = shape;
  const stride = size[0] * size[1] * 3;
  return {
    size,
    classes,
    normalisation,
    rendering,
    ...(classNames === undefined ? {} : { classNames }),
    fingerprint: {
      ...{ kind, sha256 },
      preprocessing: { ...normalisation, channels, layout, output },
      ...(outputName === undefined ? {} : { outputName }),
    },
    ...(network === undefined ? {} : { network }),
    async logits(images) {
      const count = images.length / stride;
      if (!Number.isInteger(count)) {
        throw new SoftpackError('INVALID_ARGUMENT', 'not a whole number of images', {
          field: 'images',
          expected: `a multiple of ${stride} values`,
          found: images.length,
        });
      }
      if (count === 0) return new Float32Array(0);
      const found = await runInBatches(parts, laidOut(shape, images, count), count);
      if (output === 'probabilities') {
        return found.map((p) => Math.log(Math.max(p, LEAST_PROBABILITY)));
      }
      refuseProbabilities(path, found, classes);
      return found;
    },
    [Symbol.dispose]: dispose,
  };
}

/** Runs all images at once, or as many at a time as the network takes, the last pass padded with black images. */
async function runInBatches(
  { path, shape, run }: NetworkParts,
  input: Float32Array,
  count: number,
): Promise<Float32Array> {
  const { classes, size, batch = count } = shape;
  const stride = size[0] * size[1] * channelsOf(shape);
  const found = new Float32Array(count * classes);
  for (let start = 0; start < count; start += batch) {
    const rows = Math.min(batch, count - start);
    let images = batch === count ? input : input.slice(start * stride, (start + rows) * stride);
    if (rows < batch) {
      const filled = new Float32Array(batch * stride);
      filled.set(images);
      images = filled;
    }
    const output = await run(images, batch);
    requireOutput(path, output, batch * classes);
    found.set(output.subarray(0, rows * classes), start * classes);
  }
  requireLogits(path, found, classes);
  return found;
}

/** Images [count, height, width, 3], red green blue, in the network's layout; the same array if that is its layout. */
function laidOut(
  { size, layout, channels }: TeacherShape,
  images: Float32Array,
  count: number,
): Float32Array {
  if (layout === 'nhwc' && channels === 'rgb') return images;
  const pixels = size[0] * size[1];
  if (channels === 'grey') return brightness(images, count * pixels);
  const input = new Float32Array(images.length);
  const [ofPixel, ofChannel] = layout === 'nhwc' ? [3, 1] : [1, pixels];
  for (let i = 0; i < count; i++) {
    const at = i * pixels * 3;
    for (let channel = 0; channel < 3; channel++) {
      const plane = at + (channels === 'rgb' ? channel : 2 - channel) * ofChannel;
      for (let p = 0; p < pixels; p++) input[plane + p * ofPixel] = images[at + p * 3 + channel];
    }
  }
  return input;
}

/** One value per pixel. The weights sum to 1, so it does not matter that the colours are already normalised. */
function brightness(images: Float32Array, pixels: number): Float32Array {
  const [red, green, blue] = [0.299, 0.587, 0.114];
  const grey = new Float32Array(pixels);
  for (let p = 0; p < pixels; p++) {
    grey[p] = red * images[3 * p] + green * images[3 * p + 1] + blue * images[3 * p + 2];
  }
  return grey;
}

/** Values per pixel that the network takes. */
export function channelsOf({ channels }: TeacherShape): 1 | 3 {
  return channels === 'grey' ? 1 : 3;
}

function requireOutput(path: string, found: Float32Array, expected: number): void {
  if (found.length === expected) return;
  throw new SoftpackError('INVALID_FILE', 'the network gives another number of values', {
    field: `${path}: output`,
    expected,
    found: found.length,
  });
}

/** Masks (-infinity) are logits; NaN and +infinity are not. */
function requireLogits(path: string, values: Float32Array, classes: number): void {
  const at = values.findIndex((value) => Number.isNaN(value) || value === Number.POSITIVE_INFINITY);
  if (at < 0) return;
  throw new SoftpackError('NON_FINITE', 'the network gives a value that is not finite', {
    field: `${path}: output, image ${Math.floor(at / classes)}, class ${at % classes}`,
    found: values[at],
  });
}

/** Networks that end in a softmax are common; their outputs taken for logits give nearly uniform labels. */
function refuseProbabilities(path: string, values: Float32Array, classes: number): void {
  if (classes < 2) return;
  for (let i = 0; i < values.length; i += classes) {
    const row = values.subarray(i, i + classes);
    const sum = row.reduce((total, value) => total + value, 0);
    if (Math.abs(sum - 1) > 1e-3 || row.some((value) => value < 0)) return;
  }
  throw new SoftpackError('INVALID_ARGUMENT', 'the network ends in a softmax', {
    field: `${path}: output`,
    expected: `logits, or "output": "probabilities" in ${DESCRIPTION_FILE}`,
    found: 'probabilities',
  });
}
