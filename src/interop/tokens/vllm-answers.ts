import { FieldChecker } from '../../core/check.js';
import type { JsonObject, JsonValue } from '../../core/json.js';
import { invalidFile } from '../../errors.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { requireTokens } from './label-file.js';
import { SparseBuilder } from './sparse-builder.js';
import { vllmLogProb } from './vllm-log-prob.js';

interface Entry {
  readonly id: number;
  readonly logProb: number;
}

/** A token and its distribution; none for the first one of a text. */
interface Said {
  readonly id: number;
  readonly entries: readonly Entry[] | undefined;
}

const TOKEN = /^token_id:(\d{1,10})$/;

/**
 * What vLLM's server tells of the tokens that it draws, `logprobs` of a choice (`return_tokens_as_token_ids`, `return_token_ids`):
 *
 *   completions   {tokens: ["token_id:N", ...], top_logprobs: [{"token_id:N": log-probability, ...}, ...]}
 *   chat          {content: [{token: "token_id:N", top_logprobs: [{token: "token_id:N", logprob}, ...]}, ...]}
 *
 * The drawn token is among a token's entries whether it is one of the k most probable or not: completions have k + 1 entries then,
 * chats leave out the k-th. Without ranks that is not to be seen, but of the fewest entries of any token, m, the m - 1 most probable are
 * right in each case.
 *
 * @param prompt ids before the answer; the text of an answer that repeats its prompt (`echo`) needs none.
 */
export function answerSequence(
  name: string,
  logprobs: JsonObject,
  prompt: readonly number[] | undefined,
  vocabulary: number,
): TokenSequence {
  const check = new FieldChecker(name, 'INVALID_FILE');
  const said = Array.isArray(logprobs.content)
    ? chatTokens(check, logprobs)
    : completionTokens(check, logprobs);
  const counts = said.map(({ entries }) => entries?.length ?? Number.POSITIVE_INFINITY);
  const fewest = counts.reduce((least, count) => Math.min(least, count), Number.POSITIVE_INFINITY);
  const enough = fewest > 1 && fewest < Number.POSITIVE_INFINITY;
  check.that(enough, fewest, 'logprobs', 'tokens with 2 entries or more');
  const echo = said[0].entries === undefined;
  const before = echo ? [] : prompt;
  if (before === undefined || (!echo && before.length === 0)) {
    throw invalidFile(name, 'prompt_token_ids', 'an answer to an unknown prompt', {
      expected: 'ids of the prompt (return_token_ids of the request)',
      found: before?.length ?? 'none',
    });
  }
  const labels = said.slice(echo ? 1 : 0);
  const builder = new SparseBuilder(name, vocabulary);
  for (const [i, { entries }] of labels.entries()) {
    if (entries === undefined) {
      throw invalidFile(name, `logprobs of token ${i}`, 'token has none', { found: null });
    }
    const best = entries.toSorted((a, b) => b.logProb - a.logProb).slice(0, fewest - 1);
    for (const { id, logProb } of best) builder.add(id, logProb);
    builder.endRow();
  }
  const tokens = Int32Array.from([...before, ...said.map(({ id }) => id)]);
  return {
    name,
    tokens: requireTokens(name, tokens, vocabulary),
    first: tokens.length - labels.length - 1,
    rows: labels.length,
    labels: builder.finish(),
  };
}

function chatTokens(check: FieldChecker, logprobs: JsonObject): readonly Said[] {
  return check.list(logprobs.content, 'logprobs.content').map((token, i) => {
    const field = `logprobs.content[${i}]`;
    const { token: own, top_logprobs: top } = check.object(token, field);
    const entries = check.list(top, `${field}.top_logprobs`).map((entry, j) => {
      const at = `${field}.top_logprobs[${j}]`;
      const { token: id, logprob } = check.object(entry, at);
      return { id: idOf(check, id, at), logProb: logProbOf(check, logprob, at) };
    });
    return { id: idOf(check, own, field), entries };
  });
}

function completionTokens(check: FieldChecker, logprobs: JsonObject): readonly Said[] {
  const top = check.list(logprobs.top_logprobs, 'logprobs.top_logprobs');
  const tokens = check.list(logprobs.tokens, 'logprobs.tokens');
  const fits = tokens.length === top.length && tokens.length > 0;
  check.that(fits, top.length, 'logprobs.top_logprobs', `one for each of ${tokens.length} tokens`);
  return tokens.map((token, i) => {
    const field = `logprobs.top_logprobs[${i}]`;
    const entries = top[i];
    const id = idOf(check, token, `logprobs.tokens[${i}]`);
    if (entries === null) return { id, entries: undefined };
    const own = Object.entries(check.object(entries, field)).map(([key, value]) => ({
      id: idOf(check, key, field),
      logProb: logProbOf(check, value, field),
    }));
    return { id, entries: own };
  });
}

function logProbOf(check: FieldChecker, value: JsonValue | undefined, field: string): number {
  const logProb = vllmLogProb(value);
  check.that(logProb !== undefined, value, field, 'a log-probability');
  return Number(logProb);
}

function idOf(check: FieldChecker, token: JsonValue | undefined, field: string): number {
  const [, id] = (typeof token === 'string' && TOKEN.exec(token)) || [];
  const expected = '"token_id:N" (return_tokens_as_token_ids of the request)';
  check.that(id !== undefined, token, field, expected);
  return Number(id);
}
