import { FieldChecker } from '../../core/check.js';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.js';
import { invalidFile, throwIfAborted } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { documentsOf, promptIds } from './json-documents.js';
import { requireTokens, type TokenLabelFile } from './label-file.js';
import { SparseBuilder } from './sparse-builder.js';

/**
 * Answers of SGLang's `/generate` (`return_logprob`, `top_logprobs_num`; 0.5.23), alone, in lists, or one per line. `meta_info`
 * has for the prompt, from `logprob_start_len` on, and for the answer, `side` being `input` and `output`:
 *
 *   {side}_token_logprobs   [[log-probability, id, text], ...], a token each
 *   {side}_top_logprobs     [[[log-probability, id, text], ...], ...], the distribution of each of these tokens, null for the first
 *
 * or, with `return_flat_raw_top_logprobs` and `return_flat_raw_output_top_logprobs`, {side}_top_logprobs_val_flat and _idx_flat,
 * [rows, k] as {side}_top_logprobs_shape says, behind {side}_top_logprobs_null_prefix tokens without; both also in base64 (_b64).
 */
export function readSglang(
  file: ByteFile,
  { vocabulary }: { readonly vocabulary: number },
): TokenLabelFile {
  return {
    vocabulary,
    notes: [
      "SGLang divides an answer's logits by the request's temperature: labels of answers are the teacher's at temperature 1",
    ],
    async *sequences(signal) {
      for await (const { name, value } of documentsOf(file)) {
        throwIfAborted(signal);
        yield sequenceOf(name, value, vocabulary);
      }
    },
  };
}

/** Tokens of a context at most. */
const MAX_TOKENS = 2 ** 24;

/** A token's distribution; undefined for a token without. */
type Entries = readonly { readonly id: number; readonly logProb: number }[] | undefined;

function sequenceOf(name: string, value: JsonValue, vocabulary: number): TokenSequence {
  if (!isJsonObject(value) || !isJsonObject(value.meta_info)) {
    throw invalidFile(name, 'content', 'not an answer of SGLang', {
      expected: 'an object with meta_info',
      found: value,
    });
  }
  const check = new FieldChecker(name, 'INVALID_FILE');
  const meta = value.meta_info;
  const input = sideOf(check, meta, 'input');
  const output = sideOf(check, meta, 'output');
  const prompt = promptIds(name, value.prompt_token_ids, vocabulary);
  const length = check.count(
    meta.prompt_tokens ?? prompt?.length ?? input.ids.length,
    'meta_info.prompt_tokens',
    input.ids.length,
    prompt?.length ?? MAX_TOKENS,
  );
  // What is before `logprob_start_len` has no labels.
  const before = length - input.ids.length;
  const labels = [...without(before), ...input.labels, ...output.labels];
  const begin = labels.findIndex((entries) => entries !== undefined);
  const wrong = begin < 0 ? 'none' : 'a label of the first token';
  check.that(begin > 0, wrong, 'meta_info', 'top_logprobs of tokens behind the first');
  const end = labels.findLastIndex((entries) => entries !== undefined) + 1;
  const builder = new SparseBuilder(name, vocabulary);
  for (const entries of labels.slice(begin, end)) {
    for (const { id, logProb } of entries ?? []) builder.add(id, logProb);
    builder.endRow();
  }
  const known = prompt ?? (before === 0 ? input.ids : undefined);
  const tokens = known && Int32Array.from([...known, ...output.ids]);
  return {
    name,
    ...(tokens && { tokens: requireTokens(name, tokens, vocabulary) }),
    first: begin - 1,
    rows: end - begin,
    labels: builder.finish(),
  };
}

function without(tokens: number): readonly Entries[] {
  return new Array<Entries>(tokens).fill(undefined);
}

