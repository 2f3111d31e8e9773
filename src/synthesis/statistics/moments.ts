import { allocate } from '../../core/allocate.js';

/**
 * Mean and variance per channel over any number of images of one size, pooled exactly in float64 (Chan et al. 1979): an average that moves with
 * every batch keeps most of its start after few images, and never sees the variance between them.
 */
export class Moments {
  readonly mean: Float64Array;
  /** Sum over the images of their mean squared distance from the mean. */
  readonly squares: Float64Array;
  /** Images. */
  count = 0;

  constructor(channels: number) {
    const bytes = 2 * channels * Float64Array.BYTES_PER_ELEMENT;
    const buffer = allocate(bytes, 'statistics');
    this.mean = new Float64Array(buffer, 0, channels);
    this.squares = new Float64Array(buffer, bytes / 2, channels);
  }

  /** Adds the images of other moments. */
  merge({ count, mean, squares }: Moments): void {
    this.add(count, mean, squares);
  }

  /** Adds `count` images with this mean and these sums. */
  add(count: number, mean: ArrayLike<number>, squares: ArrayLike<number>): void {
    if (count === 0) return;
    const total = this.count + count;
    for (let c = 0; c < this.mean.length; c++) {
      const delta = mean[c] - this.mean[c];
      this.mean[c] += (delta * count) / total;
      this.squares[c] += squares[c] + (delta * delta * this.count * count) / total;
    }
    this.count = total;
  }

  /** The biased one, as batch norms use it. */
  variance(): Float64Array {
    return this.squares.map((sum) => sum / this.count);
  }
}
