import { below, CounterRng, STREAM } from '../core/philox.js';

/** Rows and columns that a view of this side may move: a pixel of 24, the size that this was measured at. */
const SHIFTED_SHARE = 1 / 24;

export interface VariedViews {
  /** Of the draws. */
  readonly seed: number;
  /** The epoch that the views are shown in, not the one that they were labelled in. */
  readonly epoch: number;
  /** One per view, of the whole archive: parts of it draw differently. */
  readonly sampleIds: Uint32Array;
  readonly size: readonly [number, number];
}

/**
 * Mirrors half of the views and moves each by up to a 24th of its side, in place: a stored label that serves several epochs
 * then meets other pixels in each. Teachers that were trained with mirrored and cropped views give these nearly the same label.
 * What moves in at an edge is the view's own reflection there.
 *
 * @param views float32 [samples, height, width, 3].
 */
export function varyViews(
  views: Float32Array,
  { seed, epoch, sampleIds, size: [height, width] }: VariedViews,
): void {
  const rng = new CounterRng(seed);
  const pixels = height * width * 3;
  const before = new Float32Array(pixels);
  const [down, across] = [height, width].map(mostShifted);
  const columns = new Uint32Array(width);
  for (const [i, sample] of sampleIds.entries()) {
    const [mirror, y, x] = rng.words(sample, epoch, STREAM.reuse, 0);
    const mirrored = below(mirror, 2) === 1;
    const dy = below(y, 2 * down + 1) - down;
    const dx = below(x, 2 * across + 1) - across;
    if (!mirrored && dy === 0 && dx === 0) continue;
    const view = views.subarray(i * pixels, (i + 1) * pixels);
    before.set(view);
    for (let column = 0; column < width; column++) {
      const from = reflected(column + dx, width);
      columns[column] = 3 * (mirrored ? width - 1 - from : from);
    }
    for (let row = 0; row < height; row++) {
      const from = 3 * width * reflected(row + dy, height);
      for (let column = 0, to = 3 * width * row; column < width; column++, to += 3) {
        const at = from + columns[column];
        view[to] = before[at];
        view[to + 1] = before[at + 1];
        view[to + 2] = before[at + 2];
      }
    }
  }
}

function mostShifted(side: number): number {
  return side < 2 ? 0 : Math.max(1, Math.round(side * SHIFTED_SHARE));
}

/** The place inside that one up to a side beyond an edge shows, as in a mirror that stands on the last pixel. */
function reflected(place: number, side: number): number {
  const inside = Math.abs(place);
  return inside < side ? inside : 2 * (side - 1) - inside;
}
