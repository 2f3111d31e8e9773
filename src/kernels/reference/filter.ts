import type { CheckedAugment } from '../check/augment.js';

export interface Rectangle {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** An image of a view, its crop and whether it is mirrored. */
export interface Part {
  readonly pixels: Uint8Array;
  /** Pixels per row of the image. */
  readonly rowPixels: number;
  readonly crop: Rectangle;
  readonly mirrored: boolean;
}

const CHANNELS = 3;
/** Weights are multiples of 2^-22 where pixels are rounded to 8 bits, as in Pillow. */
const WEIGHT_BITS = 22;

/** Source pixels of an output position, relative to the crop, and their weights. */
interface Tap {
  readonly first: number;
  readonly weights: readonly number[];
}

/** Resizes across, then down, each output pixel from any number of source pixels, as Pillow and torchvision do. */
export class Filter {
  readonly #args: CheckedAugment;
  /** Sum of products in order, rounded as {@link CheckedAugment.round} says. */
  readonly #sum: (tap: Tap, at: (k: number) => number) => number;

  constructor(args: CheckedAugment) {
    this.#args = args;
    this.#sum = args.round === 'u8' ? fixedSum : floatSum;
  }

  /** Renders what `box` shows of the part. */
  render({ pixels, rowPixels, crop, mirrored }: Part, box: Rectangle, view: Float32Array): void {
    const { size, scale, shift } = this.#args;
    const [height, width] = size;
    const columns = Array.from({ length: box.width }, (_, i) => {
      const x = box.left + i;
      return this.#tap(mirrored ? width - 1 - x : x, width, crop.width);
    });
    const resized = new Map<number, Float64Array>();
    const rowOf = (row: number): Float64Array => {
      const known = resized.get(row);
      if (known !== undefined) return known;
      const start = (crop.top + row) * rowPixels + crop.left;
      const made = new Float64Array(box.width * CHANNELS);
      for (const [i, tap] of columns.entries()) {
        for (let channel = 0; channel < CHANNELS; channel++) {
          const at = (k: number) => pixels[(start + tap.first + k) * CHANNELS + channel];
          made[i * CHANNELS + channel] = this.#sum(tap, at);
        }
      }
      resized.set(row, made);
      return made;
    };
    for (let y = box.top; y < box.top + box.height; y++) {
      const tap = this.#tap(y, height, crop.height);
      const rows = tap.weights.map((_, k) => rowOf(tap.first + k));
      const to = (y * width + box.left) * CHANNELS;
      for (let j = 0; j < box.width * CHANNELS; j++) {
        const channel = j % CHANNELS;
        const value = this.#sum(tap, (k) => rows[k][j]);
        // The scale is that of 8.16 fixed point.
        view[to + j] = Math.fround(value * (scale[channel] * 65536)) + shift[channel];
      }
    }
  }

  /** Pillow's `precompute_coeffs` with its bilinear filter, in the same order of float64 operations. */
  #tap(position: number, size: number, length: number): Tap {
    const { resample, round } = this.#args;
    const support = resample === 'antialias' ? Math.max(1, length / size) : 1;
    const centre = (position + 0.5) * (length / size);
    const first = Math.trunc(Math.max(0, centre - support + 0.5));
    const end = Math.min(length, Math.trunc(centre + support + 0.5));
    const inverse = 1 / support;
    const exact = Array.from({ length: end - first }, (_, k) => {
      const distance = Math.abs((k + first - centre + 0.5) * inverse);
      return distance < 1 ? 1 - distance : 0;
    });
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    const weights = exact.map((weight) =>
      round === 'u8'
        ? Math.trunc(0.5 + (weight / total) * 2 ** WEIGHT_BITS)
        : Math.fround(weight / total),
    );
    return { first, weights };
  }
}

function floatSum({ weights }: Tap, at: (k: number) => number): number {
  let sum = 0;
  for (const [k, weight] of weights.entries()) sum = Math.fround(sum + Math.fround(at(k) * weight));
  return sum;
}

function fixedSum({ weights }: Tap, at: (k: number) => number): number {
  let sum = 2 ** (WEIGHT_BITS - 1);
  for (const [k, weight] of weights.entries()) sum += at(k) * weight;
  return Math.min(255, sum >> WEIGHT_BITS);
}
