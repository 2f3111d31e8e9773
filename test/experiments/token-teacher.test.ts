import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { drawAnswers } from '#apps/experiments/tokens/answer.js';
import { Answers } from '#apps/experiments/tokens/answers.js';
import { Llama } from '#apps/experiments/tokens/llama.js';
import { questionsOf } from '#apps/experiments/tokens/questions.js';
import { toHalf } from '#src/core/half.js';
import { RandomSequence } from '#src/core/random.js';
import { ggufFile, type StoredTensor } from '../interop/tokens/gguf-file.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const [V, WIDTH, HEADS, GROUPS, INNER, LAYERS] = [12, 32, 4, 2, 64, 2];
const [BASE, EPSILON] = [100, 1e-5];

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** Matrices by name, as they are after they were stored and read. */
const matrices = new Map<string, { readonly shape: readonly number[]; values: number[] }>();
const path = await temporary.file('tiny.gguf', gguf());

/** A model of random weights, of every type that is read. */
function gguf(): Uint8Array {
  const random = new RandomSequence(1, 4);
  const facts = {
    ...{ 'general.name': 'tiny', 'a.list': ['x', 'yz'] },
    ...{ 'llama.embedding_length': WIDTH, 'llama.block_count': LAYERS },
    ...{ 'llama.attention.head_count': HEADS, 'llama.attention.head_count_kv': GROUPS },
    ...{ 'llama.rope.freq_base': BASE, 'llama.attention.layer_norm_rms_epsilon': EPSILON },
  };
  const tensors: StoredTensor[] = [];
  const add = (name: string, shape: readonly number[], type: number) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const { bytes, values } = stored(type, count, random);
    matrices.set(name, { shape, values });
    tensors.push({ name: `${name}.weight`, shape, type, bytes });
  };
  add('token_embd', [V, WIDTH], 8);
  add('output_norm', [WIDTH], 0);
  for (let i = 0; i < LAYERS; i++) {
    add(`blk.${i}.attn_norm`, [WIDTH], 0);
    add(`blk.${i}.ffn_norm`, [WIDTH], 0);
    add(`blk.${i}.attn_q`, [WIDTH, WIDTH], 3);
    add(`blk.${i}.attn_k`, [(WIDTH / HEADS) * GROUPS, WIDTH], 3);
    add(`blk.${i}.attn_v`, [(WIDTH / HEADS) * GROUPS, WIDTH], 2);
    add(`blk.${i}.attn_output`, [WIDTH, WIDTH], 1);
    add(`blk.${i}.ffn_gate`, [INNER, WIDTH], 3);
    add(`blk.${i}.ffn_up`, [INNER, WIDTH], 8);
    add(`blk.${i}.ffn_down`, [WIDTH, INNER], 3);
  }
  return ggufFile(facts, tensors);
}

/** Random weights as ggml stores them, and what they are then. */
function stored(type: number, count: number, random: RandomSequence) {
  const half = (value: number) => {
    const bits = toHalf(value);
    return Buffer.from([bits & 255, bits >> 8]);
  };
  const values: number[] = [];
  const parts: Buffer[] = [];
  if (type === 0) {
    for (let i = 0; i < count; i++) values.push(Math.fround(1 + 0.1 * random.normal()));
    return { bytes: Buffer.from(Float32Array.from(values).buffer), values };
  }
  if (type === 1) {
    // Multiples of 1/128 are half floats.
    for (let i = 0; i < count; i++) values.push(Math.round(20 * random.normal()) / 128);
    return { bytes: Buffer.concat(values.map(half)), values };
  }
  for (let block = 0; block < count; block += 32) {
    const scale = (1 + random.below(3)) / 64;
    if (type === 8) {
      const codes = Array.from({ length: 32 }, () => random.below(41) - 20);
      parts.push(half(scale), Buffer.from(Int8Array.from(codes).buffer));
      values.push(...codes.map((code) => scale * code));
      continue;
    }
    const codes = Array.from({ length: 32 }, () => random.below(16));
    const least = type === 3 ? -7 / 32 : -8 * scale;
    const bytes = Array.from({ length: 16 }, (_, i) => codes[i] | (codes[i + 16] << 4));
    parts.push(half(scale), ...(type === 3 ? [half(least)] : []), Buffer.from(bytes));
    values.push(...codes.map((code) => scale * code + least));
  }
  return { bytes: Buffer.concat(parts), values };
}

const rowsOf = (name: string) => {
  const { shape, values } = matrices.get(name) ?? { shape: [0], values: [] };
  const width = shape[shape.length - 1];
  return Array.from({ length: values.length / width }, (_, i) =>
    values.slice(i * width, (i + 1) * width),
  );
};
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * b[i], 0);
const times = (name: string, x: readonly number[]) => rowsOf(name).map((row) => dot(row, x));
const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + b[i]);

function normed(name: string, x: readonly number[]): number[] {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + EPSILON);
  return x.map((value, i) => value * scale * rowsOf(name)[0][i]);
}

