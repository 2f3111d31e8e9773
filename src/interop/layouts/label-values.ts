import { numbersOf } from '../../container/torch/numbers.js';
import type { NumberType } from '../../container/torch/values.js';
import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import { invalidFile, SoftpackError } from '../../errors.js';

/** Lowest finite half float: as a logit it has probability 0 at any temperature up to several hundred. */
export const LOWEST_HALF = 0xfbff;

/** Half floats of labels; F16 as they are, wider ones rounded. */
export function halvesOf(dtype: NumberType, bytes: Uint8Array): Uint16Array {
  if (dtype === 'F16') return new Uint16Array(bytes.slice().buffer);
  const values = Float32Array.from(numbersOf(dtype, bytes));
  const halves = new Uint16Array(values.length);
  float32ToFloat16(values, halves);
  return halves;
}

/** `NON_FINITE` naming label and class of the first number that is none. */
export function requireFinite(file: string, field: string, halves: Uint16Array, width: number) {
  const at = halves.findIndex((bits) => (bits & 0x7c00) === 0x7c00);
  if (at < 0) return;
  const value = new Float32Array(1);
  float16ToFloat32(halves.subarray(at, at + 1), value);
  throw new SoftpackError('NON_FINITE', 'label has a value that is not a number', {
    field: `${file}: ${field}, label ${Math.floor(at / width)}, position ${at % width}`,
    expected: 'finite float16 values',
    found: String(value[0]),
  });
}

/** Whether rows of half floats could be probabilities: from 0 to 1, at most 1 together (and a little by rounding). */
export function areShares(halves: Uint16Array, width: number): boolean {
  const row = new Float32Array(width);
  for (let at = 0; at < halves.length; at += width) {
    float16ToFloat32(halves.subarray(at, at + width), row);
    let sum = 0;
    for (const value of row) {
      if (!(value >= 0)) return false;
      sum += value;
    }
    if (sum > 1.02) return false;
  }
  return true;
}

export interface TopLabel {
  readonly classes: ArrayLike<number>;
  readonly values: ArrayLike<number>;
}

/** What classes get that are not among the stored ones. */
export type Rest = 'uniform' | 'zero';

/** Probabilities of all classes from those of the top ones; `where` names the label in errors. */
export function fillProbabilities(
  { classes: ids, values }: TopLabel,
  rest: Rest,
  out: Float32Array,
  where: { readonly file: string; readonly field: string },
): void {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    requireShare(values[i], where);
    sum += values[i];
  }
  const others = out.length - values.length;
  const left = rest === 'uniform' && others > 0 ? Math.max(0, 1 - sum) / others : 0;
  out.fill(left);
  scatter(ids, values, out, where);
}

export function scatter(
  ids: ArrayLike<number>,
  values: ArrayLike<number>,
  out: Float32Array | Uint16Array,
  { file, field }: { readonly file: string; readonly field: string },
): void {
  const seen = new Set<number>();
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (!Number.isInteger(id) || id < 0 || id >= out.length || seen.has(id)) {
      throw invalidFile(file, field, 'wrong class id', {
        expected: `different ids below ${out.length}`,
        found: id,
      });
    }
    seen.add(id);
    out[id] = values[i];
  }
}

/** Float16 rounds probabilities up by 2^-11 at most. */
function requireShare(value: number, { file, field }: { file: string; field: string }): void {
  if (value >= 0 && value <= 1.001) return;
  throw invalidFile(file, field, 'not a probability', { expected: 'from 0 to 1', found: value });
}
