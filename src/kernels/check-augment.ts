import { type AugmentArgs, VIEW } from './augment-args.js';
import { apart, fail, floats, size, threads, typed } from './check.js';

const MAX_SIDE = 65_535;
const CHANNELS = 3;

export interface CheckedAugment {
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
  const height = side('size[0]', args.size[0]);
  const width = side('size[1]', args.size[1]);
  const images = args.images;
  const sizes = typed('sizes', args.sizes, 'Uint32Array', 2 * images.length);
  for (const [i, image] of images.entries()) {
    const bytes =
      side(`sizes[${2 * i}]`, sizes[2 * i]) * side(`sizes[${2 * i + 1}]`, sizes[2 * i + 1]);
    typed(`images[${i}]`, image, 'Uint8Array', bytes * CHANNELS);
  }
  const views = typed('views', args.views, 'Int32Array');
  const count = views.length / VIEW.fields;
  if (!Number.isInteger(count)) {
    fail('views', 'wrong length', `a multiple of ${VIEW.fields}`, views.length);
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
  };
}

function factors({ mean, std }: AugmentArgs['normalisation']) {
  const scale = Float32Array.from(std, (deviation) => 1 / (255 * 65536 * deviation));
  const shift = Float32Array.from(mean, (value, channel) => -value / std[channel]);
  const valid = (values: Float32Array) =>
    values.length === CHANNELS && values.every(Number.isFinite);
  if (!valid(scale) || !valid(shift)) {
    const found = `mean ${mean}, std ${std}`;
    fail('normalisation', 'not usable', '3 finite means, 3 deviations above 0', found);
  }
  return { scale, shift };
}

function side(field: string, value: unknown): number {
  const checked = size(field, value, 1);
  if (checked > MAX_SIDE) fail(field, 'too large', `at most ${MAX_SIDE}`, checked);
  return checked;
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
    fail(`views[${i}]: box`, 'outside the view', `inside ${height} x ${width}`, found);
  }
  if (boxHeight === 0 && !(weight >= 0 && weight <= 1)) {
    fail(`weights[${i}]`, 'not a share', 'a number in [0, 1]', weight);
  }
}

function checkPart(views: Int32Array, i: number, part: number, sizes: Uint32Array): void {
  const at = i * VIEW.fields + part;
  const image = views[at + VIEW.image];
  const name = part === 0 ? 'image' : 'partner';
  if (image < 0 || 2 * image >= sizes.length) {
    fail(`views[${i}]: ${name}`, 'no such image', `0 to ${sizes.length / 2 - 1}`, image);
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
    fail(`views[${i}]: crop of ${name}`, 'outside the image', `inside ${rows} x ${columns}`, found);
  }
  const flip = views[at + VIEW.flip];
  if (flip !== 0 && flip !== 1) fail(`views[${i}]: flip of ${name}`, 'not a flag', '0 or 1', flip);
}
