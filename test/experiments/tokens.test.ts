import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import type { Answer } from '#apps/experiments/tokens/answer.js';
import { judge } from '#apps/experiments/tokens/judge.js';
import { packTexts } from '#apps/experiments/tokens/packed.js';
import { commonSeeds, meanScore, paired } from '#apps/experiments/tokens/paired.js';
import { Predictor } from '#apps/experiments/tokens/predictor.js';
import { greedyAnswers, rougeL } from '#apps/experiments/tokens/rouge.js';
import { TokenStudent } from '#apps/experiments/tokens/student.js';
import { newStudent, trainStudent } from '#apps/experiments/tokens/train.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const V = 12;
const SHAPE = { vocabulary: V, width: 8, layers: 2, heads: 2, positions: 6 };

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** A teacher whose opinion is of the last token alone: with this output matrix its states are its logits. */
const HEAD = {
  ...{ vocabulary: V, width: V },
  weights: Float32Array.from({ length: V * V }, (_, i) => (i % (V + 1) === 0 ? 1 : 0)),
};
function logitsBehind(token: number): number[] {
  const logits = Array.from({ length: V }, (_, id) => 2 * Math.sin(token + 1.3 * id));
  const sum = logits.reduce((all, x) => all + Math.exp(x), 0);
  return logits.map((x) => x - Math.log(sum));
}

/** Answers of four or five tokens, drawn from the teacher. */
function answers(count: number): Answer[] {
  const random = new RandomSequence(3, STREAM.answers);
  return Array.from({ length: count }, () => {
    const tokens = [4, 0];
    const states: number[] = [];
    for (let rows = 4 + random.below(2); rows > 0; rows--) {
      const logits = logitsBehind(tokens[tokens.length - 1]);
      states.push(...logits);
      tokens.push(drawn(logits, random.uniform()));
    }
    const all = Float32Array.from(states);
    return {
      ...{ tokens: Int32Array.from(tokens), first: 1, rows: tokens.length - 2 },
      states: async () => all,
    };
  });
}

function drawn(logits: readonly number[], uniform: number): number {
  const weights = logits.map(Math.exp);
  let left = uniform * weights.reduce((a, b) => a + b, 0);
  return Math.max(
    weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    }),
    0,
  );
}

test('a student sees neither later tokens nor other texts', async () => {
  using student = new TokenStudent(SHAPE, 1);
  const logits = (tokens: readonly number[], sequences: readonly number[]) => {
    const offsets = sequences.map((s, i) => i - sequences.indexOf(s));
    const input = { tokens: Int32Array.from(tokens), sequences: Int32Array.from(sequences) };
    return student.apply({ ...input, offsets: Int32Array.from(offsets) }).arraySync();
  };
  const all = logits([1, 2, 3, 4, 5], [0, 0, 0, 1, 1]);
  const later = logits([1, 2, 9, 8, 7], [0, 0, 0, 1, 1]);
  const alone = logits([4, 5], [1, 1]);
  for (let v = 0; v < V; v++) {
    expect(later[1][v]).toBeCloseTo(all[1][v], 5);
    expect(alone[1][v]).toBeCloseTo(all[4][v], 5);
  }
  expect(later[2]).not.toEqual(all[2]);
});

test('students learn from labels, from the text, from the teacher, and from a prediction', async () => {
  const texts = answers(30);
  const { signal } = new AbortController();
  const tensor = tf.tensor2d(HEAD.weights, [V, V]);
  const head = { ...HEAD, tensor };
  const shared = { seed: 0, head, signal };
  await using packed = await packTexts(
    texts,
    { name: 'topk', k: V },
    { ...shared, out: temporary.path('labels') },
  );
  const recipe = {
    shape: { width: 16, layers: 1, heads: 2 },
    ...{ passes: 3, window: 64, learningRate: 0.02 },
  };
  const setting = {
    ...{ packed, answers: texts, head, recipe, positions: 7, onStep: () => {}, signal },
  };
  const perLabel = async (student: TokenStudent) => {
    const { kl } = await judge(student, texts, head);
    return kl.reduce((a, b) => a + b, 0) / texts.reduce((sum, { rows }) => sum + rows, 0);
  };
  using fresh = newStudent(recipe, head, 7, 1);
  const before = await perLabel(fresh);
  using taught = await trainStudent('teacher', 1, setting);
  using labelled = await trainStudent('labels', 1, setting);
  using told = await trainStudent('text', 1, setting);
  const [online, whole] = [await perLabel(taught), await perLabel(labelled)];
  expect(online).toBeLessThan(before / 2);
  // Labels of all ids are the teacher, up to float16.
  expect(whole).toBeCloseTo(online, 2);
  const text = await perLabel(told);
  expect(text).toBeGreaterThan(online);
  const choice = { name: 'hidden', kl: 1e-5 } as const;
  const out = temporary.path('hidden');
  await using coded = await packTexts(texts, choice, { ...shared, out });
  using stated = await trainStudent('labels', 1, { ...setting, packed: coded });
  // Such short trainings amplify any rounding: divergences of labels of 1e-6 to 5e-5 move them by up to .012, either way.
  expect(Math.abs((await perLabel(stated)) - online)).toBeLessThan(0.1 * (text - online));
  // The teacher's state is a function of the token that it is at: a linear prediction knows it.
  using predictor = await Predictor.learn(texts, head);
  const order = Int32Array.from([...texts[0].tokens, ...texts[1].tokens.subarray(0, 3), -1]);
  const { length } = texts[0].tokens;
  const sequences = order.map((_, i) => (i < length ? 0 : 1));
  sequences[order.length - 1] = -1;
  const offsets = order.map((_, i) => (i < length ? i : i - length));
  const states = predictor.states(sequences, offsets, texts);
  for (const [i, token] of order.entries()) {
    const labels = i < length ? i >= 1 && i < length - 1 : offsets[i] >= 1 && i + 1 < order.length;
    const state = states.subarray(i * V, (i + 1) * V);
    if (!labels) expect(Math.max(...state.map(Math.abs))).toBe(0);
    else expect(divergence(logitsBehind(token), [...state])).toBeLessThan(0.03);
  }
  using predicted = await trainStudent('predictor', 1, { ...setting, predictor });
  expect(await perLabel(predicted)).toBeLessThan(online + 0.1);
  // Weights are kept and taken as they are.
  using copy = newStudent(recipe, head, 7, 2);
  copy.assign(await taught.values());
  expect(await perLabel(copy)).toBeCloseTo(online, 6);
  tensor.dispose();
});

