import { describe, expect, test } from 'vitest';
import { LabelInspection, requireLogits } from '#src/labels/inspection.js';
import { probabilitySource } from '#src/labels/probabilities.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { syntheticLogits } from '../codecs/labels.js';

const shape = { epochs: 3, samples: 40, classes: 10 };
const logits = syntheticLogits(120, 10);
const probabilities = new Float32Array(logits.length);
softmaxRows(logits, 120, 10, 1, probabilities);
const oneHot = probabilities.map((_, i) => (i % 10 === (i * 7) % 9 ? 1 : 0));

function inspect(values: Float32Array, tau = 20) {
  return requireLogits(memoryLabelSource(values, shape), tau, 'labels.npy');
}

describe('labels are taken for logits only if they look like logits', () => {
  test.each([
    ['probabilities', probabilities, /every row sums to 1/, '--probabilities'],
    ['half-float probabilities', probabilities.map(toHalf), /every row sums to 1/, '--prob'],
    ['one-hot rows', hardened(probabilities), /every row sums to 1/, '--probabilities'],
    ['percentages', probabilities.map((p) => 100 * p), /every row sums to 100/, 'divided by 100'],
    ['bytes', probabilities.map((p) => 255 * p), /every row sums to 255/, 'divided by 255'],
    ['sigmoid outputs', logits.map((z) => 1 / (1 + Math.exp(-z))), /sigmoid/, 'log(p / (1 - p))'],
    ['several classes of each sample', oneHot, /sigmoid/, 'log(p / (1 - p))'],
    ['cosines of almost no spread', logits.map((z) => z / 2000), /nearly uniform/, '--tau 1'],
    ['zeros', new Float32Array(1200), /nearly uniform/, '--tau 1'],
    ['shifted zeros', new Float32Array(1200).fill(-9), /nearly uniform/, '--tau 1'],
  ])('%s are refused, with what to type', async (_, values, message, remedy) => {
    const error = await inspect(values).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'labels.npy' });
    expect(error).toMatchObject({ message: expect.stringMatching(message) });
    expect(error).toMatchObject({ message: expect.stringContaining(remedy) });
    expect(error).toMatchObject({ message: expect.stringContaining("{ labels: 'logits' }") });
  });

  test.each([
    ['logits', logits],
    ['logits of a sure teacher', logits.map((z) => 1000 * z)],
    ['logits above 0', logits.map((z) => z + 100)],
    ['logits after a ReLU', logits.map((z) => Math.max(z, 0))],
    ['log-probabilities', probabilities.map(Math.log)],
    ['a masked class', logits.map((z, i) => (i % 10 === 3 ? Number.NEGATIVE_INFINITY : z))],
    ['half of the scale of a weak teacher', logits.map((z) => z / 40)],
  ])('%s are taken', async (_, values) => {
    await expect(inspect(Float32Array.from(values))).resolves.toBeUndefined();
  });

  test('a temperature that leaves nothing but the likeliest class is refused', async () => {
    for (const tau of [1e-3, 1e-30]) {
      await expect(inspect(logits, tau)).rejects.toMatchObject({
        ...{ code: 'INVALID_ARGUMENT', field: 'labels.npy' },
        message: expect.stringContaining('a higher temperature, e.g. --tau 1'),
      });
    }
    for (const tau of [0.1, 0.5]) await expect(inspect(logits, tau)).resolves.toBeUndefined();
  });

  test('one class, or too few values to tell', () => {
    const one = new LabelInspection(1, 20);
    one.add(Float32Array.of(0.5, 1, 0));
    expect(() => one.require('x')).not.toThrow();
    const few = new LabelInspection(3, 1);
    few.add(Float32Array.of(0.9, 0.1, 0.7));
    expect(() => few.require('x')).not.toThrow();
    few.add(Float32Array.from({ length: 90 }, (_, i) => ((i * 7) % 10) / 10));
    expect(() => few.require('x')).toThrow(/sigmoid/);
  });
});

describe('probabilitySource', () => {
  test.each([1, 4])('gives logits of the same labels, softened at temperature %i', async (tau) => {
    const source = probabilitySource(memoryLabelSource(probabilities, shape), 'p.npy');
    const found = await source.read(1, 3, 5);
    const labels = new Float32Array(50);
    softmaxRows(found, 5, 10, tau, labels);
    const direct = new Float32Array(50);
    softmaxRows(logits.subarray(430, 480), 5, 10, tau, direct);
    for (const [i, value] of direct.entries()) expect(labels[i]).toBeCloseTo(value, 6);
  });

  test('keeps one-hot rows one-hot at any temperature, and zeros of float32 at zero', async () => {
    const rows = Float32Array.of(0, 1, 0, 0, 0.25, 0.75);
    const source = memoryLabelSource(rows, { epochs: 1, samples: 2, classes: 3 });
    const found = await probabilitySource(source, 'p').read(0, 0, 2);
    const labels = new Float32Array(6);
    softmaxRows(found, 2, 3, 20, labels);
    const soft = 0.25 ** 0.05 / (0.25 ** 0.05 + 0.75 ** 0.05);
    for (const [i, value] of [0, 1, 0, 0, soft, 1 - soft].entries()) {
      expect(labels[i]).toBeCloseTo(value, 6);
    }
  });

  test('takes a zero of float16 for the least half float', async () => {
    const values = Float32Array.of(0.5, 0.5, 0);
    const source = memoryLabelSource(values, { epochs: 1, samples: 1, classes: 3 });
    const halves = probabilitySource({ ...source, dtype: 'F16' }, 'p');
    expect((await halves.read(0, 0, 1))[2]).toBeCloseTo(Math.log(2 ** -24), 5);
  });

  test.each([
    ['sum', Float32Array.of(0.5, 0.1, 0.1)],
    ['sum', Float32Array.of(0.9, 0.9, 0.9)],
    ['value', Float32Array.of(1.5, -0.5, 0)],
  ])('names epoch and sample of a row that is none, by its %s', async (what, row) => {
    const values = Float32Array.of(1, 0, 0, ...row);
    const source = memoryLabelSource(values, { epochs: 2, samples: 1, classes: 3 });
    await expect(probabilitySource(source, 'p.npy').read(1, 0, 1)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'p.npy: epoch 1, sample 0',
      found: expect.stringContaining(what),
    });
  });
});

/** Rounded to 11 bits, as half floats are. */
function toHalf(p: number): number {
  const unit = 2 ** (Math.floor(Math.log2(p)) - 10);
  return Math.round(p / unit) * unit;
}

function hardened(values: Float32Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i += 10) {
    const row = [...values.subarray(i, i + 10)];
    out[i + row.indexOf(Math.max(...row))] = 1;
  }
  return out;
}
