import { SoftpackError } from '../../errors.js';
import type { Teacher } from '../teacher.js';
import { DESCRIPTION_FILE, type TeacherShape } from './description.js';

export interface NetworkParts {
  readonly path: string;
  /** E.g. `onnx`; part of the fingerprint. */
  readonly kind: string;
  /** Of the model's files. */
  readonly sha256: string;
  readonly shape: TeacherShape;
  /** The network's output [count, classes] for images in the network's own layout. */
  readonly run: (images: Float32Array, count: number) => Promise<Float32Array>;
  readonly dispose: () => void;
}

/** Smallest probability that is told from 0: float32 networks round what is below. */
const LEAST_PROBABILITY = 1e-30;

/** A teacher from a network of another tool: lays out its input, and makes sure that its output are logits. */
export function networkTeacher({ path, kind, sha256, shape, run, dispose }: NetworkParts): Teacher {
  const { size, classes, classNames, normalisation, layout, output } = shape;
  const [height, width] = size;
  const stride = height * width * 3;
  return {
    size,
    classes,
    normalisation,
    ...(classNames === undefined ? {} : { classNames }),
    fingerprint: { kind, sha256, preprocessing: { ...normalisation, layout, output } },
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
      const input = layout === 'nhwc' ? images : toChannelsFirst(images, count, height * width);
      const found = await run(input, count);
      requireOutput(path, found, count * classes);
      if (output === 'probabilities') {
        return found.map((p) => Math.log(Math.max(p, LEAST_PROBABILITY)));
      }
      refuseProbabilities(path, found, classes);
      return found;
    },
    [Symbol.dispose]: dispose,
  };
}

/** [count, pixels, 3] to [count, 3, pixels]. */
function toChannelsFirst(images: Float32Array, count: number, pixels: number): Float32Array {
  const planes = new Float32Array(images.length);
  for (let i = 0; i < count; i++) {
    const at = i * pixels * 3;
    for (let channel = 0; channel < 3; channel++) {
      const plane = at + channel * pixels;
      for (let p = 0; p < pixels; p++) planes[plane + p] = images[at + p * 3 + channel];
    }
  }
  return planes;
}

function requireOutput(path: string, found: Float32Array, expected: number): void {
  if (found.length !== expected) {
    throw new SoftpackError('INVALID_FILE', 'the network gives another number of values', {
      field: `${path}: output`,
      expected,
      found: found.length,
    });
  }
  const at = found.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  throw new SoftpackError('NON_FINITE', 'the network gives a value that is not finite', {
    field: `${path}: output`,
    found: found[at],
  });
}

/** Networks that end in a softmax are common, and labels made from them as if from logits are nearly uniform. */
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
