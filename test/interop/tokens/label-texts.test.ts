import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { labelTexts } from '#src/interop/label-texts.js';
import type { TokenPreset } from '#src/tokens/config.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { temporaryDirectory } from '../../temporary.js';
import { probabilitiesOf, stub, V } from './stub-llama.mjs';

const temporary = await temporaryDirectory();
const TEXTS = ['the first text', '{"text": "a second one"}', '', 'and a third'];
const source = await temporary.file('texts.txt', TEXTS.join('\n'));
const MODEL = 'model.gguf';

test('labels are those of the model behind each token of the text', async () => {
  const out = temporary.path('exact');
  const options = { source, model: MODEL, out, codec: 'topk', top: 5 } as const;
  const counts = { evaluated: 0, disposed: 0 };
  const result = await labelTexts(options, async () => stub(counts));
  expect(result).toMatchObject({ sequences: 3, labels: 14 + 12 + 11, tokens: 37 });
  expect(counts.disposed).toBe(1);
  // Each position once, also those that the codec learns from; one token tells the size of the vocabulary.
  expect(counts.evaluated).toBe(37 + 1);
  await using archive = await openTokenArchive(out);
  const labels = await archive.labels(1);
  let history = 0;
  for (const [row, letter] of [...'a second one'].entries()) {
    history = (history * 7 + (letter.charCodeAt(0) % V)) % 1009;
    const known = [...probabilitiesOf(history)].sort(([, a], [, b]) => b - a).slice(0, 5);
    expect([...labels.ids.subarray(5 * row, 5 * row + 5)]).toEqual(known.map(([id]) => id));
    const error = Math.abs(labels.probabilities[5 * row] - known[0][1]);
    expect(error).toBeLessThan(2e-3);
  }
});

