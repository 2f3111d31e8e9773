import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';
import type { ListedTargets, TokenTail } from '#src/tokens/targets.js';
import { hiddenDistance } from '#src/training/hidden-distance.js';
import type { Divergence } from '#src/training/token-distance.js';
import { type TokenLossOptions, tokenLoss } from '#src/training/token-loss.js';
import type { HiddenTargets, TokenTargets } from '#src/training/token-targets.js';

/** Deterministic values in [0, 1). */
function values(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  });
}

interface Shape {
  readonly positions: number;
  readonly vocabulary: number;
  readonly width: number;
}

function targetsOf({ positions, vocabulary, width }: Shape, tail: TokenTail): ListedTargets {
  const ids = new Int32Array(positions * width);
  const probabilities = new Float32Array(positions * width);
  const next = new Int32Array(positions);
  const random = values(positions * (width + vocabulary + 2), 7);
  for (let t = 0; t < positions; t++) {
    const order = Array.from({ length: vocabulary }, (_, id) => id);
    order.sort((a, b) => random[t * vocabulary + a] - random[t * vocabulary + b]);
    const entries = Math.min(width, vocabulary) - (t % 3 === 2 ? 1 : 0);
    const shares = values(width, 100 + t).map((v) => 0.05 + v);
    const total = shares.reduce((sum, v) => sum + v, 0);
    const mass = tail.kind === 'sampled' || width === vocabulary ? 1 : 0.75;
    for (let e = 0; e < Math.max(entries, 1); e++) {
      ids[t * width + e] = order[e];
      probabilities[t * width + e] = (mass * shares[e]) / total;
    }
    next[t] = t % 4 === 3 ? -1 : order[order.length - 1];
  }
  return { kind: 'listed', vocabulary, positions, width, ids, probabilities, tail, next };
}

/** log softmax of one row, float64. */
function logSoftmax(row: readonly number[]): number[] {
  const top = Math.max(...row);
  const log = top + Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0));
  return row.map((v) => v - log);
}

const xlogy = (p: number, q: number) => (p === 0 ? 0 : p * Math.log(p / q));

/** The loss in float64, by distributions over the whole vocabulary. */
function reference(
  logits: readonly number[],
  targets: TokenTargets,
  { divergence = { kind: 'forward' }, tau = 1, alpha = 1 }: TokenLossOptions,
): number {
  const { vocabulary, positions, next } = targets;
  let [sum, counted] = [0, 0];
  for (let t = 0; t < positions; t++) {
    if (next[t] < 0) continue;
    counted++;
    const row = logits.slice(t * vocabulary, (t + 1) * vocabulary);
    const q = logSoftmax(row.map((v) => v / tau)).map(Math.exp);
    const value =
      targets.kind === 'hidden'
        ? distance(hiddenDistribution(targets, t, tau), q, divergence)
        : listedDistance(targets, t, q, divergence, tau);
    sum += alpha * value - (1 - alpha) * logSoftmax(row)[next[t]];
  }
  return sum / counted;
}

function listedDistance(
  { vocabulary, width, ids, probabilities, tail }: ListedTargets,
  t: number,
  q: readonly number[],
  divergence: Divergence,
  tau: number,
): number {
  const p = new Array<number>(vocabulary).fill(0);
  for (let e = t * width; e < (t + 1) * width; e++) {
    if (probabilities[e] > 0) p[ids[e]] = probabilities[e] ** (1 / tau);
  }
  const mass = p.reduce((a, b) => a + b, 0);
  const unlisted = p.flatMap((v, id) => (v === 0 ? [id] : []));
  if (tail.kind === 'zero' || tail.kind === 'sampled') {
    return p.reduce((a, v, id) => a + xlogy(v / mass, q[id]), 0);
  }
  if (tail.kind === 'ghost') {
    const outside = unlisted.reduce((a, id) => a + q[id], 0);
    return p.reduce((a, v, id) => a + xlogy(v, q[id]), 0) + xlogy(1 - mass, outside);
  }
  const prior = (id: number) => (tail.kind === 'prior' ? tail.prior[id] : 1);
  const all = unlisted.reduce((a, id) => a + prior(id), 0);
  for (const id of unlisted) p[id] = ((1 - mass) * prior(id)) / all;
  return distance(p, q, divergence);
}

