import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { seconds } from '#src/cli/progress.js';
import { replaceFile } from '#src/container/durable.js';
import { isSoftpackError } from '#src/errors.js';
import { pace } from '../pace.js';
import { inRounds } from '../rounds.js';
import type { Workspace } from '../workspace.js';
import type { Answer, DrawOptions } from './answer.js';
import type { TeacherHead } from './corpus.js';
import { type Judged, judge } from './judge.js';
import { GROUPS, ONLINE, type TokenMethod } from './methods.js';
import { packTexts } from './packed.js';
import { Predictor } from './predictor.js';
import { greedyAnswers, rougeL } from './rouge.js';
import type { TokenStudent } from './student.js';
import { newStudent, type Recipe, trainStudent } from './train.js';

/** Of the student of a seed. */
export interface Seeded {
  readonly seed: number;
}

export interface TokenRow {
  readonly method: string;
  /** The row that it is compared with. */
  readonly base: string;
  /** Of codes, texts included, per label. */
  readonly bytes?: number;
  /** In the order of seeds, sums over each of the same texts. */
  readonly judged: readonly (Judged & Seeded)[];
  /** Of each text, if it was measured. */
  readonly rouge: readonly (Seeded & { readonly scores: readonly number[] })[];
}

interface Greedy extends DrawOptions {
  train(): Promise<readonly Answer[]>;
  test(): Promise<readonly Answer[]>;
}

export interface Table2Setting {
  readonly workspace: Workspace;
  readonly train: readonly Answer[];
  readonly test: readonly Answer[];
  readonly head: TeacherHead;
  /** The teacher's most probable answers to the same prompts; what needs them is left out without it. */
  readonly greedy?: Greedy;
  readonly recipe: Recipe;
  readonly seeds: number;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Cell {
  readonly method: TokenMethod;
  readonly seed: number;
}

/**
 * Measures a group of methods after the other, each with all its seeds, so that a run that is stopped has what decides; then what
 * students answer, which needs the teacher once more. What another process is measuring comes later.
 */
export async function measureTable2(
  setting: Table2Setting,
  onMeasured: (rows: readonly TokenRow[]) => Promise<void>,
): Promise<void> {
  const { greedy, signal } = setting;
  const cells = GROUPS.flatMap((methods) => cellsOf(methods, setting));
  const run = new Run(setting, cells.length);
  const rows = new Map<string, TokenRow>();
  const change = async (method: TokenMethod, with_: (row: TokenRow) => TokenRow) => {
    const { name, base = ONLINE } = method;
    const row = rows.get(name) ?? { method: name, base, judged: [], rouge: [] };
    rows.set(name, with_(row));
    await onMeasured([...rows.values()]);
  };
  const measureOne = async ({ method, seed }: Cell) => {
    const found = await ifKnown(() => run.cell(method, seed));
    if (found === undefined) return;
    const { bytes, judged } = found;
    const own = { ...judged, seed };
    await change(method, (row) => ({ ...row, bytes, judged: bySeed([...row.judged, own]) }));
  };
  const answerOne = async ({ method, seed }: Cell) => {
    if (greedy === undefined || method.strong) return;
    const scores = await ifKnown(async () => run.rouge(method, seed, greedy));
    if (scores === undefined) return;
    const own = { seed, scores };
    await change(method, (row) => ({ ...row, rouge: bySeed([...row.rouge, own]) }));
  };
  await inRounds(cells, measureOne, signal);
  await inRounds(cells, answerOne, signal);
}

export function bySeed<T extends Seeded>(rows: readonly T[]): T[] {
  return rows.toSorted((a, b) => a.seed - b.seed);
}

/** `undefined`: nothing may be measured, and this is not known. */
async function ifKnown<T>(measure: () => Promise<T>): Promise<T | undefined> {
  try {
    return await measure();
  } catch (error) {
    if (isSoftpackError(error) && error.code === 'INCOMPLETE') return undefined;
    throw error;
  }
}

function cellsOf(methods: readonly TokenMethod[], { seeds, greedy }: Table2Setting): Cell[] {
  const known = methods.filter((method) => !method.greedy || greedy !== undefined);
  return Array.from({ length: seeds }, (_, seed) =>
    known.map((method) => ({ method, seed })),
  ).flat();
}

type StudentParameters = Awaited<ReturnType<Run['studentOf']>>['parameters'];

class Run {
  readonly #setting: Table2Setting;
  readonly #cells: number;
  readonly #positions: number;
  readonly #testData: string;
  #predictor: Predictor | undefined;
  /** Students that are measured, and those that were not known before. */
  #done = 0;
  #fresh = 0;
  readonly #start = performance.now();

