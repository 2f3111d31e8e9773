import { apart, floats, typedArray } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import { MAX_SIDE } from '../../core/limits.js';
import { type AugmentArgs, RESAMPLES, type Rendering, ROUNDS, VIEW } from '../augment-args.js';
import { given, threads } from './sizes.js';

const CHANNELS = 3;

export interface CheckedAugment extends Required<Rendering> {
  readonly images: readonly Uint8Array[];
  readonly sizes: Uint32Array;
  readonly views: Int32Array;
  readonly weights: Float32Array;
  readonly size: readonly [number, number];
  /** [3]: an 8.16 fixed-point value times this plus `shift` is the normalised pixel. */
  readonly scale: Float32Array;
  /** [3]. */
  readonly shift: Float32Array;
  readonly out: Float32Array;
  readonly count: number;
  readonly threads: number;
}

/** Throws `INVALID_ARGUMENT` naming the argument that is wrong, up to a box that sticks out of its image. */
export function checkAugment(args: AugmentArgs): CheckedAugment {
  const { size, images, resample = 'bilinear', round = 'none' } = given(args);
  argument.list(size, 'size');
  const height = side('size[0]', size[0]);
  const width = side('size[1]', size[1]);
  argument.list(images, 'images');
  const sizes = typedArray('sizes', args.sizes, 'Uint32Array', 2 * images.length);
  for (const [i, image] of images.entries()) {
    const bytes =
      side(`sizes[${2 * i}]`, sizes[2 * i]) * side(`sizes[${2 * i + 1}]`, sizes[2 * i + 1]);
    typedArray(`images[${i}]`, image, 'Uint8Array', bytes * CHANNELS);
  }
  const views = typedArray('views', args.views, 'Int32Array');
  const count = views.length / VIEW.fields;
  if (!Number.isInteger(count)) {
    argument.fail('views', 'wrong length', `a multiple of ${VIEW.fields}`, views.length);
  }
  const weights = floats('weights', args.weights, count);
  const out = floats('out', args.out, count * height * width * CHANNELS);
  apart('out', out, { weights });
  for (const [i, image] of images.entries()) apart('out', out, { [`images[${i}]`]: image });
  for (let i = 0; i < count; i++) checkView(views, i, sizes, [height, width], weights[i]);
  return {
    images,
    sizes,
    views,
    weights,
    size: [height, width],
    ...factors(args.normalisation),
    out,
    count,
    threads: threads(args.threads),
    resample: argument.oneOf(resample, 'resample', RESAMPLES),
    round: argument.oneOf(round, 'round', ROUNDS),
  };
}

function factors(normalisation: AugmentArgs['normalisation']) {
  const { mean, std } = argument.object(normalisation, 'normalisation');
  const means = channelValues(mean, 'normalisation.mean');
  const deviations = channelValues(std, 'normalisation.std');
  const scale = Float32Array.from(deviations, (deviation) => 1 / (255 * 65536 * deviation));
  const shift = Float32Array.from(means, (value, channel) => -value / deviations[channel]);
  if (!scale.every(Number.isFinite) || !shift.every(Number.isFinite)) {
    const expected = '3 finite means, 3 deviations above 0';
    argument.fail('normalisation', 'out of range', expected, { mean: means, std: deviations });
  }
  return { scale, shift };
}

function channelValues(value: unknown, field: string): readonly number[] {
  const values = argument.list(value, field);
  const valid = values.length === CHANNELS && values.every((item) => typeof item === 'number');
  return argument.that(valid, values, field, `${CHANNELS} numbers`) as readonly number[];
}

function side(field: string, value: unknown): number {
  return argument.count(value, field, 1, MAX_SIDE);
}

function checkView(
  views: Int32Array,
  i: number,
  sizes: Uint32Array,
  [height, width]: readonly [number, number],
  weight: number,
): void {
  const at = i * VIEW.fields;
  checkPart(views, i, 0, sizes);
  if (views[at + VIEW.partner] === -1) return;
  checkPart(views, i, VIEW.partner, sizes);
  const [top, left, boxHeight, boxWidth] = views.subarray(at + VIEW.box, at + VIEW.box + 4);
  const inside =
    Math.min(top, left, boxHeight, boxWidth) >= 0 &&
    top + boxHeight <= height &&
    left + boxWidth <= width;
  if (!inside) {
    const found = `(${top}, ${left}, ${boxHeight}, ${boxWidth})`;
    argument.fail(`views[${i}]: box`, 'outside the view', `inside ${height} x ${width}`, found);
  }
  if (boxHeight === 0 && !(weight >= 0 && weight <= 1)) {
    argument.fail(`weights[${i}]`, 'not a share', 'a number in [0, 1]', weight);
  }
}

function checkPart(views: Int32Array, i: number, part: number, sizes: Uint32Array): void {
  const at = i * VIEW.fields + part;
  const image = views[at + VIEW.image];
  const name = part === 0 ? 'image' : 'partner';
  if (image < 0 || 2 * image >= sizes.length) {
    argument.fail(`views[${i}]: ${name}`, 'no such image', `0 to ${sizes.length / 2 - 1}`, image);
  }
  const [top, left, height, width] = views.subarray(at + VIEW.crop, at + VIEW.crop + 4);
  const [rows, columns] = sizes.subarray(2 * image, 2 * image + 2);
  const inside =
    top >= 0 &&
    left >= 0 &&
    height > 0 &&
    width > 0 &&
    top + height <= rows &&
    left + width <= columns;
  if (!inside) {
    const found = `(${top}, ${left}, ${height}, ${width})`;
    argument.fail(
      `views[${i}]: crop of ${name}`,
      'outside the image',
      `inside ${rows} x ${columns}`,
      found,
    );
  }
  const flip = views[at + VIEW.flip];
  if (flip !== 0 && flip !== 1)
    argument.fail(`views[${i}]: flip of ${name}`, 'not a flag', '0 or 1', flip);
}