function hiddenDistribution(
  { hidden, head, exact }: HiddenTargets,
  t: number,
  tau: number,
): number[] {
  const width = head.shape[1];
  const numbers = hidden instanceof Float32Array ? hidden : hidden.dataSync();
  const state = numbers.subarray(t * width, (t + 1) * width);
  const dot = (row: readonly number[]) => row.reduce((sum, v, i) => sum + v * state[i], 0);
  const logits = head.arraySync().map(dot);
  for (let e = 0; exact !== undefined && e < exact.width; e++) {
    logits[exact.ids[t * exact.width + e]] += exact.corrections[t * exact.width + e];
  }
  return logSoftmax(logits.map((logit) => logit / tau)).map(Math.exp);
}

function distance(p: readonly number[], q: readonly number[], divergence: Divergence): number {
  const kl = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, v, i) => sum + xlogy(v, b[i]), 0);
  if (divergence.kind === 'forward') return kl(p, q);
  if (divergence.kind === 'reverse') return kl(q, p);
  const { beta } = divergence;
  const m = p.map((v, i) => beta * v + (1 - beta) * q[i]);
  return beta * kl(p, m) + (1 - beta) * kl(q, m);
}

/** Loss and gradient by TensorFlow.js, and how many tensors are left. */
function measured(logits: readonly number[], targets: TokenTargets, options: TokenLossOptions) {
  const columns = options.paddedVocabulary ?? targets.vocabulary;
  const before = tf.memory().numTensors;
  const z = tf.tensor3d([...logits], [1, targets.positions, columns]);
  const { value, grad } = tf.valueAndGrad((own) => tokenLoss(own, targets, options))(z);
  const result = { value: value.dataSync()[0], gradient: grad.dataSync() };
  tf.dispose([z, value, grad]);
  expect(tf.memory().numTensors).toBe(before);
  return result;
}

function expectGradient(
  logits: readonly number[],
  targets: TokenTargets,
  options: TokenLossOptions,
) {
  const { value, gradient } = measured(logits, targets, options);
  expect(value).toBeCloseTo(reference(logits, targets, options), 4);
  const step = 1e-4;
  for (let i = 0; i < logits.length; i++) {
    const [up, down] = [step, -step].map((by) =>
      reference(
        logits.map((v, j) => (i === j ? v + by : v)),
        targets,
        options,
      ),
    );
    expect(gradient[i], `element ${i}`).toBeCloseTo((up - down) / (2 * step), 4);
  }
}

const SHAPE = { positions: 6, vocabulary: 13, width: 5 };

function logitsOf({ positions, vocabulary }: Shape): number[] {
  return values(positions * vocabulary, 3).map((v) => Math.fround(10 * v - 5));
}

const prior = Float32Array.from(values(SHAPE.vocabulary, 11), (v) => 0.05 + v);
const TAILS: readonly TokenTail[] = [
  { kind: 'zero' },
  { kind: 'ghost' },
  { kind: 'uniform' },
  { kind: 'prior', prior },
  { kind: 'sampled' },
];

describe.each(['wasm', 'cpu'] as const)('tokenLoss on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend({ backend });
  });

  for (const tail of TAILS) {
    it(`value and gradient of the forward divergence, tail ${tail.kind}`, () => {
      expectGradient(logitsOf(SHAPE), targetsOf(SHAPE, tail), {});
    });
  }

  for (const tail of TAILS.filter(({ kind }) => kind === 'uniform' || kind === 'prior')) {
    for (const divergence of [
      { kind: 'reverse' },
      { kind: 'jsd', beta: 0.5 },
      { kind: 'jsd', beta: 0.1 },
    ] as const) {
      it(`value and gradient, ${JSON.stringify(divergence)}, tail ${tail.kind}`, () => {
        expectGradient(logitsOf(SHAPE), targetsOf(SHAPE, tail), { divergence });
      });
    }
  }

  it('blends with the cross-entropy of the text, at another temperature', () => {
    const targets = targetsOf(SHAPE, { kind: 'zero' });
    expectGradient(logitsOf(SHAPE), targets, { alpha: 0.3, tau: 2 });
    expectGradient(logitsOf(SHAPE), targets, { alpha: 0 });
  });

  it('takes labels of one entry and of the whole vocabulary', () => {
    for (const width of [1, 3]) {
      const shape = { positions: 2, vocabulary: 3, width };
      for (const tail of [{ kind: 'ghost' }, { kind: 'uniform' }, { kind: 'zero' }] as const) {
        expectGradient(logitsOf(shape), targetsOf(shape, tail), {});
      }
    }
  });
});

