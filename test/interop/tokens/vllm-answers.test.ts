import { expect, test } from 'vitest';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readVllmLogprobs } from '#src/interop/tokens/vllm-logprobs.js';
import { temporaryDirectory } from '../../temporary.js';
import { all, entriesOf, memoryFile } from './fixture.js';

const temporary = await temporaryDirectory();
const V = 40;
const K = 4;
const PROMPT = [3, 5, 8];

/** The teacher's distribution behind some tokens, the most probable first. */
function ranked(text: readonly number[]): readonly (readonly [id: number, logProb: number])[] {
  const seed = text.reduce((sum, id) => 31 * sum + id, 7);
  const logits = Array.from({ length: V }, (_, id) => 3 * Math.sin(seed + 1.7 * id * id));
  const all = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
  const entries = logits.map((x, id) => [id, Math.fround(x - all)] as const);
  return entries.sort(([, a], [, b]) => b - a);
}

/** As vLLM holds a position: the drawn token, then the k most probable ones. */
function position(text: readonly number[], drawn: number): ReadonlyMap<number, number> {
  const probabilities = new Map(ranked(text));
  const top = [...probabilities].slice(0, K);
  return new Map([[drawn, probabilities.get(drawn) ?? 0], ...top]);
}

const name = (id: number) => `token_id:${id}`;

/** As `_create_completion_logprobs` of vLLM writes it: up to k + 1 entries, and none for the first token of a text. */
function completion(before: readonly number[], said: readonly number[]) {
  const top = said.map((id, i) => {
    const text = [...before, ...said.slice(0, i)];
    const own = [...position(text, id)].slice(0, K + 1);
    return text.length === 0 ? null : Object.fromEntries(own.map(([key, p]) => [name(key), p]));
  });
  return { text_offset: said.map(() => 0), tokens: said.map(name), top_logprobs: top };
}

/** As `_create_chat_logprobs` writes it: the first k entries, of which the drawn token is one. */
function chat(before: readonly number[], said: readonly number[]) {
  const content = said.map((id, i) => {
    const own = [...position([...before, ...said.slice(0, i)], id)].slice(0, K);
    const top = own.map(([key, logprob]) => ({ token: name(key), logprob, bytes: null }));
    return { token: name(id), logprob: -1, bytes: null, top_logprobs: top };
  });
  return { content };
}

/** Tokens of which the ranks are known. */
function drawn(before: readonly number[], ranks: readonly number[]): number[] {
  const text = [...before];
  for (const rank of ranks) text.push(ranked(text)[rank][0]);
  return text.slice(before.length);
}

const read = (value: unknown) =>
  all(readVllmLogprobs(memoryFile(Buffer.from(JSON.stringify(value))).file, { vocabulary: V }));

const response = (choice: object, beside: object = {}) => ({
  ...{ id: 'a', choices: [{ index: 0, prompt_logprobs: null, ...choice }], ...beside },
});

const TEXTS = {
  'most probable ones': [0, 0, 0],
  'ones among the most probable': [1, 3, 0, 2],
  'one that is not': [9],
  'all kinds': [0, 20, 3, 4, 39, 1],
  'none of the most probable': [4, 17, 30],
};

test.each(Object.entries(TEXTS))(
  "labels of answers are the teacher's, drawn: %s",
  async (_, ranks) => {
    const said = drawn(PROMPT, ranks);
    const whole = [...PROMPT, ...said];
    const answers = [
      response({ logprobs: completion(PROMPT, said), prompt_token_ids: PROMPT, token_ids: said }),
      response({ logprobs: chat(PROMPT, said), token_ids: said }, { prompt_token_ids: PROMPT }),
    ];
    for (const answer of answers) {
      const [found] = await read(answer);
      expect([...(found.tokens ?? [])]).toEqual(whole);
      expect([found.first, found.rows]).toEqual([PROMPT.length - 1, said.length]);
      const { ids, logProbs } = entriesOf(found);
      for (const [i, own] of ids.entries()) {
        // One less than the fewest: k, or one more if all answers' tokens are beyond them.
        const known = ranked([...PROMPT, ...said.slice(0, i)]).slice(0, own.length);
        expect(own).toEqual(known.map(([id]) => id));
        expect(logProbs[i]).toEqual(known.map(([, logProb]) => logProb));
        expect([K - 1, K]).toContain(own.length);
      }
    }
  },
);

