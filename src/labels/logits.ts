import { float32ToFloat16 } from '../core/half.js';
import { SoftpackError } from '../errors.js';

/**
 * Distance of a masked class below the largest logit of its row. Its probability is 0 at any temperature up to
 * 500, and rows whose largest logit is -5504 or more still fit half floats.
 */
export const MASK_GAP = 60_000;
const LARGEST_HALF = 65_504;

/**
 * Checks logits [rows, classes] and raises masks (-infinity, -1e9, the least float) to {@link MASK_GAP} below the
 * row's largest. `NON_FINITE`, naming epoch, sample and class, for NaN, +infinity, and rows that are masked whole.
 *
 * @param start sample of the first row.
 */
export function settleLogits(
  name: string,
  logits: Float32Array,
  classes: number,
  { epoch, start }: { readonly epoch: number; readonly start: number },
): void {
  for (let begin = 0; begin < logits.length; begin += classes) {
    const end = begin + classes;
    let [most, least] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let i = begin; i < end; i++) {
      const z = logits[i];
      if (z > most) most = z;
      if (z < least) least = z;
      if (Number.isNaN(z)) most = Number.POSITIVE_INFINITY;
    }
    if (!Number.isFinite(most)) throw nonFinite(name, logits, begin, classes, epoch, start);
    const floor = most - MASK_GAP;
    if (least >= floor) continue;
    for (let i = begin; i < end; i++) if (logits[i] < floor) logits[i] = floor;
  }
}

/** The first value of the row that is at fault: NaN or +infinity if there is one, else a mask. */
function nonFinite(
  name: string,
  logits: Float32Array,
  begin: number,
  classes: number,
  epoch: number,
  start: number,
): SoftpackError {
  const row = logits.subarray(begin, begin + classes);
  const wrong = row.findIndex((z) => Number.isNaN(z) || z === Number.POSITIVE_INFINITY);
  const where = `epoch ${epoch}, sample ${start + begin / classes}, class ${Math.max(0, wrong)}`;
  const message = wrong < 0 ? 'every class of the row is masked' : 'not a finite logit';
  return new SoftpackError('NON_FINITE', message, {
    field: name === '' ? where : `${name}: ${where}`,
    expected: 'a finite number',
    found: row[Math.max(0, wrong)],
  });
}

/**
 * Rounds logits [rows, classes] to half floats. A row that they cannot hold is shifted first, so that its largest
 * is 0: softmax, at any temperature, does not change.
 */
export function halfLogits(logits: Float32Array, classes: number, out: Uint16Array): void {
  float32ToFloat16(logits, out);
  for (let begin = 0; begin < logits.length; begin += classes) {
    const row = logits.subarray(begin, begin + classes);
    if (row.every((z) => Math.abs(z) <= LARGEST_HALF)) continue;
    const most = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const shifted = row.map((z) => Math.max(z - most, -LARGEST_HALF));
    float32ToFloat16(shifted, out.subarray(begin, begin + classes));
  }
}
