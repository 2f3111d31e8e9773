import type { ViewPlaces } from '../../../labels/views.js';

/**
 * What a predictor is told of a view, in whole 64ths: shares of the view that show each quarter of its own image and of
 * the one mixed in, where both crops lie and how large they are, which are mirrored, and what part is replaced. Whole
 * numbers of IEEE quotients: the same on every machine.
 */

/** Images are told apart in so many rows and columns of cells. */
const SIDE = 2;
export const CELLS = SIDE * SIDE;
/** Units of a share. */
export const SHARE = 64;
/** Shares of both images, five numbers of each crop, four of the box, and the own share. */
export const VIEW_NUMBERS = 2 * CELLS + 2 * 5 + 4 + 1;

/** Top, left, height and width of a rectangle, from 0 to 1. */
type Rectangle = readonly [number, number, number, number];

const WHOLE: Rectangle = [0, 0, 1, 1];

/** [labels, VIEW_NUMBERS] of views and the own shares of their mixes. */
export function viewNumbers(places: ViewPlaces, lambda: Float32Array): Int16Array {
  const count = lambda.length;
  const out = new Int16Array(count * VIEW_NUMBERS);
  for (let i = 0; i < count; i++) {
    const numbers = out.subarray(i * VIEW_NUMBERS, (i + 1) * VIEW_NUMBERS);
    const [own, other, box] = [places.crop, places.otherCrop, places.box].map((all) =>
      rectangleAt(all, i),
    );
    const [flip, otherFlip] = [places.flip[i], places.otherFlip[i]];
    const cut = box[2] > 0 && box[3] > 0;
    const blended = cut ? 1 : lambda[i];
    for (let cell = 0; cell < CELLS; cell++) {
      const hidden = cut ? shownIn(own, flip, cell, box) : 0;
      const shown = shownIn(own, flip, cell, WHOLE) - hidden;
      const second = cut
        ? shownIn(other, otherFlip, cell, box)
        : (1 - blended) * shownIn(other, otherFlip, cell, WHOLE);
      numbers[cell] = units(blended * shown);
      numbers[CELLS + cell] = units(second);
    }
    writeCrop(own, flip, numbers, 2 * CELLS);
    writeCrop(other, otherFlip, numbers, 2 * CELLS + 5);
    for (const [j, side] of box.entries()) numbers[2 * CELLS + 10 + j] = units(side);
    numbers[VIEW_NUMBERS - 1] = units(lambda[i]);
  }
  return out;
}

function rectangleAt(all: Float32Array, i: number): Rectangle {
  return [all[4 * i], all[4 * i + 1], all[4 * i + 2], all[4 * i + 3]];
}

function units(share: number): number {
  return Math.floor(share * SHARE + 0.5);
}

/** Centre, height, width, mirrored. */
function writeCrop(crop: Rectangle, flip: number, out: Int16Array, at: number): void {
  const [top, left, height, width] = crop;
  out[at] = units(top + height / 2 - 0.5);
  out[at + 1] = units(left + width / 2 - 0.5);
  out[at + 2] = units(height);
  out[at + 3] = units(width);
  out[at + 4] = (flip - 0.5) * SHARE;
}

/** Share of the view that shows a cell of the image inside of a part of the view. */
function shownIn(crop: Rectangle, flip: number, cell: number, part: Rectangle): number {
  const [top, left, height, width] = crop;
  const [row, column] = [Math.floor(cell / SIDE), cell % SIDE];
  const [y0, y1] = [row, row + 1].map((edge) => within((edge / SIDE - top) / height));
  const [x0, x1] = [column, column + 1].map((edge) => within((edge / SIDE - left) / width));
  const [from, to] = flip === 1 ? [1 - x1, 1 - x0] : [x0, x1];
  const rows = Math.min(y1, part[0] + part[2]) - Math.max(y0, part[0]);
  const columns = Math.min(to, part[1] + part[3]) - Math.max(from, part[1]);
  return Math.max(rows, 0) * Math.max(columns, 0);
}

function within(share: number): number {
  return Math.min(Math.max(share, 0), 1);
}