test('an answer that repeats its prompt has labels of both', async () => {
  const said = [...PROMPT, ...drawn(PROMPT, [0, 5])];
  const [found] = await read(response({ logprobs: completion([], said) }));
  expect([...(found.tokens ?? [])]).toEqual(said);
  expect([found.first, found.rows]).toEqual([0, said.length - 1]);
  const known = ranked(said.slice(0, 4)).slice(0, K - 1);
  expect(entriesOf(found).ids[3]).toEqual(known.map(([id]) => id));
});

test('labels of the prompt go before those of the answer', async () => {
  const entry = { logprob: -0.5, rank: 1 };
  const choice = { prompt_logprobs: [null, { 5: entry }], prompt_token_ids: [3, 5] };
  const [found] = await read(response({ ...choice, logprobs: completion([3, 5], [1]) }));
  expect([found.first, found.rows, found.tokens?.length]).toEqual([0, 1, 2]);
});

test('a choice is read on its own too', async () => {
  const choice = { logprobs: completion(PROMPT, [1, 2]), prompt_token_ids: PROMPT };
  expect(await read(choice)).toEqual(await read({ ...choice, prompt_logprobs: null }));
  const [own] = await read([choice]);
  const [within] = await read(response(choice));
  expect([own.tokens, entriesOf(own)]).toEqual([within.tokens, entriesOf(within)]);
});

test('files of answers are detected', async () => {
  const value = { choices: [{ logprobs: completion(PROMPT, [1, 2]), prompt_token_ids: PROMPT }] };
  const source = await temporary.file('answers.jsonl', JSON.stringify(value));
  await using labels = await openTokenLabels({ source, vocabulary: V });
  expect(labels.layout).toBe('vllm');
  expect(await all(labels)).toHaveLength(1);
});

const SAID = completion(PROMPT, [1, 2]);
const CHAT = chat(PROMPT, [1, 2]).content;

test.each<[string, unknown, object?]>([
  ['an unknown prompt', SAID, { prompt_token_ids: null }],
  ['an empty prompt', SAID, { prompt_token_ids: [] }],
  ['a prompt outside of the vocabulary', SAID, { prompt_token_ids: [V] }],
  ['tokens as text', { ...SAID, tokens: [' the', ' end'] }],
  ['a token outside of the vocabulary', completion(PROMPT, [1, V])],
  ['fewer distributions than tokens', { ...SAID, top_logprobs: SAID.top_logprobs.slice(1) }],
  ['no distributions', { ...SAID, top_logprobs: null }],
  ['a token in between without', { ...SAID, top_logprobs: [SAID.top_logprobs[0], null] }],
  [
    'nothing but the drawn token',
    { ...SAID, top_logprobs: [{ 'token_id:1': -1 }, { 'token_id:2': -1 }] },
  ],
  ['no tokens', { tokens: [], top_logprobs: [] }],
  ['the first token of a text alone', { tokens: ['token_id:1'], top_logprobs: [null] }],
  ['a chat of nothing', { content: [] }],
  [
    'a probability above 1',
    { ...SAID, top_logprobs: [{ 'token_id:1': 1, 'token_id:2': -1 }, SAID.top_logprobs[1]] },
  ],
  [
    'a probability as text',
    { ...SAID, top_logprobs: [{ 'token_id:1': '-1', 'token_id:2': -1 }, SAID.top_logprobs[1]] },
  ],
  [
    'an id twice',
    { content: [{ ...CHAT[0], top_logprobs: [CHAT[0].top_logprobs[1], ...CHAT[0].top_logprobs] }] },
  ],
  ['a chat without distributions', { content: [{ token: 'token_id:1', logprob: -1 }] }],
  ['something else', 5],
])('refuses %s', async (_, logprobs, changes = {}) => {
  const reading = read(response({ logprobs, prompt_token_ids: PROMPT, ...changes }));
  await expect(reading).rejects.toMatchObject({ code: 'INVALID_FILE' });
});
