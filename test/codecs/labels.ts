import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { softmaxRows } from '#src/labels/temperature.js';

/**
 * Logits like a teacher's: each label mixes a few class centres, read out through a rank-`rank` head, plus a
 * little noise in every direction.
 */
export function syntheticLogits(count: number, classes: number, rank = 12, seed = 1): Float32Array {
  const random = new RandomSequence(seed, STREAM.codec, 99);
  const head = Float32Array.from({ length: rank * classes }, () => random.normal());
  const spectrum = Array.from({ length: rank }, (_, i) => 4 / (1 + i));
  const logits = new Float32Array(count * classes);
  for (let i = 0; i < count; i++) {
    const features = spectrum.map((scale) => scale * random.normal());
    for (let j = 0; j < classes; j++) {
      let z = 0.05 * random.normal();
      for (let f = 0; f < rank; f++) z += features[f] * head[f * classes + j];
      logits[i * classes + j] = z;
    }
  }
  return logits;
}

export function syntheticLabels(count: number, classes: number, tau: number): Float32Array {
  const logits = syntheticLogits(count, classes);
  softmaxRows(logits, count, classes, tau, logits);
  return logits;
}
