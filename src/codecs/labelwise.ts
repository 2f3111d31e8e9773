import { isTypedArray } from '../core/arrays.js';
import { float32ToFloat16 } from '../core/half.js';
import { sampleIds } from '../core/samples.js';
import { errorAt, isSoftpackError, SoftpackError } from '../errors.js';
import { type DecodeLabelsArgs, decodingTau } from './codec.js';
import { FixedCodec } from './fixed.js';

/** A codec that decodes one label at a time, in `decodeLabel`. */
export abstract class LabelwiseCodec extends FixedCodec {
  /** Fills `values` [classes] with the distribution at `tau` whose code starts at bit `position` of `row`. */
  protected abstract decodeLabel(
    row: Uint8Array,
    position: number,
    values: Float32Array,
    sample: number,
    tau: number,
  ): void;

  decode({ row, labels, context, out, ...given }: DecodeLabelsArgs): void {
    const tau = decodingTau(this, given);
    const positions = sampleIds(labels);
    requireOut(out, positions.length, this.classes);
    requireLabels(row, positions, this.bitsPerLabel);
    const samples = sampleIds(context.samples);
    const values = new Float32Array(this.classes);
    for (const [i, position] of positions.entries()) {
      atLabel(context.epoch, samples[i], () =>
        this.decodeLabel(row, position * this.bitsPerLabel, values, samples[i], tau),
      );
      writeLabel(values, out, i);
    }
  }

  async decodeAsync(args: DecodeLabelsArgs): Promise<void> {
    this.decode(args);
  }
}

/** Row `i` of `out`, in its element type. */
export function writeLabel(values: Float32Array, out: Float32Array | Uint16Array, i: number): void {
  const { length } = values;
  if (isTypedArray(out, 'Float32Array')) out.set(values, i * length);
  else float32ToFloat16(values, out.subarray(i * length, (i + 1) * length));
}

/** max(v, floor) over its sum; `floor` > 0, so that the sum is too. An error names `codes` if v is not finite. */
export function clampHead(values: Float32Array, floor: number): void {
  let sum = 0;
  for (let j = 0; j < values.length; j++) {
    const value = values[j];
    if (!(value > floor)) values[j] = floor;
    if (Number.isNaN(value)) throw invalidCodes('finite values', value);
    sum += values[j];
  }
  if (sum === Number.POSITIVE_INFINITY) throw invalidCodes('finite values', sum);
  for (let j = 0; j < values.length; j++) values[j] /= sum;
}

/** Divides values that are at least 0 by their sum. */
export function renormalise(values: Float32Array): void {
  let sum = 0;
  for (const value of values) {
    if (value < 0) throw invalidCodes('probabilities', value);
    sum += value;
  }
  if (sum === 0) throw invalidCodes('a positive sum', sum);
  for (let j = 0; j < values.length; j++) values[j] /= sum;
}

/** Runs the decoding of one label; an error about its codes names it. */
export function atLabel(epoch: number, sample: number, decode: () => void): void {
  try {
    decode();
  } catch (error) {
    if (!isSoftpackError(error) || error.field !== 'codes') throw error;
    throw errorAt(`epoch ${epoch}, sample ${sample}`, error);
  }
}

/** The error of a code that no encoder writes. */
export function invalidCodes(expected: unknown, found: unknown): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'not a code of this codec', {
    field: 'codes',
    expected,
    found,
  });
}

export function requireOut(out: Float32Array | Uint16Array, labels: number, classes: number): void {
  if (out.length === labels * classes) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'wrong number of elements', {
    field: 'out',
    expected: `${labels} x ${classes}`,
    found: out.length,
  });
}

/** `INVALID_ARGUMENT` naming the first position whose bits are not all inside the row. */
export function requireLabels(row: Uint8Array, positions: Uint32Array, bits: number): void {
  for (const position of positions) {
    if ((position + 1) * bits <= 8 * row.length) continue;
    throw new SoftpackError('INVALID_ARGUMENT', 'no such label in this row', {
      field: 'labels',
      expected: `less than ${Math.floor((8 * row.length) / bits)}`,
      found: position,
    });
  }
}
