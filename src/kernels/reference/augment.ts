import { VIEW } from '../augment-args.js';
import type { CheckedAugment } from '../check/augment.js';
import { Filter, type Part, type Rectangle } from './filter.js';

const CHANNELS = 3;
/** Bilinear weights are multiples of 2^-11, so that four taps of 8-bit pixels fit 30 bits: exact integers. */
const WEIGHT_BITS = 11;
const WEIGHT_ONE = 1 << WEIGHT_BITS;
/** Sums are rounded to 8.16 fixed point, which float32 holds exactly (255 * 2^16 < 2^24). */
const ROUND_BITS = 2 * WEIGHT_BITS - 16;

/**
 * Unlike the other references this one is exact: sums are integers, or one float32 multiplication or addition after
 * the other, so every backend gives these bytes.
 */
export function augment(args: CheckedAugment): void {
  const { count, views, weights, out } = args;
  const [height, width] = args.size;
  const whole = { top: 0, left: 0, height, width };
  const bilinear = args.resample === 'bilinear' && args.round === 'none';
  const renderer = bilinear ? new Bilinear(args) : new Filter(args);
  const blended = new Float32Array(height * width * CHANNELS);
  for (let i = 0; i < count; i++) {
    const fields = views.subarray(i * VIEW.fields, (i + 1) * VIEW.fields);
    const view = out.subarray(i * blended.length, (i + 1) * blended.length);
    renderer.render(partOf(args, fields, 0), whole, view);
    if (fields[VIEW.partner] < 0) continue;
    const box = rectangle(fields, VIEW.box);
    if (box.height > 0) {
      renderer.render(partOf(args, fields, VIEW.partner), box, view);
      continue;
    }
    renderer.render(partOf(args, fields, VIEW.partner), whole, blended);
    const own = weights[i];
    const other = Math.fround(1 - own);
    for (let j = 0; j < view.length; j++) {
      view[j] = Math.fround(view[j] * own) + Math.fround(blended[j] * other);
    }
  }
}

/** The image, crop and flip that begin at field `at`. */
function partOf({ images, sizes }: CheckedAugment, fields: Int32Array, at: number): Part {
  const image = fields[at + VIEW.image];
  return {
    pixels: images[image],
    rowPixels: sizes[2 * image + 1],
    crop: rectangle(fields, at + VIEW.crop),
    mirrored: fields[at + VIEW.flip] === 1,
  };
}

/** Resizes from the two pixels per axis that an output pixel lies between. */
class Bilinear {
  readonly #args: CheckedAugment;
  readonly #scale: Float32Array;
  readonly #shift: Float32Array;
  readonly #columnTaps: Int32Array;
  readonly #rowTaps: Int32Array;

  constructor(args: CheckedAugment) {
    const [height, width] = args.size;
    this.#args = args;
    this.#scale = args.scale;
    this.#shift = args.shift;
    this.#columnTaps = new Int32Array(width * 3);
    this.#rowTaps = new Int32Array(height * 3);
  }

  /** Renders what `box` shows of the part. */
  render(part: Part, box: Rectangle, view: Float32Array): void {
    const { pixels, rowPixels: sourceWidth, crop, mirrored } = part;
    const [height, width] = this.#args.size;
    const columns = this.#columnTaps;
    const rows = this.#rowTaps;
    fillTaps(columns, width, crop.left, crop.width, mirrored);
    fillTaps(rows, height, crop.top, crop.height, false);
    for (let y = box.top; y < box.top + box.height; y++) {
      const upper = rows[y * 3] * sourceWidth;
      const lower = rows[y * 3 + 1] * sourceWidth;
      const weightY = rows[y * 3 + 2];
      for (let x = box.left; x < box.left + box.width; x++) {
        const left = columns[x * 3];
        const right = columns[x * 3 + 1];
        const weightX = columns[x * 3 + 2];
        const to = (y * width + x) * CHANNELS;
        for (let channel = 0; channel < CHANNELS; channel++) {
          const top = blend(
            pixels[(upper + left) * CHANNELS + channel],
            pixels[(upper + right) * CHANNELS + channel],
            weightX,
          );
          const bottom = blend(
            pixels[(lower + left) * CHANNELS + channel],
            pixels[(lower + right) * CHANNELS + channel],
            weightX,
          );
          const sum = blend(top, bottom, weightY);
          const value = (sum + (1 << (ROUND_BITS - 1))) >> ROUND_BITS;
          view[to + channel] = Math.fround(value * this.#scale[channel]) + this.#shift[channel];
        }
      }
    }
  }
}

function rectangle(fields: Int32Array, at: number): Rectangle {
  const [top, left, height, width] = fields.subarray(at, at + 4);
  return { top, left, height, width };
}

function blend(first: number, second: number, weight: number): number {
  return first * (WEIGHT_ONE - weight) + second * weight;
}

/** For each output position: first source index, second source index, weight of the second (0 to 2^11). */
function fillTaps(
  taps: Int32Array,
  size: number,
  start: number,
  length: number,
  mirrored: boolean,
): void {
  for (let position = 0; position < size; position++) {
    // Source coordinate ((2 p + 1) length / size - 1) / 2 as an exact fraction over 2 size.
    const numerator = (2 * position + 1) * length - size;
    const index = Math.floor(numerator / (2 * size));
    const rest = numerator - index * 2 * size;
    const at = (mirrored ? size - 1 - position : position) * 3;
    taps[at] = start + Math.min(Math.max(index, 0), length - 1);
    taps[at + 1] = start + Math.min(index + 1, length - 1);
    taps[at + 2] = Math.floor((rest * WEIGHT_ONE + size) / (2 * size));
  }
}
