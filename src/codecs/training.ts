import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import type { CodecTraining } from './descriptor.js';

/** The sequence of random numbers that a codec's training draws from. */
export function trainingRandom({ training }: CodecTraining): RandomSequence {
  return new RandomSequence(training?.seed ?? 0, STREAM.codec);
}

/** At most `limit` of the rows of `values`, evenly spaced, in a new array. */
export function thinned(values: Float32Array, limit: number, width = 1): Float32Array {
  const rows = values.length / width;
  const count = Math.min(rows, limit);
  const out = new Float32Array(count * width);
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * rows) / count) * width;
    out.set(values.subarray(from, from + width), i * width);
  }
  return out;
}
