import { readFile } from 'node:fs/promises';
import { FieldChecker } from '../core/check.js';
import { isJsonObject, type JsonValue, parseJson } from '../core/json.js';
import { onFile } from '../store/file-error.js';

/**
 * Texts of a tokenizer's ids: `tokenizer.json` (its `model.vocab`), `vocab.json` ({text: id}) or a list of texts. Bytes that
 * byte-level tokenizers write as letters of their own are left so, but for spaces and line ends.
 */
export async function readVocabulary(path: string): Promise<ReadonlyMap<number, string>> {
  const json = parseJson(path, 'content', await onFile(path, () => readFile(path)));
  const check = new FieldChecker(path, 'INVALID_FILE');
  const model = isJsonObject(json) && isJsonObject(json.model) ? json.model.vocab : json;
  const found = new Map<number, string>();
  for (const [text, id] of entriesOf(model, check)) {
    found.set(
      check.count(id, 'id', 0),
      text.replaceAll('Ġ', ' ').replaceAll('▁', ' ').replaceAll('Ċ', '\n'),
    );
  }
  return found;
}

function entriesOf(
  model: JsonValue | undefined,
  check: FieldChecker,
): readonly (readonly [string, JsonValue])[] {
  if (isJsonObject(model)) return Object.entries(model);
  const list = check.that(Array.isArray(model), model, 'vocab', 'texts of ids, or ids of texts');
  // Unigram models pair each text with its score.
  return (list as readonly JsonValue[]).map((entry, id) => [
    check.text(Array.isArray(entry) ? entry[0] : entry, `vocab[${id}]`, /^/),
    id,
  ]);
}