function divergence(teacher: readonly number[], student: readonly number[]): number {
  const share = (logits: readonly number[]) => {
    const sum = logits.reduce((all, x) => all + Math.exp(x), 0);
    return logits.map((x) => Math.exp(x) / sum);
  };
  const [p, q] = [share(teacher), share(student)];
  return p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]), 0);
}

test('a student that sees the states learns what no text tells', async () => {
  // States are noise: only who sees them knows them.
  const random = new RandomSequence(5, STREAM.answers);
  const texts = answers(16).map((own) => {
    const states = Float32Array.from({ length: own.rows * V }, () => 1.5 * random.normal());
    return { ...own, states: async () => states };
  });
  const tensor = tf.tensor2d(HEAD.weights, [V, V]);
  const head = { ...HEAD, tensor };
  const { signal } = new AbortController();
  const out = temporary.path('noise');
  await using packed = await packTexts(
    texts,
    { name: 'topk', k: 1 },
    { seed: 0, head, out, signal },
  );
  const learn = async (informed?: number) => {
    const shape = { width: 16, layers: 1, heads: 2, informed };
    const recipe = { shape, passes: 10, window: 16, learningRate: 0.02 };
    const setting = {
      packed,
      answers: texts,
      head,
      recipe,
      positions: 7,
      onStep: () => {},
      signal,
    };
    using student = await trainStudent('teacher', 1, setting);
    const { kl } = await judge(student, texts, head);
    return kl.reduce((a, b) => a + b, 0) / texts.reduce((sum, { rows }) => sum + rows, 0);
  };
  expect(await learn(V)).toBeLessThan(0.5 * (await learn()));
  tensor.dispose();
});

test('answers are the most probable tokens, and are compared by their longest common subsequence', async () => {
  using student = new TokenStudent(SHAPE, 1);
  const best = (tokens: readonly number[]) => {
    const input = {
      tokens: Int32Array.from(tokens),
      sequences: new Int32Array(tokens.length),
      offsets: Int32Array.from(tokens, (_, i) => i),
    };
    const rows = student.apply(input).arraySync();
    const last = rows[rows.length - 1];
    return last.indexOf(Math.max(...last));
  };
  const prompts = Array.from({ length: 20 }, (_, i) => Int32Array.of(i % V, (3 * i) % V));
  const end = best([...prompts[0]]);
  const found = await greedyAnswers(student, prompts, { end, most: 3 });
  for (const [i, prompt] of prompts.entries()) {
    const expected: number[] = [];
    while (expected.length < 3) {
      const next = best([...prompt, ...expected]);
      if (next === end) break;
      expected.push(next);
    }
    expect(found[i]).toEqual(expected);
  }
  expect(found[0]).toEqual([]);
  expect(rougeL([1, 2, 3, 4], [1, 3, 9, 4])).toBeCloseTo(0.75);
  expect(rougeL([1, 2], [2, 1, 2, 2])).toBeCloseTo(4 / 6);
  expect(rougeL([], [1])).toBe(0);
});

test('differences are weighted by labels, and texts are drawn whole', () => {
  const row = (...students: readonly (readonly number[])[]) => ({
    ...{ method: 'm', base: 'm', rouge: [] },
    judged: students.map((kl, i) => ({ seed: 2 * i, kl, nll: kl })),
  });
  const labels = [1, 3, 2];
  const base = row([1, 1, 1]);
  const { mean, low, high } = paired(row([2, 4, 3]), base, labels, 'kl');
  expect(mean).toBeCloseTo((1 + 3 + 2) / 6);
  expect([low, high]).toEqual([expect.closeTo(1), expect.closeTo(1)]);
  const uneven = paired(row([3, 1, 1]), base, labels, 'kl');
  expect(uneven.mean).toBeCloseTo(2 / 6);
  expect(uneven.low).toBe(0);
  expect(uneven.high).toBeGreaterThan(uneven.mean);
  // Of each seed the difference from the student of that seed, whatever others there are.
  const later = { ...base, judged: [{ seed: 2, kl: [2, 2, 2], nll: [2, 2, 2] }] };
  const several = row([9, 9, 9], [3, 3, 3]);
  expect(commonSeeds(several, later)).toEqual([2]);
  expect(paired(several, later, labels, 'kl').mean).toBeCloseTo(3 / 6);
  const scores = meanScore([
    [0.5, 0.1],
    [0.7, 0.3],
  ]);
  expect(scores.mean).toBeCloseTo(0.4);
  expect([scores.low, scores.high]).toEqual([expect.closeTo(0.2), expect.closeTo(0.6)]);
});
