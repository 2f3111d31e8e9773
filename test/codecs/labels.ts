import type { LabelContext } from '#src/codecs/codec.js';
import type { CodecTraining } from '#src/codecs/descriptor.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { softmaxRows } from '#src/labels/temperature.js';

/** The ways in which a codec's training asks for its labels: all of these, whoever asks. */
export function trainingOn(
  logits: Float32Array,
  classes: number,
  tau: number,
  known: Partial<LabelContext> = {},
): Pick<CodecTraining, 'draw' | 'scan' | 'drawLogits' | 'scanLogits'> {
  const count = logits.length / classes;
  const labels = new Float32Array(logits.length);
  softmaxRows(logits, count, classes, tau, labels);
  const visitAll: CodecTraining['scanLogits'] = async (visit) => {
    await visit(logits.slice(), { epoch: 0, samples: { start: 0, count }, ...known });
  };
  return {
    draw: async () => labels.slice(),
    scan: async (visit) => visit(0, labels),
    drawLogits: visitAll,
    scanLogits: visitAll,
  };
}

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
