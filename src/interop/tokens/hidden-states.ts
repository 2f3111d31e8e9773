import { allocate } from '../../core/allocate.js';
import { type Float8, float8Table } from '../../core/float8.js';
import { SoftpackError } from '../../errors.js';
import { FLOAT_BYTES, type FloatDtype, floatsOf } from '../../labels/elements.js';
import type { ByteFile } from '../../store/byte-store.js';

/** Types that hidden states are stored in. */
export type HiddenDtype = FloatDtype | Float8;

export function hiddenBytes(dtype: HiddenDtype): number {
  return dtype === 'F8_E4M3' || dtype === 'F8_E5M2' ? 1 : FLOAT_BYTES[dtype];
}

export interface StoredStates {
  readonly file: ByteFile;
  /** For error messages. */
  readonly name: string;
  readonly dtype: HiddenDtype;
  /** First byte of the first position. */
  readonly offset: number;
  /** Elements from one position to the next, and those to read of each. */
  readonly stride: number;
  readonly width: number;
  /** One factor per position. */
  readonly scales?: Float32Array;
}

/** Hidden states of `count` positions from `start` on, [count, width]; `NON_FINITE` naming the first that is none. */
export async function readStates(
  states: StoredStates,
  start: number,
  count: number,
): Promise<Float32Array> {
  const { file, name, dtype, offset, stride, width, scales } = states;
  const each = hiddenBytes(dtype);
  const out = new Float32Array(allocate(4 * count * width, name));
  // Positions lie `stride` apart: one read covers them, layers in between among them, unless those are the most of it.
  const whole = stride === width ? count : 1;
  for (let row = 0; row < count; row += whole) {
    const bytes = new Uint8Array(allocate(whole * width * each, name));
    await file.read(offset + (start + row) * stride * each, bytes);
    out.set(floatsOfStates(bytes, dtype), row * width);
  }
  for (let row = 0; row < count; row++) {
    const state = out.subarray(row * width, (row + 1) * width);
    const scale = scales?.[start + row] ?? 1;
    for (let i = 0; i < width; i++) state[i] *= scale;
    const wrong = state.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0) {
      throw new SoftpackError('NON_FINITE', 'hidden state has a value that is not a number', {
        field: `${name}, position ${start + row}, dimension ${wrong}`,
        expected: 'finite values',
        found: String(state[wrong]),
      });
    }
  }
  return out;
}

function floatsOfStates(bytes: Uint8Array, dtype: HiddenDtype): Float32Array {
  if (dtype !== 'F8_E4M3' && dtype !== 'F8_E5M2') return floatsOf(bytes, dtype);
  const table = float8Table(dtype);
  return Float32Array.from(bytes, (byte) => table[byte]);
}