test('as many ids are drawn as asked, by codecs that draw', async () => {
  const label = (codec: TokenPreset | 'hidden' | undefined, draws: number) => {
    const options = { source, model: MODEL, out: temporary.path('drawn'), codec, draws };
    return labelTexts(options, async () => stub());
  };
  await label(undefined, 7);
  await using archive = await openTokenArchive(temporary.path('drawn'));
  expect(archive.width).toBe(7);
  const { counts, probabilities } = await archive.labels(0);
  for (const row of counts.keys()) {
    const own = [...probabilities.subarray(7 * row, 7 * row + 7)];
    expect(own.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
    expect(own.every((p) => Math.abs(7 * p - Math.round(7 * p)) < 1e-5)).toBe(true);
  }
  for (const [codec, draws] of [
    ['topk', 7],
    ['topk-vq', 7],
    ['hidden', 7],
    ['sampled', 0],
    ['tiny', 1.5],
    ['tiny', 257],
  ] as const) {
    const failure = { code: 'INVALID_ARGUMENT', field: 'draws' };
    await expect(label(codec, draws)).rejects.toMatchObject(failure);
  }
});

test('stopped after any text and started again it ends with the same bytes', async () => {
  const files = ['codec.safetensors', 'codes-00000.safetensors'];
  const content = (out: string) => Promise.all(files.map((name) => readFile(join(out, name))));
  const options = { source, model: MODEL, codec: 'sampled' } as const;
  const whole = temporary.path('whole');
  await labelTexts({ ...options, out: whole }, async () => stub());
  for (const stop of [1, 2]) {
    const out = temporary.path(`stopped-${stop}`);
    const { signal, abort } = stopper();
    const onProgress = (done: number) => done === stop && abort();
    const stopped = labelTexts({ ...options, out, onProgress, signal }, async () => stub());
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    await labelTexts({ ...options, out }, async () => stub());
    expect(await content(out)).toEqual(await content(whole));
  }
});

function stopper() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

test('refuses texts that do not fit, files without any, and a package that is not there', async () => {
  const out = temporary.path('refused');
  const options = { source, model: MODEL, out };
  const label = (changes: object) => labelTexts({ ...options, ...changes }, async () => stub());
  await expect(label({ contextSize: 5 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'text 0',
  });
  await expect(label({ contextSize: 101 })).rejects.toMatchObject({ field: 'contextSize' });
  const empty = await temporary.file('empty.txt', '\n \n');
  await expect(label({ source: empty })).rejects.toMatchObject({ code: 'INVALID_FILE' });
  const textless = await temporary.file('textless.txt', '{"answer": "x"}');
  await expect(label({ source: textless })).rejects.toMatchObject({ code: 'INVALID_FILE' });
  // Some machine has the package, in a folder above: then the model is missing.
  const name = 'node-llama-cpp';
  const installed = await import(name).then(
    () => true,
    () => false,
  );
  const missing = {
    code: 'TOOL_MISSING',
    message: expect.stringContaining('npm install node-llama-cpp'),
  };
  const refused = installed ? { code: 'NOT_FOUND', field: MODEL } : missing;
  await expect(labelTexts(options)).rejects.toMatchObject(refused);
});

test('of a prompt and its answer only what follows the prompt is labelled', async () => {
  const line = JSON.stringify({ prompt: 'why? ', answer: 'so it is' });
  const prompted = await temporary.file('prompted.jsonl', line);
  const options = { model: MODEL, codec: 'topk', top: 5 } as const;
  const [out, plain] = [temporary.path('prompted'), temporary.path('plain')];
  await labelTexts({ ...options, source: prompted, out }, async () => stub());
  const whole = await temporary.file('whole.txt', 'why? so it is');
  await labelTexts({ ...options, source: whole, out: plain }, async () => stub());
  await using archive = await openTokenArchive(out);
  await using all = await openTokenArchive(plain);
  const labels = await archive.labels(0);
  // From the last token of the prompt on: its label is of the answer's first one.
  expect(labels).toMatchObject({ first: 4, positions: 9 });
  expect(labels.next[0]).toBe('s'.charCodeAt(0) % V);
  expect(labels.next[8]).toBe(-1);
  expect(await archive.text(0)).toEqual({ ...(await all.text(0)), first: 4, labels: 9 });
  const same = await all.labels(0, { start: 4 });
  expect(labels.ids).toEqual(same.ids);
  expect(labels.probabilities).toEqual(same.probabilities);
});

const PROMPTS = ['why?', 'what is this?', 'who?'].map((prompt) => JSON.stringify({ prompt }));
const questions = await temporary.file('questions.jsonl', [...PROMPTS, TEXTS[0]].join('\n'));

test('a prompt without an answer has the own one of the model, drawn token by token', async () => {
  const options = {
    source: questions,
    model: MODEL,
    codec: 'topk',
    top: 5,
    answerTokens: 20,
  } as const;
  const out = temporary.path('answered');
  await labelTexts({ ...options, out }, async () => stub());
  await using archive = await openTokenArchive(out);
  let [ended, surprise, entropy, drawn] = [0, 0, 0, 0];
  for (let sequence = 0; sequence < 3; sequence++) {
    const { tokens = Int32Array.of(), first, labels } = await archive.text(sequence);
    const length = JSON.parse(PROMPTS[sequence]).prompt.length;
    expect(first).toBe(length - 1);
    // A label of each token of the answer, and none behind it.
    expect(labels).toBe(tokens.length - length);
    const last = tokens[tokens.length - 1];
    expect(labels === 20 || last < 3).toBe(true);
    if (last < 3) ended++;
    expect(tokens.subarray(length, -1).every((id) => id >= 3)).toBe(true);
    let history = 0;
    for (const [i, token] of tokens.entries()) {
      if (i >= length) {
        const all = probabilitiesOf(history);
        surprise -= Math.log(all.get(token) ?? 0);
        for (const p of all.values()) entropy -= p * Math.log(p);
        drawn++;
      }
      history = (history * 7 + token) % 1009;
    }
  }
  expect(ended).toBeGreaterThan(0);
  // Draws of a distribution surprise as much as its entropy, here within three standard errors of about 1 / sqrt(drawn).
  expect(Math.abs(surprise - entropy)).toBeLessThan(3 * Math.sqrt(drawn));
  expect((await archive.text(3)).labels).toBe(TEXTS[0].length);
});

test('answers that were drawn are kept: what is killed draws only the others', async () => {
  const options = { source: questions, model: MODEL, codec: 'sampled', answerTokens: 20 } as const;
  // A folder that is not there, and a name that ends in a separator.
  const whole = join(temporary.path('new'), 'answers-whole');
  await labelTexts({ ...options, out: `${whole}/` }, async () => stub());
  const file = `${whole}.answers.jsonl`;
  const lines = (await readFile(file, 'utf8')).split('\n');
  expect(lines).toHaveLength(1 + 3 + 1);
  const codes = (out: string) => readFile(join(out, 'codes-00000.safetensors'));
  // As a kill leaves it: whole lines, and the beginning of one.
  for (const [i, rest] of ['', '[12, 1'].entries()) {
    const out = temporary.path(`answers-${i}`);
    await temporary.file(`answers-${i}.answers.jsonl`, `${lines.slice(0, 3).join('\n')}\n${rest}`);
    const done: number[] = [];
    const onAnswer = (count: number) => done.push(count);
    const counts = { evaluated: 0, disposed: 0 };
    await labelTexts({ ...options, out, onAnswer }, async () => stub(counts));
    expect(done).toEqual([1, 2, 3]);
    expect(await codes(out)).toEqual(await codes(whole));
    expect(await readFile(`${out}.answers.jsonl`, 'utf8')).toBe(lines.join('\n'));
  }
  const other = { ...options, out: temporary.path('other'), answers: file };
  const refused = (changes: object) =>
    expect(labelTexts({ ...other, ...changes }, async () => stub())).rejects;
  await refused({ seed: 1 }).toMatchObject({ code: 'INVALID_ARGUMENT', field: file });
  await refused({ answerTokens: 0 }).toMatchObject({ field: 'answerTokens' });
  const strange = await temporary.file('strange.jsonl', `${lines[0]}\n[1, 64]\n`);
  await refused({ answers: strange }).toMatchObject({
    code: 'INVALID_FILE',
    field: expect.stringContaining('line 2'),
  });
});
