import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float16ToFloat32 } from '#src/core/half.js';
import { expOf } from '#src/kernels/reference/token-exp.js';
import {
  type EncodedTokens,
  type EncodeTokensArgs,
  type TokenLabelModel,
  valueWidth,
} from '#src/kernels/tokens.js';
import {
  bytesOf,
  cpu,
  errorOf,
  guarded,
  randomFloats,
  randomStream,
  reference,
} from './support.js';

interface Shape {
  readonly vocabulary: number;
  readonly k: number;
  readonly samples: number;
  readonly counted?: boolean;
  /** 0: float16. */
  readonly stages: number;
  readonly ordered: number;
}

function shuffled(length: number, random: () => number): Uint32Array {
  const ids = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor((i + 1) * random());
    [ids[i], ids[j]] = [ids[j], ids[i]];
  }
  return ids;
}

function modelOf(
  { vocabulary, k, samples, counted, stages, ordered }: Shape,
  random: () => number,
) {
  const ids = shuffled(vocabulary, random);
  const names = new Uint32Array(vocabulary);
  for (const [name, id] of ids.entries()) names[id] = name;
  const common = { k, samples, counted, ids, names };
  if (stages === 0) return common;
  const width = valueWidth(k, ordered);
  const codebooks = randomFloats(random, stages * 256 * width).map((value) => 2 * value - 2);
  const scale = randomFloats(random, width).map((value) => Math.abs(value) + 0.1);
  return { ...common, values: { ordered, stages, codebooks, scale } };
}

/** Different ids, small names often. */
function drawIds({ ids }: TokenLabelModel, count: number, random: () => number): number[] {
  const names = new Set<number>();
  while (names.size < count) {
    const spread = names.size < count / 2 ? random() ** 6 : random();
    let name = Math.floor(ids.length * spread);
    while (names.has(name)) name = (name + 1) % ids.length;
    names.add(name);
  }
  return Array.from(names, (name) => ids[name]);
}

function labelsOf(
  model: TokenLabelModel,
  labels: number,
  random: () => number,
): Omit<EncodeTokensArgs, 'position'> {
  const { k, samples, values } = model;
  const counts = new Uint32Array(labels).fill(k);
  const ids = new Uint32Array(labels * k);
  const drawn = new Uint32Array(labels * samples);
  for (let i = 0; i < labels; i++) {
    if (values === undefined && random() < 0.3) counts[i] = Math.floor((k + 1) * random());
    ids.set(drawIds(model, counts[i], random), i * k);
    for (let j = 0; j < samples; j++) {
      const own = j % 3 === 0 && counts[i] > 0 ? ids[i * k] : model.ids[Math.floor(5 * random())];
      drawn[i * samples + j] = own ?? 0;
    }
  }
  const common = { model, counts, ids, drawn };
  if (values === undefined) {
    const logProbs = Float32Array.from({ length: labels * k }, () => Math.log(random()) * 3);
    return { ...common, logProbs };
  }
  const indices = Uint16Array.from({ length: labels * values.stages }, () => 256 * random());
  return { ...common, indices };
}

const shapes = fc
  .record({
    vocabulary: fc.constantFrom(1, 2, 3, 5, 64, 397, 4096, 4099, 49_152),
    k: fc.nat(40),
    samples: fc.nat(12),
    counted: fc.boolean(),
    stages: fc.nat(4),
    ordered: fc.integer({ min: 1, max: 32 }),
  })
  .map(({ vocabulary, k, samples, counted, stages, ordered }) => {
    const most = Math.min(k, vocabulary);
    const quantised = stages > 0 && most > 0;
    return {
      ...{ vocabulary, k: most, samples: most === 0 ? samples + 1 : samples, counted },
      ...{ stages: quantised ? stages : 0, ordered: quantised ? Math.min(ordered, most) : 0 },
    };
  });