describe('tokenLoss of hidden states', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  const hiddenOf = (positions: number, vocabulary: number) => ({
    ...{ kind: 'hidden' as const, positions, vocabulary },
    hidden: tf
      .tensor2d(values(positions * 4, 21), [positions, 4])
      .mul(6)
      .sub<tf.Tensor2D>(3),
    head: tf
      .tensor2d(values(vocabulary * 4, 22), [vocabulary, 4])
      .mul(4)
      .sub<tf.Tensor2D>(2),
    next: Int32Array.from({ length: positions }, (_, t) => (t % 4 === 3 ? -1 : t % vocabulary)),
  });

  /** Corrections of 0 to 3 logits of each position. */
  const exactOf = (positions: number, vocabulary: number) => {
    const corrections = Float32Array.from(values(positions * 3, 23), (own, e) =>
      e % 3 < Math.floor(e / 3) % 4 ? 3 * own - 1 : 0,
    );
    const ids = Int32Array.from(corrections, (own, e) =>
      own === 0 ? 0 : (29 * e + 7 * (e % 3)) % vocabulary,
    );
    return { width: 3, ids, corrections };
  };

  it.each<TokenLossOptions>([
    {},
    { tau: 2.5 },
    { alpha: 0.4 },
    { divergence: { kind: 'reverse' }, tau: 2 },
    { divergence: { kind: 'jsd', beta: 0.3 } },
  ])('value and gradient, %j', (options) => {
    const targets = hiddenOf(6, 13);
    expectGradient(logitsOf(SHAPE), targets, options);
    // As an archive gives them.
    const hidden = targets.hidden.dataSync() as Float32Array;
    expectGradient(logitsOf(SHAPE), { ...targets, hidden }, options);
    // With logits that are corrected, of which positions use some entries or none.
    expectGradient(logitsOf(SHAPE), { ...targets, hidden, exact: exactOf(6, 13) }, options);
    tf.dispose([targets.hidden, targets.head]);
  });

  it('is the same whatever part of the vocabulary is in memory', () => {
    const [positions, vocabulary] = [3, 1001];
    const targets = { ...hiddenOf(positions, vocabulary), exact: exactOf(positions, vocabulary) };
    const logits = tf.tensor2d(logitsOf({ positions, vocabulary, width: 1 }), [3, 1001]);
    for (const divergence of [{ kind: 'forward' }, { kind: 'reverse' }] as const) {
      const [whole, parts] = [3 * 1001, 3 * 100].map((elements) =>
        tf.tidy(() => {
          const { value, gradient } = hiddenDistance(logits, targets, divergence, 1, elements);
          return [...value.dataSync(), ...gradient.dataSync()];
        }),
      );
      for (const [i, v] of whole.entries()) expect(parts[i]).toBeCloseTo(v, 4);
    }
    tf.dispose([logits, targets.hidden, targets.head]);
  });

  it.each([
    ['exact.width', { width: 0 }],
    ['exact.ids.length', { width: 2 }],
    ['exact.corrections.length', { corrections: new Float32Array(17) }],
    ['exact.ids', { ids: new Int32Array(18).fill(13) }],
    ['exact.ids', { ids: new Int32Array(18).fill(-1) }],
    ['exact.corrections', { corrections: new Float32Array(18).fill(Number.NaN) }],
  ])('refuses corrections that do not fit: %s', (field, change) => {
    const targets = { ...hiddenOf(6, 13), exact: { ...exactOf(6, 13), ...change } };
    const z = tf.zeros([6, 13]);
    expect(() => tokenLoss(z, targets)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: `targets: ${field}` }),
    );
    tf.dispose([targets.hidden, targets.head, z]);
  });

  it('refuses an output matrix of another teacher', () => {
    const targets = { ...hiddenOf(6, 13), head: tf.zeros<tf.Rank.R2>([13, 5]) };
    const z = tf.zeros([6, 13]);
    for (const hidden of [targets.hidden, new Float32Array(24)]) {
      expect(() => tokenLoss(z, { ...targets, hidden })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    }
    tf.dispose([z, targets.hidden, targets.head]);
  });
});

