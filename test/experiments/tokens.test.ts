import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { answer } from '#apps/experiments/tokens/answer.js';
import { Answers } from '#apps/experiments/tokens/answers.js';
import { packTexts } from '#apps/experiments/tokens/packed.js';
import { paired } from '#apps/experiments/tokens/paired.js';
import { TokenStudent } from '#apps/experiments/tokens/student.js';
import { judge, trainStudent } from '#apps/experiments/tokens/train.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const V = 12;
const SHAPE = { vocabulary: V, width: 8, layers: 2, heads: 2, positions: 6 };

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** A teacher whose opinion is of the last token alone; ids are 3 above those of the task. */
function stubSequence() {
  const weights = (token: number) =>
    Array.from({ length: V + 3 }, (_, id) => Math.exp(2 * Math.sin(token + 1.3 * id)));
  return {
    async clearHistory() {},
    async controlledEvaluate(input: readonly (readonly [token: number, options: object])[]) {
      return input.map(([token]) => {
        const own = weights(token);
        const sum = own.reduce((a, b) => a + b, 0);
        return { next: { probabilities: new Map(own.map((w, id) => [id, w / sum])) } };
      });
    },
  };
}

const TASK = { ids: Int32Array.from({ length: V }, (_, i) => i + 3), end: 1, prompts: [] };
const PROMPT = { tokens: Int32Array.of(4, 0), teacher: [5, 6] };

function answers(count: number) {
  return Promise.all(
    Array.from({ length: count }, (_, i) => answer(stubSequence(), TASK, PROMPT, i, 5)),
  );
}

test('answers are drawn among the ids of the task, from the distribution that is their label', async () => {
  const [one] = await answers(1);
  const drawn = one.tokens.subarray(one.first + 1);
  expect(one.first).toBe(1);
  expect(drawn.length).toBe(one.rows);
  expect(await answer(stubSequence(), TASK, PROMPT, 0, 5)).toEqual(one);
  const weights = Array.from({ length: V }, (_, i) => Math.exp(2 * Math.sin(6 + 1.3 * (i + 3))));
  const sum = weights.reduce((a, b) => a + b, 0);
  for (let i = 0; i < V; i++) expect(one.logs[i]).toBeCloseTo(Math.log(weights[i] / sum), 5);
  expect(one.mass).toBeGreaterThan(0);
  expect(one.mass).toBeLessThan(1);
  const many = await answers(40);
  expect(new Set(many.map(({ tokens }) => tokens[2])).size).toBeGreaterThan(1);
  for (const { tokens, rows } of many) {
    const ended = tokens[tokens.length - 1] === TASK.end;
    expect(ended || rows === 5).toBe(true);
    expect(tokens.subarray(2, -1)).not.toContain(TASK.end);
  }
});

test('answers on disk are not made again', async () => {
  const dir = temporary.path('answers');
  const task = { ...TASK, prompts: [PROMPT, PROMPT, PROMPT] };
  const made: number[] = [];
  const make = (most: number) => {
    const own = { ...task, prompts: task.prompts.slice(0, most) };
    const onProgress = (done: number) => made.push(done);
    const { signal } = new AbortController();
    return new Answers(dir, V).make(own, 5, stubSequence(), onProgress, signal);
  };
  await make(2);
  await make(3);
  expect(made).toEqual([1, 2, 3]);
  const [first] = await answers(1);
  expect(await new Answers(dir, V).read(0)).toMatchObject({
    ...first,
    mass: expect.closeTo(first.mass, 6),
  });
});

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

test('students learn from labels, from the text and from the teacher', async () => {
  const texts = await answers(30);
  const out = temporary.path('labels');
  const { signal } = new AbortController();
  const shared = { seed: 0, vocabulary: V, signal };
  await using packed = await packTexts(texts, { name: 'topk', k: V }, { ...shared, out });
  const recipe = {
    shape: { width: 16, layers: 1, heads: 2 },
    epochs: 4,
    window: 64,
    learningRate: 0.025,
  };
  const setting = { packed, answers: texts, recipe, onStep: () => {}, signal };
  const perLabel = async (student: TokenStudent) => {
    const { kl } = await judge(student, texts);
    return kl.reduce((a, b) => a + b, 0) / texts.reduce((sum, { rows }) => sum + rows, 0);
  };
  using fresh = new TokenStudent({ ...SHAPE, layers: 1, positions: 8 }, 1);
  const before = await perLabel(fresh);
  using taught = await trainStudent('teacher', 1, setting);
  using labelled = await trainStudent('labels', 1, setting);
  using told = await trainStudent('text', 1, setting);
  const [online, whole] = [await perLabel(taught), await perLabel(labelled)];
  expect(online).toBeLessThan(before / 2);
  // Labels of all ids are the teacher, up to float16.
  expect(whole).toBeCloseTo(online, 2);
  expect(await perLabel(told)).toBeGreaterThan(online);
  // With an output matrix that changes nothing, log-probabilities are hidden states.
  const states = texts.map((own) => ({ ...own, hidden: own.logs }));
  const weights = Float32Array.from({ length: V * V }, (_, i) => (i % (V + 1) === 0 ? 1 : 0));
  const head = { vocabulary: V, width: V, weights };
  const choice = { name: 'hidden', kl: 0.0003 } as const;
  const hidden = temporary.path('hidden');
  await using coded = await packTexts(states, choice, { ...shared, head, out: hidden });
  using stated = await trainStudent('labels', 1, { ...setting, packed: coded });
  expect(await perLabel(stated)).toBeCloseTo(online, 2);
});

test('differences are weighted by labels, and texts are drawn whole', () => {
  const row = (kl: readonly number[]) => ({ method: 'm', judged: [{ kl, nll: kl }] });
  const labels = [1, 3, 2];
  const base = row([1, 1, 1]);
  const { mean, low, high } = paired(row([2, 4, 3]), base, labels, 'kl');
  expect(mean).toBeCloseTo((1 + 3 + 2) / 6);
  expect([low, high]).toEqual([expect.closeTo(1), expect.closeTo(1)]);
  const uneven = paired(row([3, 1, 1]), base, labels, 'kl');
  expect(uneven.mean).toBeCloseTo(2 / 6);
  expect(uneven.low).toBe(0);
  expect(uneven.high).toBeGreaterThan(uneven.mean);
});
