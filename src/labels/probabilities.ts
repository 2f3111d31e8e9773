import { SoftpackError } from '../errors.js';
import { MASK_GAP } from './logits.js';
import type { LabelSource } from './source.js';
import { LEAST_HALF } from './temperature.js';

const SUM_TOLERANCE = 0.02;

/**
 * A source of probabilities as one of logits, z = log p: softmax(z) gives them back, softmax(z / tau) softens them.
 * Closing it closes the other.
 *
 * A probability of 0 is a class that is masked out, except in float16: there it may be as large as half of the
 * least half float, and counts as that float unless the row is one-hot.
 */
export function probabilitySource(source: LabelSource, name: string): LabelSource {
  const { epochs, samples, classes, dtype, fingerprint } = source;
  const tiny = dtype === 'F16' ? LEAST_HALF : 0;
  const close = () => source.close();
  return {
    ...{ epochs, samples, classes, dtype },
    async read(epoch, start, count) {
      const values = await source.read(epoch, start, count);
      for (let i = 0; i < count; i++) {
        const row = values.subarray(i * classes, (i + 1) * classes);
        requireDistribution(row, `${name}: epoch ${epoch}, sample ${start + i}`);
        takeLogarithms(row, row.includes(1) ? 0 : tiny);
      }
      return values;
    },
    ...(fingerprint && {
      fingerprint: async () => ({ ...(await fingerprint.call(source)), labels: 'probabilities' }),
    }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function requireDistribution(row: Float32Array, field: string): void {
  let sum = 0;
  let least = 0;
  for (const value of row) {
    sum += value;
    least = Math.min(least, value);
  }
  if (least >= -SUM_TOLERANCE && Math.abs(sum - 1) <= SUM_TOLERANCE) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'not probabilities', {
    field,
    expected: 'values of at least 0 with a sum of 1',
    found:
      least < -SUM_TOLERANCE ? `a value of ${least}` : `a sum of ${Number(sum.toPrecision(4))}`,
  });
}

/** At most MASK_GAP below the row's largest, where a probability is 0 at any temperature. */
function takeLogarithms(row: Float32Array, tiny: number): void {
  for (let j = 0; j < row.length; j++) row[j] = Math.log(Math.max(row[j], tiny));
  const most = row.reduce((a, b) => Math.max(a, b));
  for (let j = 0; j < row.length; j++) row[j] = Math.max(row[j], most - MASK_GAP);
}