/** Complex numbers of neighbouring dimensions, turned by position times base^(-pair / pairs). */
function turned(x: readonly number[], position: number): number[] {
  const size = WIDTH / HEADS;
  return x.map((value, i) => {
    const angle = position * BASE ** (-Math.floor((i % size) / 2) / (size / 2));
    const other = i % 2 === 0 ? -x[i + 1] : x[i - 1];
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** The state behind the last norm of each token, in float64, a number at a time. */
function reference(tokens: readonly number[]): number[][] {
  let states = tokens.map((token) => rowsOf('token_embd')[token]);
  const size = WIDTH / HEADS;
  for (let layer = 0; layer < LAYERS; layer++) {
    const name = (part: string) => `blk.${layer}.${part}`;
    const read = states.map((x) => normed(name('attn_norm'), x));
    const query = read.map((x, t) => turned(times(name('attn_q'), x), t));
    const key = read.map((x, t) => turned(times(name('attn_k'), x), t));
    const value = read.map((x) => times(name('attn_v'), x));
    const mixed = read.map((_, t) =>
      Array.from({ length: HEADS }, (_, head) => {
        const group = Math.floor(head / (HEADS / GROUPS));
        const of = (x: readonly number[], at: number) => x.slice(at * size, (at + 1) * size);
        const weights = key
          .slice(0, t + 1)
          .map((k) => Math.exp(dot(of(query[t], head), of(k, group)) / Math.sqrt(size)));
        const sum = weights.reduce((a, b) => a + b, 0);
        return Array.from({ length: size }, (_, i) =>
          weights.reduce((s, w, u) => s + (w / sum) * of(value[u], group)[i], 0),
        );
      }).flat(),
    );
    states = states.map((x, t) => plus(x, times(name('attn_output'), mixed[t])));
    states = states.map((x) => {
      const inner = normed(name('ffn_norm'), x);
      const up = times(name('ffn_up'), inner);
      const gate = times(name('ffn_gate'), inner).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      return plus(x, times(name('ffn_down'), gate));
    });
  }
  return states.map((x) => normed('output_norm', x));
}

test('a model of every type of weights gives the states of the same arithmetic in float64', async () => {
  using llama = await Llama.open(path);
  expect(llama.head).toMatchObject({ vocabulary: V, width: WIDTH });
  const texts = [
    [3, 1, 4, 1, 5],
    [9, 2, 6, 5, 3],
  ];
  const first = llama.read(Int32Array.from(texts.flatMap((text) => text.slice(0, 3))), 2);
  const then = llama.read(Int32Array.from(texts.flatMap((text) => text.slice(3))), 2, first.cache);
  const found = then.states.arraySync();
  for (const [i, text] of texts.entries()) {
    const expected = reference(text)[4];
    const before = reference(text)[2];
    for (let j = 0; j < WIDTH; j++) {
      expect(found[i][j]).toBeCloseTo(expected[j], 4);
      expect(first.states.arraySync()[i][j]).toBeCloseTo(before[j], 4);
    }
  }
  tf.dispose([first.states, then.states, first.cache, then.cache]);
});

test('answers are drawn from the distribution that their states give, and kept', async () => {
  using llama = await Llama.open(path);
  const options = { end: 1, most: 6 };
  const before = tf.memory().numTensors;
  const numbers = Array.from({ length: 40 }, (_, i) => i);
  const drawn = await drawAnswers(
    llama,
    numbers.map(() => [3, 1, 4]),
    numbers,
    options,
  );
  expect(tf.memory().numTensors).toBe(before);
  expect(new Set(drawn.map(({ ids }) => ids.join())).size).toBeGreaterThan(5);
  for (const { ids, states } of drawn) {
    expect(ids.slice(0, -1)).not.toContain(1);
    expect(ids.length === 6 || ids[ids.length - 1] === 1).toBe(true);
    expect(states.length).toBe(ids.length * WIDTH);
  }
  const { ids, states } = drawn.find((own) => own.ids.length > 2) ?? drawn[0];
  const expected = reference([3, 1, 4, ...ids]).slice(2);
  for (let j = 0; j < states.length; j++) {
    expect(states[j]).toBeCloseTo(expected[Math.floor(j / WIDTH)][j % WIDTH], 3);
  }
  const [greedy] = await drawAnswers(llama, [[3, 1, 4]], [0], { ...options, greedy: true });
  const logits = rowsOf('token_embd').map((row) => dot(row, reference([3, 1, 4])[2]));
  expect(greedy.ids[0]).toBe(logits.indexOf(Math.max(...logits)));
  const prompts = [
    [3, 1, 4],
    [2, 2],
    [5, 1, 4],
  ].map((teacher) => ({ teacher, tokens: Int32Array.of(7, teacher[0]) }));
  const made: number[] = [];
  const make = (count: number) => {
    const { signal } = new AbortController();
    const onProgress = (done: number) => made.push(done);
    const dir = temporary.path('answers');
    const which = Array.from({ length: count }, (_, i) => i);
    return new Answers(dir).make(llama, prompts, which, options, onProgress, signal);
  };
  await make(2);
  await make(3);
  expect(made).toEqual([1, 2, 3]);
  const kept = await new Answers(temporary.path('answers')).read(0);
  expect([...kept.tokens]).toEqual([7, 3, ...drawn[0].ids]);
  expect(kept).toMatchObject({ first: 1, rows: drawn[0].ids.length });
  const again = await kept.states();
  for (const [j, value] of drawn[0].states.entries()) expect(again[j]).toBeCloseTo(value, 4);
});

test('questions are the first lines of conversations, each once', async () => {
  await temporary.file(
    'a.yml',
    "conversations:\n- - What is it?\n  - An answer.\n- - 'Is it so'\n",
  );
  await temporary.file(
    'b.yml',
    `- - What is it?\n  - no\n  - - "Who?"\r\n- - ${'long '.repeat(50)}\n`,
  );
  await temporary.file('c.txt', '- - not YAML\n');
  const found = await questionsOf(dirname(temporary.path('a.yml')));
  expect([...found].sort()).toEqual(['Is it so', 'What is it?', 'Who?']);
});
