import { SoftpackError } from '../errors.js';
import { type Augmenter, type ImageSizes, type SampleRange, sampleIds } from './augmenter.js';

/** Images in memory: uint8 [height, width, 3], one function away. */
export interface PixelSource extends ImageSizes {
  /** The sample's pixels, row by row, red green blue. */
  pixels(sample: number): Uint8Array;
}

/** Per channel (x - mean) / std on x in [0, 1]; what the teacher and student expect. */
export interface Normalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

interface Rectangle {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

const CHANNELS = 3;
/** Bilinear weights are multiples of 2^-11, so that four taps of 8-bit pixels fit 30 bits: exact integers. */
const WEIGHT_BITS = 11;
const WEIGHT_ONE = 1 << WEIGHT_BITS;
/** Sums are rounded to 8.16 fixed point, which float32 holds exactly (255 * 2^16 < 2^24). */
const ROUND_BITS = 2 * WEIGHT_BITS - 16;

/** Float32 [samples, height, width, 3] of the spec's size: the images that the labels of `epoch` belong to. */
export function renderViews(
  augmenter: Augmenter,
  images: PixelSource,
  epoch: number,
  samples: SampleRange,
  normalisation: Normalisation,
  out: Float32Array,
): void {
  const [height, width] = augmenter.spec.size;
  const ids = sampleIds(samples);
  const stride = height * width * CHANNELS;
  checkLength(out, ids.length * stride);
  const records = augmenter.batch(epoch, ids);
  const resize = new Resizer(height, width, normalisation);
  const whole = { top: 0, left: 0, height, width };
  for (let i = 0; i < ids.length; i++) {
    const view = out.subarray(i * stride, (i + 1) * stride);
    const [top, left, h, w] = records.crop.subarray(i * 4, i * 4 + 4);
    const own = { top, left, height: h, width: w };
    resize.render(images, ids[i], own, records.flip[i] === 1, whole, view);
    const [y, x, boxHeight, boxWidth] = records.box.subarray(i * 4, i * 4 + 4);
    if (boxHeight * boxWidth === 0) continue;
    const partner = records.partner[i];
    const crop = augmenter.crop(epoch, partner);
    const source = { top: crop[0], left: crop[1], height: crop[2], width: crop[3] };
    const box = { top: y, left: x, height: boxHeight, width: boxWidth };
    resize.render(images, partner, source, augmenter.flip(epoch, partner) === 1, box, view);
  }
}

/** Float32 [samples, height, width, 3] without augmentation: each image whole, resized. For evaluation. */
export function renderWhole(
  images: PixelSource,
  samples: SampleRange,
  size: readonly [number, number],
  normalisation: Normalisation,
  out: Float32Array,
): void {
  const [height, width] = size;
  const ids = sampleIds(samples);
  const stride = height * width * CHANNELS;
  checkLength(out, ids.length * stride);
  const resize = new Resizer(height, width, normalisation);
  const whole = { top: 0, left: 0, height, width };
  for (let i = 0; i < ids.length; i++) {
    const [h, w] = images.sizeOf(ids[i]);
    const view = out.subarray(i * stride, (i + 1) * stride);
    resize.render(images, ids[i], { top: 0, left: 0, height: h, width: w }, false, whole, view);
  }
}

/**
 * Bilinear resize of a crop to height x width (pixel centres at half integers, no antialiasing, edge pixels
 * repeated inside the crop) in integers, then one multiply and one add in float32: the same bits on any machine.
 */
class Resizer {
  readonly #height: number;
  readonly #width: number;
  readonly #scale: Float32Array;
  readonly #shift: Float32Array;
  readonly #columnTaps: Int32Array;
  readonly #rowTaps: Int32Array;

  constructor(height: number, width: number, { mean, std }: Normalisation) {
    this.#height = height;
    this.#width = width;
    this.#scale = Float32Array.from(std, (deviation) => 1 / (255 * 65536 * deviation));
    this.#shift = Float32Array.from(mean, (value, channel) => -value / std[channel]);
    this.#columnTaps = new Int32Array(width * 3);
    this.#rowTaps = new Int32Array(height * 3);
  }

  /** Renders the part `box` of the sample's view into `view`. */
  render(
    images: PixelSource,
    sample: number,
    crop: Rectangle,
    mirrored: boolean,
    box: Rectangle,
    view: Float32Array,
  ): void {
    const pixels = images.pixels(sample);
    const sourceWidth = images.sizeOf(sample)[1];
    fillTaps(this.#columnTaps, this.#width, crop.left, crop.width, mirrored);
    fillTaps(this.#rowTaps, this.#height, crop.top, crop.height, false);
    const columns = this.#columnTaps;
    const rows = this.#rowTaps;
    for (let y = box.top; y < box.top + box.height; y++) {
      const upper = rows[y * 3] * sourceWidth;
      const lower = rows[y * 3 + 1] * sourceWidth;
      const weightY = rows[y * 3 + 2];
      for (let x = box.left; x < box.left + box.width; x++) {
        const left = columns[x * 3];
        const right = columns[x * 3 + 1];
        const weightX = columns[x * 3 + 2];
        const at = (y * this.#width + x) * CHANNELS;
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
          view[at + channel] = Math.fround(value * this.#scale[channel]) + this.#shift[channel];
        }
      }
    }
  }
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

function checkLength(out: Float32Array, expected: number): void {
  if (out.length === expected) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'wrong length', {
    field: 'out',
    expected,
    found: out.length,
  });
}
