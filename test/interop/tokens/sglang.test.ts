import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readSglang } from '#src/interop/tokens/sglang.js';
import { all, entriesOf, memoryFile, SAMPLES } from './fixture.js';

const FOLDER = join(SAMPLES, 'sglang');
const V = 50;
const read = (text: string, vocabulary = V) =>
  all(readSglang(memoryFile(Buffer.from(text)).file, { vocabulary }));

interface Known {
  readonly first: number;
  readonly tokens: number[] | null;
  readonly ids: number[][];
  readonly logProbs: number[][];
}

const KNOWN: Record<string, Known[]> = JSON.parse(
  await readFile(join(FOLDER, 'expected.json'), 'utf8'),
);

test.each(Object.keys(KNOWN))("reads %s, made by SGLang's own functions", async (name) => {
  await using labels = await openTokenLabels({ source: join(FOLDER, name), vocabulary: V });
  expect(labels.layout).toBe('sglang');
  const sequences = await all(labels);
  const found = sequences.map((own) => ({
    ...{ first: own.first, tokens: own.tokens === undefined ? null : [...own.tokens] },
    ...entriesOf(own),
  }));
  expect(found).toEqual(KNOWN[name]);
  for (const { first, rows, tokens } of sequences) {
    if (tokens !== undefined) expect(first + rows).toBeLessThanOrEqual(tokens.length - 1);
  }
});

const TOP = [
  [-0.5, 3, null],
  [-1, 9, null],
];
const META = {
  ...{
    prompt_tokens: 2,
    input_token_logprobs: [
      [null, 4, null],
      [-1, 3, null],
    ],
  },
  ...{ input_top_logprobs: [null, TOP], output_token_logprobs: [[-2, 9, null]] },
  output_top_logprobs: [
    [
      [-0.25, 1, null],
      [null, 7, null],
    ],
  ],
};
const answer = (changes: object = {}, beside: object = {}) =>
  JSON.stringify({ text: 'x', meta_info: { ...META, ...changes }, ...beside });

test('leaves out ids without probability, and tokens without a distribution', async () => {
  const [whole] = await read(answer());
  expect([...(whole.tokens ?? [])]).toEqual([4, 3, 9]);
  expect(entriesOf(whole)).toEqual({ ids: [[3, 9], [1]], logProbs: [[-0.5, -1], [-0.25]] });
  const [prompt] = await read(answer({ output_top_logprobs: [] }));
  expect([prompt.first, prompt.rows]).toEqual([0, 1]);
  const [said] = await read(answer({ input_top_logprobs: [null, null] }));
  expect([said.first, said.rows]).toEqual([1, 1]);
  expect(entriesOf(said).ids).toEqual([[1]]);
});

const flat = (changes: object) =>
  answer({
    ...{ input_top_logprobs_shape: [1, 2], input_top_logprobs_null_prefix: 1 },
    ...{ input_top_logprobs_val_flat: [-1, -2], input_top_logprobs_idx_flat: [1, 2], ...changes },
  });
const encoded = (changes: object) =>
  flat({
    ...{ input_top_logprobs_val_flat: undefined, input_top_logprobs_val_flat_b64: 'AACAvwAAAMA=' },
    ...{ input_top_logprobs_val_flat_b64_dtype: 'float32', ...changes },
  });

test('reads arrays as numbers and as bytes alike', async () => {
  const [numbers] = await read(flat({}));
  const [bytes] = await read(encoded({}));
  expect(entriesOf(numbers)).toEqual(entriesOf(bytes));
  expect(entriesOf(bytes)).toEqual({ ids: [[1, 2], [1]], logProbs: [[-1, -2], [-0.25]] });
});

test.each([
  ['an answer without log-probabilities', JSON.stringify({ text: 'x', meta_info: { id: 'a' } })],
  ['something else', '{"text": "x"}'],
  ['a list with something else', '[5]'],
  ['meta_info that is none', '{"meta_info": 5}'],
  ['only log-probabilities of tokens', answer({ input_top_logprobs: [], output_top_logprobs: [] })],
  ['fewer distributions than tokens', answer({ input_top_logprobs: [null] })],
  ['more distributions than tokens', answer({ output_top_logprobs: [TOP, TOP] })],
  ['a distribution of the first token', answer({ input_top_logprobs: [TOP, TOP] })],
  ['an id outside of the vocabulary', answer({ input_top_logprobs: [null, [[-1, V, null]]] })],
  [
    'an id twice',
    answer({
      input_top_logprobs: [
        null,
        [
          [-1, 2],
          [-2, 2],
        ],
      ],
    }),
  ],
  ['an id that is none', answer({ input_top_logprobs: [null, [[-1, 2.5]]] })],
  ['an entry without id', answer({ input_top_logprobs: [null, [[-1]]] })],
  ['a probability above 1', answer({ input_top_logprobs: [null, [[0.5, 2]]] })],
  ['a probability as text', answer({ input_top_logprobs: [null, [['-1', 2]]] })],
  ['a token outside of the vocabulary', answer({ output_token_logprobs: [[-1, V, null]] })],
  ['fewer tokens in the prompt than are listed', answer({ prompt_tokens: 1 })],
  ['a prompt of more tokens than any', answer({ prompt_tokens: 1e15 })],
  [
    'a prompt that is not the one',
    answer({}, { prompt_token_ids: [4, 3, 5] }).replace(/"prompt_tokens":2/, '"prompt_tokens":4'),
  ],
  ['a shape without values', flat({ input_top_logprobs_shape: [1e15, 1] })],
  ['a shape of one axis', flat({ input_top_logprobs_shape: [2] })],
  [
    'rows of no entries',
    flat({
      input_top_logprobs_shape: [1e15, 0],
      input_top_logprobs_val_flat: [],
      input_top_logprobs_idx_flat: [],
    }),
  ],
  ['a prefix of more than all', flat({ input_top_logprobs_null_prefix: 1e9 })],
  ['no prefix', flat({ input_top_logprobs_null_prefix: undefined })],
  ['bytes of another type', encoded({ input_top_logprobs_val_flat_b64_dtype: 'float16' })],
  ['bytes that are not in base64', encoded({ input_top_logprobs_val_flat_b64: 'AACAvwAAAMA' })],
  ['bytes that are a number', encoded({ input_top_logprobs_val_flat_b64: 5 })],
  ['half a value', encoded({ input_top_logprobs_val_flat_b64: 'AACAvwAA' })],
  ['an empty file', ''],
])('refuses %s', async (_, text) => {
  await expect(read(text)).rejects.toMatchObject({ code: 'INVALID_FILE' });
});