/** Tokens of prompt or answer, and as many distributions. */
function sideOf(
  check: FieldChecker,
  meta: JsonObject,
  side: 'input' | 'output',
): { readonly ids: readonly number[]; readonly labels: readonly Entries[] } {
  const field = `${side}_token_logprobs`;
  const ids = listOf(check, meta, field).map((token, i) => {
    const at = `meta_info.${field}[${i}]`;
    return check.count(check.list(token, at)[1], at, 0);
  });
  const own = `${side}_top_logprobs`;
  const flat = meta[`${own}_shape`] != null;
  const labels = flat ? flatLabels(check, meta, own, ids.length) : nestedLabels(check, meta, own);
  if (labels.length === 0) return { ids, labels: without(ids.length) };
  const fits = labels.length === ids.length;
  check.that(fits, labels.length, `meta_info.${own}`, `as many as tokens, ${ids.length}`);
  return { ids, labels };
}

function nestedLabels(check: FieldChecker, meta: JsonObject, own: string): readonly Entries[] {
  return listOf(check, meta, own).map((row, i) => {
    if (row === null) return undefined;
    const entries = check.list(row, `meta_info.${own}[${i}]`);
    if (entries.length === 0) return undefined;
    return entries.map((entry, j) => {
      const at = `meta_info.${own}[${i}][${j}]`;
      const [logProb, id] = check.list(entry, at);
      return { id: check.count(id, at, 0), logProb: logProbOf(check, logProb, at) };
    });
  });
}

function flatLabels(
  check: FieldChecker,
  meta: JsonObject,
  own: string,
  tokens: number,
): readonly Entries[] {
  const [rows, k] = [0, 1].map((axis) => {
    const sizes = check.list(meta[`${own}_shape`], `meta_info.${own}_shape`);
    return check.count(sizes[axis], `meta_info.${own}_shape[${axis}]`, axis);
  });
  const prefix = meta[`${own}_null_prefix`];
  const before = check.count(prefix, `meta_info.${own}_null_prefix`, 0, tokens);
  const [values, ids] = (['val', 'idx'] as const).map((part) => {
    const key = `${own}_${part}_flat`;
    const array = flatArray(check, meta, key, part === 'val' ? 'float32' : 'int32');
    const fits = array.length === rows * k;
    check.that(fits, array.length, `meta_info.${key}`, `${rows} x ${k} values`);
    return array;
  });
  const labels = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: k }, (__, j) => {
      const at = `meta_info.${own}: row ${row}, entry ${j}`;
      const [value, id] = [values[row * k + j], ids[row * k + j]];
      return { id: check.count(id, at, 0), logProb: logProbOf(check, value, at) };
    }),
  );
  return [...without(before), ...labels];
}

/** An array as numbers, or its bytes, little-endian, in base64. */
function flatArray(
  check: FieldChecker,
  meta: JsonObject,
  key: string,
  dtype: 'float32' | 'int32',
): readonly JsonValue[] {
  const text = meta[`${key}_b64`];
  if (text == null) return listOf(check, meta, key);
  check.oneOf(meta[`${key}_b64_dtype`], `meta_info.${key}_b64_dtype`, [dtype]);
  const bytes = Buffer.from(String(text), 'base64');
  const valid = bytes.toString('base64') === text && bytes.length % 4 === 0;
  check.that(valid, text, `meta_info.${key}_b64`, `${dtype} in base64`);
  return Array.from({ length: bytes.length / 4 }, (_, i) =>
    dtype === 'int32' ? bytes.readInt32LE(4 * i) : bytes.readFloatLE(4 * i),
  );
}

/** A list of `meta_info`, empty if there is none. */
function listOf(check: FieldChecker, meta: JsonObject, key: string): readonly JsonValue[] {
  const value = meta[key];
  return value == null ? [] : check.list(value, `meta_info.${key}`);
}

/** JSON has no infinity: null is what has no probability. */
function logProbOf(check: FieldChecker, value: JsonValue | undefined, field: string): number {
  if (value === null) return Number.NEGATIVE_INFINITY;
  check.that(typeof value === 'number', value, field, 'a log-probability');
  return Number(value);
}