  constructor(setting: Table2Setting, cells: number) {
    this.#setting = setting;
    this.#cells = cells;
    const all = [...setting.train, ...setting.test];
    this.#positions = all.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
    this.#testData = digest(setting.test, setting.head);
  }

  /** One student, trained and judged unless it is known. */
  async cell(method: TokenMethod, seed: number): Promise<{ bytes?: number; judged: Judged }> {
    const { workspace, test, head, say } = this.#setting;
    const before = performance.now();
    const { parameters, train } = await this.studentOf(method, seed);
    const { bytes } = await workspace.step('token-student', parameters, async () => {
      const learnt = await this.#learn(method, seed, train, parameters.data.texts);
      using student = learnt.student;
      await mkdir(join(workspace.dir, 'students'), { recursive: true });
      const values = await student.values();
      const { buffer, byteOffset, byteLength } = values;
      await replaceFile(this.#file(parameters), Buffer.from(buffer, byteOffset, byteLength));
      return { bytes: learnt.bytes };
    });
    const judging = { student: parameters, test: this.#testData };
    const judged = await workspace.step('token-judged', judging, async () => {
      using student = await this.#load(parameters);
      return await judge(student, test, head);
    });
    const labels = test.reduce((sum, own) => sum + own.rows, 0);
    const kl = judged.kl.reduce((sum, own) => sum + own, 0) / labels;
    const took = seconds((performance.now() - before) / 1000);
    const place = `[${++this.#done}/${this.#cells}]`;
    say(`${place} ${method.name}, seed ${seed}: KL ${kl.toFixed(4)} (${took})`);
    return { bytes, judged };
  }

  /** ROUGE-L of a student's greedy answer to each text's prompt, the teacher's being the reference. */
  async rouge(
    method: TokenMethod,
    seed: number,
    { test: make, end, most }: Greedy,
  ): Promise<readonly number[]> {
    const test = await make();
    const { parameters } = await this.studentOf(method, seed);
    const answering = { student: parameters, test: this.#testData, most };
    const prompts = test.map(({ tokens, first }) => tokens.subarray(0, first + 1));
    const { workspace } = this.#setting;
    const answers = await workspace.step('token-answered', answering, async () => {
      using student = await this.#load(parameters);
      return await greedyAnswers(student, prompts, { end, most });
    });
    return test.map(({ tokens, first }, i) => {
      const reference = [...tokens.subarray(first + 1)].filter((id) => id !== end);
      return rougeL(answers[i], reference);
    });
  }

  /** What a student depends on. */
  async studentOf(method: TokenMethod, seed: number) {
    const { head } = this.#setting;
    const train = await this.#textsOf(method);
    const texts = digest(train, head);
    const data = { texts, vocabulary: head.vocabulary, positions: this.#positions };
    const { lesson, codec, order } = method;
    const recipe = this.#recipeOf(method);
    return { train, parameters: { lesson, codec, order, seed, recipe, data } };
  }

  async #load(parameters: StudentParameters): Promise<TokenStudent> {
    const { recipe, seed } = parameters;
    const student = newStudent(recipe, this.#setting.head, this.#positions, seed);
    const { buffer, byteOffset, byteLength } = await readFile(this.#file(parameters));
    student.assign(new Float32Array(buffer, byteOffset, byteLength / 4));
    return student;
  }

  /** Weights of a student. */
  #file(parameters: StudentParameters): string {
    const { workspace } = this.#setting;
    const key = workspace.key('token-student', parameters);
    return join(workspace.dir, 'students', `${key}.f32`);
  }

  async #learn(
    method: TokenMethod,
    seed: number,
    train: readonly Answer[],
    texts: string,
  ): Promise<{ student: TokenStudent; bytes?: number }> {
    const { workspace, head, say, signal } = this.#setting;
    const { name, lesson, codec } = method;
    // Those that learn from no labels read their texts from an archive all the same.
    const choice = codec ?? ({ name: 'tiny' } as const);
    // Hidden states are stored without a draw.
    const drawn = choice.name === 'hidden' ? {} : { seed };
    const key = workspace.key('token-labels', { choice, ...drawn, texts });
    const out = join(workspace.dir, 'archives', key);
    const due = pace();
    const onProgress = (packed: number, all: number) => {
      if (due()) say(`    ${name}: labels of ${packed} texts of ${all} packed`);
    };
    // Students of one seed that learn from no labels share it.
    await using packed = await workspace.exclusive(key, () =>
      packTexts(train, choice, { out, seed, head, onProgress, signal }),
    );
    const recipe = this.#recipeOf(method);
    const predictor = lesson === 'predictor' ? await this.#learnPredictor() : undefined;
    const onStep = (step: number, steps: number, loss: number) => {
      if (!due()) return;
      const left = this.#left(step / steps);
      say(`    ${name}, seed ${seed}: step ${step} of ${steps}, loss ${loss.toFixed(3)}${left}`);
    };
    const order = method.order === undefined ? undefined : seed + method.order;
    const positions = this.#positions;
    const setting = { packed, answers: train, head, recipe, positions, predictor, order };
    const student = await trainStudent(lesson, seed, { ...setting, onStep, signal });
    this.#fresh++;
    return codec === undefined ? { student } : { student, bytes: await bytesOf(out, train) };
  }

  /** Of all students, in words; those that were known before take no time. */
  #left(share: number): string {
    const each = (performance.now() - this.#start) / 1000 / (this.#fresh + share);
    return `, about ${seconds(each * (this.#cells - this.#done - share))} left of the run`;
  }

  async #textsOf({ greedy }: TokenMethod): Promise<readonly Answer[]> {
    const { train, greedy: own } = this.#setting;
    return greedy && own !== undefined ? own.train() : train;
  }

  #recipeOf({ strong }: TokenMethod): Recipe {
    const { recipe, head } = this.#setting;
    return strong ? { ...recipe, shape: { ...recipe.shape, informed: head.width } } : recipe;
  }

  async #learnPredictor(): Promise<Predictor> {
    const { train, head, say } = this.#setting;
    if (this.#predictor === undefined) {
      say('    learning the predictor');
      this.#predictor = await Predictor.learn(train, head);
    }
    return this.#predictor;
  }
}

/** Values of the output matrix that tell a teacher from others. */
const TELLING = 4096;

/** What tells texts of a teacher from others. */
export function digest(answers: readonly Answer[], { weights }: TeacherHead): string {
  const hash = createHash('sha256').update(weights.subarray(0, TELLING));
  for (const { tokens, first } of answers) hash.update(Int32Array.of(first)).update(tokens);
  return hash.digest('hex');
}

/** Bytes of the codes per label, those of the texts included. */
async function bytesOf(out: string, texts: readonly Answer[]): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(out)) {
    if (name.startsWith('codes-')) bytes += (await stat(join(out, name))).size;
  }
  return bytes / texts.reduce((sum, own) => sum + own.rows, 0);
}
