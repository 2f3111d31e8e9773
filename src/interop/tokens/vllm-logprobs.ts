import { FieldChecker } from '../../core/check.js';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.js';
import { invalidFile, throwIfAborted } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { documentsOf, type Named, promptIds } from './json-documents.js';
import type { TokenLabelFile } from './label-file.js';
import { SparseBuilder } from './sparse-builder.js';
import { answerSequence } from './vllm-answers.js';
import { vllmLogProb } from './vllm-log-prob.js';

/**
 * Log-probabilities of vLLM as JSON: whole responses of its server, their choices, or what `vllm run-batch` writes around
 * responses, one per line or one per file. `prompt_logprobs` is `[null, {"<id>": {"logprob", "rank"}, ...}, ...]`: entry i
 * is the distribution of token i. The prompt's own token is an additional entry where it is not among the k most probable
 * ones: what counts is the rank, never the number of entries. The text is in `prompt_token_ids` (`return_token_ids` of the
 * request). Choices without `prompt_logprobs` that have `logprobs` give the labels of their answer.
 */
export interface VllmLogprobsOptions {
  /** Ids of the teacher's vocabulary, which the files do not tell. */
  readonly vocabulary: number;
  /** `prompt_logprobs` of the request; default: what the ranks of a text have in common. */
  readonly k?: number;
}

export function readVllmLogprobs(file: ByteFile, options: VllmLogprobsOptions): TokenLabelFile {
  const { vocabulary, k } = options;
  return {
    vocabulary,
    notes: [],
    async *sequences(signal) {
      for await (const { name, value } of documentsOf(file)) {
        throwIfAborted(signal);
        for (const request of requestsOf(name, value)) {
          yield sequenceOf(request.name, request.value, vocabulary, k);
        }
      }
    },
  };
}

/** Objects with `prompt_logprobs`: the document or its choices. */
function requestsOf(name: string, found: JsonValue): readonly Named<JsonObject>[] {
  const value = responseOf(name, found);
  if (!isJsonObject(value)) {
    throw invalidFile(name, 'content', 'not an answer of vLLM', {
      expected: 'an object with prompt_logprobs',
      found: value,
    });
  }
  const bare = value.choices === undefined && value.logprobs != null;
  if (value.prompt_logprobs != null || bare) return [{ name, value }];
  const choices = new FieldChecker(name, 'INVALID_FILE').list(value.choices, 'choices');
  return choices.map((choice, i) => {
    const own = `${name}: choices[${i}]`;
    const at = new FieldChecker(own, 'INVALID_FILE').object(choice, 'choice');
    // Chat completions have both beside their choices.
    const ofPrompt = at.prompt_logprobs ?? value.prompt_logprobs;
    return {
      name: own,
      value: {
        prompt_logprobs: ofPrompt ?? null,
        prompt_token_ids: at.prompt_token_ids ?? value.prompt_token_ids ?? null,
        logprobs: at.logprobs ?? null,
      },
    };
  });
}

/** What a line of a batch holds, `{custom_id, response: {status_code, body}, error}`; anything else as it is. */
function responseOf(name: string, value: JsonValue): JsonValue {
  if (!isJsonObject(value) || !('custom_id' in value && 'response' in value)) return value;
  const { custom_id: id, response, error } = value;
  const { status_code: status, body } = isJsonObject(response) ? response : {};
  if (error == null && status === 200 && body != null) return body;
  throw invalidFile(name, `custom_id ${JSON.stringify(id)}`, 'request has no answer', {
    expected:
      'an answer to every request: ask again for those that failed, or leave their lines out',
    found: error ?? response ?? null,
  });
}

