import { describe, expect, it } from 'vitest';
import type { DecodeMethod, DecoderSpec, Head, Kernels } from '#src/kernels/types.js';
import {
  bytesOf,
  cpu,
  guarded,
  packedCodes,
  randomFloats,
  randomStream,
  reference,
  segmentSpec,
} from './support.js';

const HEADS: readonly Head[] = [
  { kind: 'clamp', eps: 1e-3 },
  { kind: 'softmax', tau: 0.7 },
];

const SHAPES = [
  { classes: 1, stages: 1, width: 1, levels: 1 },
  { classes: 7, stages: 3, width: 5, levels: 6 },
  { classes: 64, stages: 10, width: 3, levels: 16 },
  { classes: 999, stages: 20, width: 4, levels: 100 },
  { classes: 1001, stages: 9, width: 13, levels: 31 },
];

interface Case {
  readonly spec: DecoderSpec;
  readonly codes: Uint8Array;
  readonly logits: Float32Array;
  readonly labels: Uint32Array;
  readonly tau: number;
}

function caseOf(shape: (typeof SHAPES)[number], head: Head, method: DecodeMethod): Case {
  const random = randomStream(shape.classes);
  const spec: DecoderSpec = { ...segmentSpec(random, shape), head, method };
  const labels = Uint32Array.of(3, 0, 8, 8);
  const logits = randomFloats(random, labels.length * shape.classes).map((z) => 6 * z);
  return { spec, codes: packedCodes(spec, 9, random), logits, labels, tau: 1.5 };
}

/** Labels as the same kernels decode them, so that only the loss is under test. */
function decodedLabels(kernels: Kernels, { spec, codes, labels }: Case): Float32Array {
  using decoder = kernels.createDecoder(spec);
  const out = new Float32Array(labels.length * spec.classes);
  decoder.decode({ codes, labels, out });
  return out;
}

/** KL(y || softmax(logits / tau)) of one row, in float64, from the definition. */
function klOf(y: Float32Array, logits: readonly number[], tau: number): number {
  const powers = logits.map((z) => Math.exp(z / tau));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.reduce((total, power, j) => {
    const label = y[j] ?? Number.NaN;
    return total + label * (Math.log(label) - Math.log(power / sum));
  }, 0);
}

const VARIANTS: readonly { kernels: Kernels; method: DecodeMethod }[] = [
  { kernels: reference, method: 'latent' },
  { kernels: cpu, method: 'latent' },
  { kernels: cpu, method: 'table' },
  { kernels: cpu, method: 'fixed' },
];

describe.each(VARIANTS)('decodeKl of $kernels.name by $method', ({ kernels, method }) => {
  it.each(HEADS)('gives the loss and its gradient with head $kind', (head) => {
    for (const shape of SHAPES) {
      const example = caseOf(shape, head, method);
      const { spec, codes, labels, logits, tau } = example;
      const { classes } = shape;
      const y = decodedLabels(kernels, example);
      using decoder = kernels.createDecoder(spec);
      const losses = guarded(Float32Array, labels.length);
      const gradient = guarded(Float32Array, logits.length);
      const scale = 0.25;
      decoder.decodeKl({
        ...{ codes, labels, logits, tau, scale },
        losses: losses.view,
        gradient: gradient.view,
      });
      expect(losses.intact() && gradient.intact()).toBe(true);
      for (let i = 0; i < labels.length; i++) {
        const row = [...logits.subarray(i * classes, (i + 1) * classes)];
        const own = y.subarray(i * classes, (i + 1) * classes);
        expect(Math.abs((losses.view[i] ?? Number.NaN) - klOf(own, row, tau))).toBeLessThan(5e-6);
        const found = gradient.view.subarray(i * classes, (i + 1) * classes);
        expect(Math.abs(found.reduce((a, b) => a + b, 0))).toBeLessThan(1e-6);
        // Central differences of the float64 loss.
        for (const j of [0, classes >> 1, classes - 1]) {
          const moved = (by: number) =>
            klOf(
              own,
              row.map((z, l) => (l === j ? z + by : z)),
              tau,
            );
          const slope = (scale * (moved(1e-4) - moved(-1e-4))) / 2e-4;
          expect(Math.abs((found[j] ?? Number.NaN) - slope)).toBeLessThan(1e-6);
        }
      }
    }
  });

  it('leaves out the entropy on request, works in place and without either output', () => {
    const example = caseOf(
      { classes: 999, stages: 20, width: 4, levels: 100 },
      HEADS[0] as Head,
      method,
    );
    const { spec, codes, labels, logits, tau } = example;
    const y = decodedLabels(kernels, example);
    using decoder = kernels.createDecoder(spec);
    const args = { codes, labels, logits, tau };
    const [kl, crossEntropy] = [new Float32Array(4), new Float32Array(4)];
    const gradient = new Float32Array(logits.length);
    decoder.decodeKl({ ...args, losses: kl, gradient });
    decoder.decodeKl({ ...args, losses: crossEntropy, loss: 'cross-entropy' });
    for (let i = 0; i < labels.length; i++) {
      const own = y.subarray(i * spec.classes, (i + 1) * spec.classes);
      const entropy = own.reduce((sum, label) => sum - label * Math.log(label), 0);
      expect(Math.abs((crossEntropy[i] ?? 0) - (kl[i] ?? Number.NaN) - entropy)).toBeLessThan(1e-5);
    }
    const inPlace = logits.slice();
    decoder.decodeKl({ ...args, logits: inPlace, gradient: inPlace });
    expect(bytesOf(inPlace)).toEqual(bytesOf(gradient));
  });

  it('gives the same bytes on any threads and in both forms', async () => {
    const example = caseOf(
      { classes: 100, stages: 8, width: 5, levels: 64 },
      HEADS[1] as Head,
      method,
    );
    const { spec, codes, tau } = example;
    using decoder = kernels.createDecoder(spec);
    const count = 300;
    const labels = Uint32Array.from({ length: count }, (_, i) => i % 9);
    const logits = randomFloats(randomStream(5), count * spec.classes);
    const run = async (threads: number, later: boolean) => {
      const losses = new Float32Array(count).fill(Number.NaN);
      const gradient = new Float32Array(logits.length).fill(Number.NaN);
      const args = { codes, labels, logits, tau, losses, gradient, threads };
      if (later) await decoder.decodeKlAsync(args);
      else decoder.decodeKl(args);
      return Buffer.concat([bytesOf(losses), bytesOf(gradient)]);
    };
    const expected = await run(1, false);
    for (let repeat = 0; repeat < (kernels === reference ? 1 : 10); repeat++) {
      for (const threads of [0, 1, 2, 3]) {
        expect((await run(threads, false)).equals(expected)).toBe(true);
        expect((await run(threads, true)).equals(expected)).toBe(true);
      }
    }
  });
});