/** Both decode all labels, and some from a later one on, to the same bytes; returns the ids. */
function decodeBoth(
  model: TokenLabelModel,
  { bytes, begins: further }: EncodedTokens,
  position: number,
  labels: number,
) {
  const begins = Uint32Array.of(...(labels > 0 ? [0] : []), ...further);
  const width = model.k + model.samples;
  const decoded = [reference, cpu].map((kernels) => {
    const ids = new Int32Array(labels * width).fill(-1);
    const probabilities = new Float32Array(labels * width).fill(Number.NaN);
    kernels.decodeTokens({ model, bytes, position, begins, skip: 0, labels: ids, probabilities });
    return { ids, probabilities };
  });
  const [expected, found] = decoded;
  expect(found.ids).toEqual(expected.ids);
  expect(bytesOf(found.probabilities)).toEqual(bytesOf(expected.probabilities));
  const skip = Math.min(63, labels >> 1);
  const rest = new Int32Array((labels - skip) * width);
  const probabilities = new Float32Array(rest.length);
  cpu.decodeTokens({ model, bytes, position, begins, skip, labels: rest, probabilities });
  expect(rest).toEqual(expected.ids.subarray(skip * width));
  return expected;
}

describe('the addon and the reference', () => {
  it('write the same bits and read the same labels, of any shape', () => {
    fc.assert(
      fc.property(shapes, fc.nat(400), fc.nat(40), fc.nat(), (shape, labels, position, seed) => {
        const random = randomStream(seed);
        const model = modelOf(shape, random);
        const args = { ...labelsOf(model, labels, random), position };
        const expected = reference.encodeTokens(args);
        const found = cpu.encodeTokens(args);
        expect(found.bytes).toEqual(expected.bytes);
        expect(found.begins).toEqual(expected.begins);
        const { ids } = decodeBoth(model, found, position, labels);
        const width = shape.k + shape.samples;
        for (let i = 0; i < labels; i++) {
          const own = new Set(ids.subarray(i * width, (i + 1) * width));
          for (let j = 0; j < args.counts[i]; j++)
            expect(own.has(args.ids[i * shape.k + j])).toBe(true);
          if (shape.stages === 0) continue;
          // The order of the first ids is kept.
          const [from, to] = [i * width, i * width + shape.ordered];
          const given = args.ids.subarray(i * shape.k, i * shape.k + shape.ordered);
          expect(Array.from(ids.subarray(from, to))).toEqual(Array.from(given));
        }
      }),
      { numRuns: 25 },
    );
  });

  it.each([
    { vocabulary: 262_144, k: 20, samples: 0, stages: 4, ordered: 20 },
    { vocabulary: 262_144, k: 1024, samples: 256, stages: 0, ordered: 0 },
    { vocabulary: 300, k: 300, samples: 7, stages: 16, ordered: 32 },
    { vocabulary: 1, k: 1, samples: 1, stages: 1, ordered: 1 },
    { vocabulary: 151_936, k: 2, samples: 3, stages: 0, ordered: 0 },
    { vocabulary: 262_144, k: 0, samples: 256, counted: true, stages: 0, ordered: 0 },
    { vocabulary: 3, k: 0, samples: 256, counted: true, stages: 0, ordered: 0 },
    { vocabulary: 1, k: 1, samples: 1, counted: true, stages: 1, ordered: 1 },
  ])('agree at the limits, %j', (shape) => {
    const random = randomStream(shape.vocabulary);
    const model = modelOf(shape, random);
    const labels = shape.k > 300 ? 2 : 66;
    const args = { ...labelsOf(model, labels, random), position: 3 };
    const encoded = cpu.encodeTokens(args);
    expect(encoded).toEqual(reference.encodeTokens(args));
    decodeBoth(model, encoded, 3, labels);
  });

  it('answer damaged codes with an error of the same kind, or with the same labels', () => {
    const errors = new Set<unknown>();
    fc.assert(
      fc.property(shapes, fc.uint8Array({ maxLength: 300 }), fc.nat(99), (shape, bytes, seed) => {
        const model = modelOf(shape, randomStream(seed));
        const width = shape.k + shape.samples;
        const outcomes = [reference, cpu].map((kernels) => {
          const labels = new Int32Array(3 * width);
          const probabilities = new Float32Array(3 * width);
          const place = { position: seed, begins: Uint32Array.of(seed % 5), skip: seed % 3 };
          const args = { model, bytes, ...place, labels, probabilities };
          const error = errorOf(() => kernels.decodeTokens(args));
          errors.add(error === undefined);
          for (const p of error === undefined ? probabilities : [])
            expect(p).toBeGreaterThanOrEqual(0);
          if (error === undefined) return { labels, probabilities: bytesOf(probabilities) };
          return {
            code: Reflect.get(Object(error), 'code'),
            field: Reflect.get(Object(error), 'field'),
          };
        });
        expect(outcomes[1]).toEqual(outcomes[0]);
      }),
      { numRuns: 200 },
    );
    expect(errors).toEqual(new Set([true, false]));
  });

  it.each<[string, (args: EncodeTokensArgs) => Partial<EncodeTokensArgs>]>([
    ['an id twice', ({ ids }) => ({ ids: ids.map((id, i) => (i === 1 ? ids[0] : id)) })],
    [
      'an id beyond the vocabulary',
      ({ ids }) => ({ ids: ids.map((id, i) => (i === 2 ? 397 : id)) }),
    ],
    ['a sample beyond it', ({ drawn }) => ({ drawn: drawn.map(() => 2 ** 32 - 1) })],
    ['more ids than k', ({ counts }) => ({ counts: counts.map((count) => count + 1) })],
    ['fewer with codebooks', ({ counts }) => ({ counts: counts.map((count) => count - 1) })],
  ])('refuse %s', (_, change) => {
    const random = randomStream(1);
    const model = modelOf({ vocabulary: 397, k: 5, samples: 2, stages: 2, ordered: 3 }, random);
    const args = { ...labelsOf(model, 3, random), position: 0 };
    for (const kernels of [reference, cpu]) {
      const wrong = { ...args, ...change(args) };
      expect(errorOf(() => kernels.encodeTokens(wrong))).toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: 'ids',
      });
    }
  });
});