function sequenceOf(
  name: string,
  request: JsonObject,
  vocabulary: number,
  k: number | undefined,
): TokenSequence {
  const check = new FieldChecker(name, 'INVALID_FILE');
  const { prompt_logprobs: ofPrompt, logprobs } = request;
  if (ofPrompt == null && logprobs != null) {
    const prompt = promptIds(name, request.prompt_token_ids, vocabulary);
    return answerSequence(name, check.object(logprobs, 'logprobs'), prompt, vocabulary);
  }
  const positions = check
    .list(ofPrompt, 'prompt_logprobs')
    .map((entries, i) =>
      entries === null
        ? []
        : rankedEntries(name, i, check.object(entries, `prompt_logprobs[${i}]`)),
    );
  // The first token has no label; nor have tokens that were in a cache, or that whoever wrote the file left out.
  const begin = Math.max(
    1,
    positions.findIndex((entries) => entries.length > 0),
  );
  const end = positions.findLastIndex((entries) => entries.length > 0) + 1;
  if (end <= begin) throw invalidFile(name, 'prompt_logprobs', 'no labels', { found: end });
  const labels = positions.slice(begin, end);
  const top = k ?? commonRanks(labels);
  const builder = new SparseBuilder(name, vocabulary);
  for (const [i, entries] of labels.entries()) {
    const ranks = ranksFromOne(entries);
    if (k !== undefined && entries.length > 0 && ranks < Math.min(k, vocabulary)) {
      throw invalidFile(name, `prompt_logprobs[${i + begin}]`, 'ranks are missing', {
        expected: `ranks 1 to ${k}`,
        found: ranks,
      });
    }
    // Behind a gap only the prompt's own token has a rank.
    for (const { id, rank, logProb } of entries) {
      if (rank <= Math.min(top, ranks)) builder.add(id, logProb);
    }
    builder.endRow();
  }
  const tokens = tokensOf(name, request.prompt_token_ids, positions.length, vocabulary);
  return {
    name,
    ...(tokens === undefined ? {} : { tokens }),
    first: begin - 1,
    rows: labels.length,
    labels: builder.finish(),
  };
}

interface Entry {
  readonly id: number;
  readonly rank: number;
  readonly logProb: number;
}

function rankedEntries(name: string, position: number, entries: JsonObject): readonly Entry[] {
  const found: Entry[] = [];
  for (const [key, value] of Object.entries(entries)) {
    const field = `prompt_logprobs[${position}].${key}`;
    const { rank, logprob } = isJsonObject(value) ? value : {};
    // vLLM gives no rank to tokens that it did not rank.
    if (rank === null) continue;
    const logProb = vllmLogProb(logprob);
    const valid = /^\d{1,10}$/.test(key) && Number.isInteger(rank) && Number(rank) >= 1;
    if (!valid || logProb === undefined) {
      throw invalidFile(name, field, 'not an entry', {
        expected: '"<id>": {"logprob", "rank"}',
        found: value,
      });
    }
    found.push({ id: Number(key), rank: Number(rank), logProb });
  }
  return found;
}

/**
 * `prompt_logprobs` of the request. Positions have that many ranks, or one more if the prompt's own token is the next
 * one; if they differ by more, something else than vLLM chose them, and each keeps what it has.
 */
function commonRanks(labels: readonly (readonly Entry[])[]): number {
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (const entries of labels) {
    if (entries.length === 0) continue;
    const ranks = ranksFromOne(entries);
    [least, most] = [Math.min(least, ranks), Math.max(most, ranks)];
  }
  return most - least <= 1 ? least : most;
}

/** How many ranks from 1 on are there without a gap; the prompt's own token may have a rank behind the gap. */
function ranksFromOne(entries: readonly Entry[]): number {
  const ranks = new Set(entries.map(({ rank }) => rank));
  let count = 0;
  while (ranks.has(count + 1)) count += 1;
  return count;
}

function tokensOf(
  name: string,
  value: JsonValue | undefined,
  count: number,
  vocabulary: number,
): Int32Array | undefined {
  const ids = promptIds(name, value, vocabulary);
  if (ids !== undefined && ids.length !== count) {
    throw invalidFile(name, 'prompt_token_ids', 'another number of tokens than of labels', {
      expected: count,
      found: ids.length,
    });
  }
  return ids && Int32Array.from(ids);
}
