import { expect, test } from 'vitest';
import { readVllmLogprobs } from '#src/interop/tokens/vllm-logprobs.js';
import { all, entriesOf, memoryFile } from './fixture.js';

const entry = (logprob: number, rank: number | null) => ({ logprob, rank, decoded_token: 'x' });

/** As `vllm run-batch` writes it. */
const batched = (body: unknown, changes: object = {}) =>
  JSON.stringify({
    ...{ id: 'vllm-1', custom_id: 'request-1' },
    ...{
      response: { status_code: 200, request_id: 'vllm-batch-1', body },
      error: null,
      ...changes,
    },
  });

/** Two positions with labels of the top 2; the second has the prompt's own token with rank 3 in addition. */
const CHOICE = {
  index: 0,
  prompt_token_ids: [7, 11, 5],
  prompt_logprobs: [
    null,
    { '11': entry(-0.25, 1), '3': entry(-2, 2) },
    { '5': entry(-4, 3), '900': entry(-0.5, 1), '8': entry(-1.5, 2) },
  ],
};
const OPTIONS = { vocabulary: 1000 };

const read = (text: string, options: { vocabulary: number; k?: number } = OPTIONS) =>
  all(readVllmLogprobs(memoryFile(Buffer.from(text)).file, options));

const WANTED = {
  ids: [
    [11, 3],
    [900, 8],
  ],
  logProbs: [
    [-0.25, -2],
    [-0.5, -1.5],
  ],
};

test.each([
  ['choices as lines', `${JSON.stringify(CHOICE)}\n\n${JSON.stringify(CHOICE)}\r\n`, 2],
  ['whole answers as lines', `${JSON.stringify({ id: 'a', choices: [CHOICE, CHOICE] })}\n`, 2],
  ['one indented answer', JSON.stringify({ choices: [CHOICE] }, null, 2), 1],
  ['a list of answers', JSON.stringify([{ choices: [CHOICE] }, CHOICE]), 2],
  ['chat completions', JSON.stringify({ choices: [{ index: 0 }], ...CHOICE }), 1],
  [
    'lines of a batch',
    `${batched({ choices: [{ index: 0 }], ...CHOICE })}\n${batched({ choices: [CHOICE] })}`,
    2,
  ],
])('reads %s and drops the additional entry by its rank', async (_, text, count) => {
  const sequences = await read(text);
  expect(sequences).toHaveLength(count);
  for (const sequence of sequences) {
    expect([...(sequence.tokens ?? [])]).toEqual([7, 11, 5]);
    expect([sequence.first, sequence.rows]).toEqual([0, 2]);
    expect(entriesOf(sequence)).toEqual(WANTED);
  }
});

test('takes k from the caller, and tokens that are not there are absent', async () => {
  const { prompt_token_ids: _, ...choice } = CHOICE;
  const [sequence] = await read(JSON.stringify(choice), { vocabulary: 1000, k: 1 });
  expect(sequence.tokens).toBeUndefined();
  expect(entriesOf(sequence).ids).toEqual([[11], [900]]);
  await expect(read(JSON.stringify(choice), { vocabulary: 1000, k: 3 })).rejects.toMatchObject({
    code: 'INVALID_FILE',
  });
});

test('orders entries by probability and leaves out those without any', async () => {
  const logprobs = [null, { '1': entry(-9999, 3), '2': entry(-3, 2), '4': entry(-0.1, 1) }];
  const [sequence] = await read(JSON.stringify({ prompt_logprobs: logprobs }));
  expect(entriesOf(sequence).ids).toEqual([[4, 2]]);
});

const withEntry = (key: string, value: unknown) =>
  JSON.stringify({ prompt_logprobs: [null, { [key]: value }] });

test.each([
  ['an id outside of the vocabulary', withEntry('1000', entry(-1, 1))],
  ['a key that is no id', withEntry('1.5', entry(-1, 1))],
  ['a probability above 1', withEntry('5', entry(1, 1))],
  ['a missing logprob', withEntry('5', { rank: 1 })],
  ['a rank below 1', withEntry('5', entry(-1, 0))],
  ['another number of tokens', JSON.stringify({ ...CHOICE, prompt_token_ids: [1] })],
  ['an answer without logprobs', JSON.stringify({ choices: [{ text: 'x' }] })],
  ['a number', '5'],
  ['an empty file', ' \n'],
  ['half an answer', JSON.stringify(CHOICE).slice(0, -9)],
  ['a request of a batch that failed', batched({ message: 'too long' }, { error: { code: 400 } })],
  [
    'an answer of a batch with another status',
    batched(CHOICE, { response: { status_code: 500, body: CHOICE } }),
  ],
  ['a batch without answers', batched(null)],
  ['a request of a batch without any response', batched(null, { response: null })],
  ['a key that occurs twice', '{"prompt_logprobs": [null, {"5": {}, "5": {}}]}'],
])('refuses %s', async (_, text) => {
  await expect(read(text)).rejects.toMatchObject({ code: 'INVALID_FILE' });
});

test('reads lines that are longer than a piece of the file, one in memory at a time', async () => {
  const line = JSON.stringify({ ...CHOICE, text: 'x'.repeat(3e6) });
  const { file, stats } = memoryFile(Buffer.from(`${line}\n${line}`));
  expect(await all(readVllmLogprobs(file, OPTIONS))).toHaveLength(2);
  expect(stats.largest).toBeLessThanOrEqual(2 ** 20);
});