describe('tokenLoss', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  it('leaves out columns behind the vocabulary if they are named, and refuses them otherwise', () => {
    const targets = targetsOf(SHAPE, { kind: 'ghost' });
    const logits = logitsOf(SHAPE);
    const padded = Array.from({ length: SHAPE.positions * 16 }, (_, i) =>
      i % 16 < 13 ? logits[Math.floor(i / 16) * 13 + (i % 16)] : 50,
    );
    const { value, gradient } = measured(padded, targets, { paddedVocabulary: 16 });
    expect(value).toBeCloseTo(measured(logits, targets, {}).value, 5);
    expect(gradient.filter((_, i) => i % 16 >= 13).every((v) => v === 0)).toBe(true);
    const z = tf.zeros([SHAPE.positions, 16]);
    for (const options of [{}, { paddedVocabulary: 13 }, { paddedVocabulary: 32 }]) {
      expect(() => tokenLoss(z, targets, options)).toThrow(/logits and labels do not match/);
    }
    z.dispose();
  });

  it('stays finite in the reverse direction for a label without any rest', () => {
    const shape = { positions: 1, vocabulary: 3, width: 1 };
    const targets = { ...targetsOf(shape, { kind: 'uniform' }), probabilities: Float32Array.of(1) };
    const { value } = measured(logitsOf(shape), targets, { divergence: { kind: 'reverse' } });
    const floored = { ...targets, probabilities: Float32Array.of(1 - 2 ** -20) };
    const options = { divergence: { kind: 'reverse' } } as const;
    expect(value).toBeCloseTo(reference(logitsOf(shape), floored, options), 3);
  });

  it('gives 0 and no gradient where no position counts', () => {
    const targets = { ...targetsOf(SHAPE, { kind: 'ghost' }), next: new Int32Array(6).fill(-1) };
    const { value, gradient } = measured(logitsOf(SHAPE), targets, {});
    expect(value).toBe(0);
    expect(gradient.every((v) => v === 0)).toBe(true);
  });

  it('counts positions whose next token is not known if it is told so, but not for their text', () => {
    const targets = targetsOf(SHAPE, { kind: 'ghost' });
    const counts = Uint8Array.from(targets.next, (id) => (id < 0 ? 0 : 1));
    const unknown = { ...targets, next: new Int32Array(6).fill(-1), counts };
    expect(measured(logitsOf(SHAPE), unknown, {})).toEqual(measured(logitsOf(SHAPE), targets, {}));
    const z = tf.zeros([SHAPE.positions, SHAPE.vocabulary]);
    expect(() => tokenLoss(z, unknown, { alpha: 0.5 })).toThrow(/next token/);
    z.dispose();
  });

  it('does not look at labels of positions that do not count', () => {
    const targets = targetsOf(SHAPE, { kind: 'uniform' });
    const spoilt = { ...targets, probabilities: targets.probabilities.slice() };
    spoilt.probabilities.fill(Number.NaN, 3 * SHAPE.width, 4 * SHAPE.width);
    const logits = logitsOf(SHAPE);
    expect(measured(logits, spoilt, {})).toEqual(measured(logits, targets, {}));
  });

  it.each([
    ['reverse', { divergence: { kind: 'reverse' } }, 'ghost', 'UNSUPPORTED'],
    ['jsd', { divergence: { kind: 'jsd', beta: 0.5 } }, 'zero', 'UNSUPPORTED'],
    ['jsd of samples', { divergence: { kind: 'jsd', beta: 0.5 } }, 'sampled', 'UNSUPPORTED'],
    ['beta', { divergence: { kind: 'jsd', beta: 1 } }, 'uniform', 'INVALID_ARGUMENT'],
    ['temperature', { tau: 2 }, 'uniform', 'INVALID_ARGUMENT'],
    ['alpha', { alpha: 1.5 }, 'zero', 'INVALID_ARGUMENT'],
  ] as const)('refuses %s where it has no meaning', (_, options, kind, code) => {
    const z = tf.zeros([SHAPE.positions, SHAPE.vocabulary]);
    const targets = targetsOf(SHAPE, { kind });
    expect(() => tokenLoss(z, targets, options)).toThrow(expect.objectContaining({ code }));
    z.dispose();
  });

  it.each<[string, (targets: ListedTargets) => Partial<ListedTargets>]>([
    ['an id twice', ({ ids }) => ({ ids: ids.map((id, e) => (e === 1 ? ids[0] : id)) })],
    ['an id beyond the vocabulary', ({ ids }) => ({ ids: ids.map(() => 13) })],
    ['a negative probability', (t) => ({ probabilities: t.probabilities.map((p) => -p) })],
    ['a sum above 1', (t) => ({ probabilities: t.probabilities.map((p) => 2 * p) })],
    ['NaN', (t) => ({ probabilities: t.probabilities.map(() => Number.NaN) })],
    ['too few ids', ({ ids }) => ({ ids: ids.subarray(1) })],
    ['a next token beyond the vocabulary', ({ next }) => ({ next: next.map(() => 13) })],
    ['a prior with a zero', () => ({ tail: { kind: 'prior', prior: new Float32Array(13) } })],
  ])('refuses %s', (_, change) => {
    const z = tf.zeros([SHAPE.positions, SHAPE.vocabulary]);
    const targets = targetsOf(SHAPE, { kind: 'ghost' });
    expect(() => tokenLoss(z, { ...targets, ...change(targets) })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    z.dispose();
  });
});