it('writes nothing around its outputs, also in shared memory', () => {
  const random = randomStream(4);
  const model = modelOf({ vocabulary: 397, k: 5, samples: 4, stages: 2, ordered: 3 }, random);
  const { bytes } = cpu.encodeTokens({ ...labelsOf(model, 9, random), position: 5 });
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 3), 3);
  shared.set(bytes);
  const out = guarded(Float32Array, 9 * 9, { shared: true });
  const ids = new Int32Array(new SharedArrayBuffer(4 * (9 * 9 + 2)), 4, 9 * 9);
  const place = { position: 5, begins: new Uint32Array(1), skip: 0 };
  cpu.decodeTokens({ model, bytes: shared, ...place, labels: ids, probabilities: out.view });
  expect(out.intact()).toBe(true);
  const around = new Int32Array(ids.buffer);
  expect([around[0], around[82]]).toEqual([0, 0]);
  expect(Array.from(ids).some((id) => id > 0)).toBe(true);
});

it('exponentials are those of the engine, rounded to float32, for every half from -0 down and for others', () => {
  const halves = Uint16Array.from({ length: 0x7c01 }, (_, i) => 0x8000 + i);
  const values = new Float32Array(halves.length);
  float16ToFloat32(halves, values);
  const random = randomStream(9);
  const others = Float32Array.from({ length: 50_000 }, () => -110 * random() ** 3);
  for (const x of [...values, ...others]) {
    if (Math.fround(expOf(x)) !== Math.fround(Math.exp(x)))
      expect([x, expOf(x)]).toEqual([x, Math.exp(x)]);
  }
  expect(expOf(Number.NaN)).toBeNaN();
  expect(expOf(0)).toBe(1);
});
