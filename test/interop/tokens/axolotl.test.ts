import { expect, test } from 'vitest';
import { readAxolotl } from '#src/interop/tokens/axolotl.js';
import { all, entriesOf, memoryFile } from './fixture.js';

const read = (rows: readonly object[], vocabulary = 100) => {
  const text = rows.map((row) => JSON.stringify(row)).join('\n');
  return all(readAxolotl(memoryFile(Buffer.from(text)).file, { vocabulary }));
};

const entry = (id: number, logprob: number) => ({ token: `token_id:${id}`, logprob });
const IDS = [9, 8, 7, 6];

test('reads captured entries: the last row belongs to the last token', async () => {
  const logprobs = [
    [entry(7, -0.5), entry(1, -1)],
    [entry(2, -3), entry(6, -0.25)],
  ];
  const [plain, aligned] = await read([{ logprobs }, { input_ids: IDS, logprobs }]);
  expect([plain.tokens, plain.first, plain.rows]).toEqual([undefined, 0, 2]);
  expect([...(aligned.tokens ?? [])]).toEqual(IDS);
  expect([aligned.first, aligned.rows]).toEqual([1, 2]);
  for (const sequence of [plain, aligned]) {
    expect(entriesOf(sequence)).toEqual({
      ids: [
        [7, 1],
        [6, 2],
      ],
      logProbs: [
        [-0.5, -1],
        [-0.25, -3],
      ],
    });
  }
});

test('reads numbers next to ids, and leaves out the first token, which nothing predicts', async () => {
  const logprobs = [null, [-1, -2], [-1, -2], [-0.5, -4]];
  const target_token_ids = [null, [8, 1], [7, 2], [6, 3]];
  const [sequence] = await read([{ input_ids: IDS, logprobs, target_token_ids }]);
  expect([sequence.first, sequence.rows]).toEqual([0, 3]);
  expect(entriesOf(sequence).ids).toEqual([
    [8, 1],
    [7, 2],
    [6, 3],
  ]);
});

test('reads what axolotl prepares: padding is no label, the mask is kept', async () => {
  const row = {
    input_ids: IDS,
    target_logprobs: [
      [null, null],
      [null, null],
      [-1, -0.5],
      [-0.1, -3],
    ],
    target_token_ids: [
      [0, 1],
      [0, 1],
      [7, 5],
      [6, 3],
    ],
    target_mask: [
      [0, 0],
      [0, 0],
      [0, 0],
      [1, 1],
    ],
  };
  const [sequence] = await read([row]);
  expect([sequence.first, sequence.rows]).toEqual([1, 2]);
  expect([...(sequence.mask ?? [])]).toEqual([0, 1]);
  expect(entriesOf(sequence).ids).toEqual([
    [5, 7],
    [6, 3],
  ]);
});

test.each([
  ['text instead of an id', { logprobs: [[{ token: 'the', logprob: -1 }]] }],
  [
    'more labels than tokens',
    { input_ids: [1], logprobs: [[-1], [-1]], target_token_ids: [[1], [1]] },
  ],
  ['lists of other lengths', { logprobs: [[-1, -2]], target_token_ids: [[1]] }],
  ['columns of other lengths', { logprobs: [[-1]], target_token_ids: [[1], [2]] }],
  ['an id twice', { logprobs: [[-1, -2]], target_token_ids: [[1, 1]] }],
  ['an id outside of the vocabulary', { logprobs: [[-1]], target_token_ids: [[100]] }],
  ['a probability above 1', { logprobs: [[0.5]], target_token_ids: [[1]] }],
  ['text for a number', { logprobs: [['-1']], target_token_ids: [[1]] }],
  ['no labels', { input_ids: [1, 2] }],
  ['only padding', { logprobs: [[null]], target_token_ids: [[1]] }],
])('refuses %s', async (_, row) => {
  await expect(read([row])).rejects.toMatchObject({ code: 'INVALID_FILE' });
});
