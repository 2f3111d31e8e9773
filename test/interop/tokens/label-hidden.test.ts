import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { labelTexts } from '#src/interop/label-texts.js';
import { planTokenJob } from '#src/interop/token-jobs.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { temporaryDirectory } from '../../temporary.js';
import { hiddenDistribution, klOf } from '../../tokens/hidden-sources.js';
import { bytesOf } from './fixture.js';
import { ggufFile } from './gguf-file.js';
import { HEAD, probabilitiesOf, stub, V, WIDTH } from './stub-llama.mjs';

const temporary = await temporaryDirectory();
const TEXTS = [
  'the first text',
  '{"text": "a second one"}',
  '{"prompt": "and ", "answer": "third"}',
];
const source = await temporary.file('texts.txt', TEXTS.join('\n'));
const tensor = (weights: Float32Array) => ({
  ...{ name: 'token_embd.weight', shape: [V, WIDTH], type: 0, bytes: bytesOf(weights) },
});
const model = await temporary.file('model.gguf', ggufFile({}, [tensor(HEAD)]));
const options = { source, model, codec: 'hidden', kl: 0.001, storeHead: true } as const;

test('labels are the hidden states of a model, and its own file has their output matrix', async () => {
  const counts = { evaluated: 0, disposed: 0 };
  const out = temporary.path('states');
  const result = await labelTexts({ ...options, out }, async () => stub(counts));
  expect(result).toMatchObject({ sequences: 3, labels: 14 + 12 + 6, tokens: 14 + 12 + 9 });
  // Each token once, also those that the codec learns from; five tell the vocabulary and compare logits, four again by states.
  expect(counts).toEqual({ evaluated: 35 + 1 + 4 + 4, disposed: 1 });
  await using archive = await openHiddenArchive(out);
  expect(archive.head()).toEqual({ vocabulary: V, width: WIDTH, weights: HEAD });
  let [sum, labels] = [0, 0];
  for (const [number, { text, first }] of [
    { text: 'the first text', first: 0 },
    { text: 'a second one', first: 0 },
    { text: 'and third', first: 3 },
  ].entries()) {
    const own = await archive.labels(number);
    expect(own.first).toBe(first);
    let history = 0;
    for (const [position, letter] of [...text].entries()) {
      history = (history * 7 + (letter.charCodeAt(0) % V)) % 1009;
      if (position < first) continue;
      const row = own.hidden.subarray((position - first) * WIDTH, (position - first + 1) * WIDTH);
      const exact = [...probabilitiesOf(history).values()];
      sum += klOf(exact, hiddenDistribution(archive.head(), row));
      labels++;
    }
  }
  expect(sum / labels).toBeLessThan(0.003);
});

test('stopped after any text and started again it ends with the same bytes', async () => {
  const content = (out: string) =>
    Promise.all(
      ['codec.safetensors', 'codes-00000.safetensors'].map((name) => readFile(join(out, name))),
    );
  const whole = temporary.path('whole');
  await labelTexts({ ...options, out: whole }, async () => stub());
  const out = temporary.path('stopped');
  const controller = new AbortController();
  const { signal } = controller;
  const onProgress = (done: number) => done === 2 && controller.abort();
  const stopped = labelTexts({ ...options, out, onProgress, signal }, async () => stub());
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  await labelTexts({ ...options, out }, async () => stub());
  expect(await content(out)).toEqual(await content(whole));
});

test.each(['topk', 'sampled'] as const)(
  '%s of states and matrix is that of probabilities',
  async (codec) => {
    const counts = { evaluated: 0, disposed: 0 };
    const shared = { source, model, codec, seed: 2 };
    const [out, expected] = ['by-states', 'by-probabilities'].map((name) =>
      temporary.path(`${name}-${codec}`),
    );
    await labelTexts({ ...shared, head: model, out }, async () => stub(counts));
    // As above: no token is evaluated for its probabilities too.
    expect(counts).toEqual({ evaluated: 35 + 1 + 4 + 4, disposed: 1 });
    await labelTexts({ ...shared, out: expected }, async () => stub());
    await using found = await openTokenArchive(out);
    await using known = await openTokenArchive(expected);
    for (const text of TEXTS.keys()) {
      const [own, wanted] = [await found.labels(text), await known.labels(text)];
      expect(own.ids).toEqual(wanted.ids);
      for (const [i, p] of own.probabilities.entries()) {
        expect(p).toBeCloseTo(wanted.probabilities[i], 3);
      }
    }
  },
);

test('another matrix, other options and a package without states are refused', async () => {
  const label = (changes: object, load = async (): Promise<unknown> => stub()) =>
    expect(labelTexts({ ...options, out: temporary.path('refused'), ...changes }, load)).rejects;
  const other = HEAD.map((value, i) => value + Math.sin(i));
  const head = await temporary.file('other.gguf', ggufFile({}, [tensor(other)]));
  await label({ head }).toMatchObject({ code: 'UNSUPPORTED', field: head });
  const wide = { ...tensor(new Float32Array(V * 3)), shape: [V, 3] };
  const wider = await temporary.file('wide.gguf', ggufFile({}, [wide]));
  await label({ head: wider }).toMatchObject({ code: 'INVALID_ARGUMENT' });
  await label({ headTensor: 'none' }).toMatchObject({ code: 'INVALID_FILE' });
  await label({ top: 5 }).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'top' });
  await label({ codec: 'topk', storeHead: undefined }).toMatchObject({ field: 'kl' });
  const listed = { codec: 'topk', kl: undefined, storeHead: undefined };
  await label({ ...listed, headTensor: 'x' }).toMatchObject({ field: 'headTensor' });
  await label({ ...listed, head }).toMatchObject({ code: 'UNSUPPORTED', field: head });
  let disposed = 0;
  const dispose = async () => {
    disposed += 1;
  };
  const old = async () => {
    const { getLlama } = stub();
    return {
      async getLlama(settings: object) {
        const llama = await getLlama(settings);
        const loadModel = async (own: object) => ({
          ...(await llama.loadModel(own)),
          createContext: async () => ({ getSequence: () => ({}), dispose }),
        });
        return { ...llama, loadModel };
      },
    };
  };
  await label({}, old).toMatchObject({ code: 'UNSUPPORTED', field: 'node-llama-cpp' });
  expect(disposed).toBe(1);
  const stores = await openJobStores(temporary.path('job'));
  const planned = planTokenJob(stores, options, undefined, async () => stub());
  await expect(planned).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'codec' });
});
