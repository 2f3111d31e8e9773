import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { seconds } from '#src/cli/progress.js';
import { bitsFor } from '#src/core/bits.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { TokenCodecChoice } from '#src/tokens/pack-tokens.js';
import { pace } from '../pace.js';
import type { Workspace } from '../workspace.js';
import type { Answer } from './answer.js';
import { type HiddenChoice, packTexts } from './packed.js';
import { type Judged, judge, type Lesson, type Recipe, trainStudent } from './train.js';

/** A row of the table: what a student learns from. */
export interface TokenMethod {
  readonly name: string;
  readonly lesson: Lesson;
  readonly codec?: TokenCodecChoice | HiddenChoice;
}

const VQ = { name: 'topk-vq' } as const;

/** In the order of the table; the first ones are measured first. */
const TOKEN_METHODS: readonly TokenMethod[] = [
  { name: 'online distillation', lesson: 'teacher' },
  { name: 'top-20, VQ, renormalised', lesson: 'labels', codec: VQ },
  { name: '`tiny`: 8 + 8 sampled', lesson: 'labels', codec: { name: 'tiny' } },
  { name: '`head-tail`: 12 + 8 sampled', lesson: 'labels', codec: { name: 'head-tail' } },
  { name: 'text alone', lesson: 'text' },
  { name: 'top-20, VQ, ghost', lesson: 'labels', codec: { ...VQ, tail: 'ghost' } },
  { name: 'top-20, VQ, uniform', lesson: 'labels', codec: { ...VQ, tail: 'uniform' } },
  { name: '50 sampled', lesson: 'labels', codec: { name: 'sampled' } },
  { name: '12 sampled', lesson: 'labels', codec: { name: 'sampled', samples: 12 } },
  { name: '`hidden`, KL .005', lesson: 'labels', codec: { name: 'hidden', kl: 0.005 } },
  { name: '`hidden`, KL .02', lesson: 'labels', codec: { name: 'hidden', kl: 0.02 } },
];

export interface TokenRow {
  readonly method: string;
  /** Of codes without the text, per label. */
  readonly bytes?: number;
  /** One per seed, sums over each of the same texts. */
  readonly judged: readonly Judged[];
}

export interface Table2Setting {
  readonly workspace: Workspace;
  readonly train: readonly Answer[];
  readonly test: readonly Answer[];
  readonly vocabulary: number;
  /** Of hidden states; methods that need them are left out without it. */
  readonly head?: OutputHead;
  readonly recipe: Recipe;
  readonly seeds: number;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Measures seed after seed, so that a run that is stopped has every method of some seeds. */
export async function measureTable2(
  setting: Table2Setting,
  onMeasured: (rows: readonly TokenRow[]) => Promise<void>,
): Promise<void> {
  const { seeds, say, head } = setting;
  const methods = TOKEN_METHODS.filter(({ codec }) => codec?.name !== 'hidden' || head);
  const cells = Array.from({ length: seeds }, (_, seed) =>
    methods.map((method) => ({ method, seed })),
  ).flat();
  const data = dataOf(setting);
  const labels = setting.test.reduce((sum, own) => sum + own.rows, 0);
  const rows = new Map<string, TokenRow>();
  const start = performance.now();
  let fresh = 0;
  for (const [done, { method, seed }] of cells.entries()) {
    const before = performance.now();
    const { bytes, judged } = await cell(method, seed, data, setting);
    const took = (performance.now() - before) / 1000;
    if (took > 1) fresh++;
    const each = (performance.now() - start) / 1000 / Math.max(fresh, 1);
    const earlier = rows.get(method.name)?.judged ?? [];
    rows.set(method.name, { method: method.name, bytes, judged: [...earlier, judged] });
    const kl = judged.kl.reduce((sum, own) => sum + own, 0) / labels;
    const left = seconds(each * (cells.length - done - 1));
    say(
      `[${done + 1}/${cells.length}] ${method.name}, seed ${seed}: KL ${kl.toFixed(4)} (${seconds(took)}, about ${left} left)`,
    );
    await onMeasured([...rows.values()]);
  }
}

/** Values of a text's labels that tell its teacher from others. */
const TELLING = 256;

/** What tells texts and teacher from others; of hidden states as they were read, since a backend rounds distributions. */
function dataOf({ train, test, vocabulary }: Table2Setting) {
  const hash = createHash('sha256');
  for (const { tokens, hidden, logs } of [...train, ...test]) {
    hash.update(tokens).update((hidden ?? logs).subarray(0, TELLING));
  }
  return { texts: hash.digest('hex'), train: train.length, vocabulary };
}

/** One student. */
function cell(
  { name, lesson, codec }: TokenMethod,
  seed: number,
  data: ReturnType<typeof dataOf>,
  setting: Table2Setting,
) {
  const { workspace, train, test, vocabulary, head, recipe, say, signal } = setting;
  const parameters = { name, lesson, codec, seed, recipe, data };
  return workspace.step('token-student', parameters, async () => {
    // Those that learn from no labels read their texts from an archive all the same.
    const choice = codec ?? ({ name: 'tiny' } as const);
    const key = workspace.key('token-labels', { choice, seed, data });
    const out = join(workspace.dir, 'archives', key);
    await using packed = await packTexts(train, choice, { out, seed, vocabulary, head, signal });
    const due = pace();
    const onStep = (step: number, steps: number, loss: number) => {
      if (due()) say(`    ${name}: step ${step} of ${steps}, loss ${loss.toFixed(3)}`);
    };
    const learning = { packed, answers: train, recipe, onStep, signal };
    using student = await trainStudent(lesson, seed, learning);
    const judged = await judge(student, test);
    return {
      judged,
      ...(codec === undefined ? {} : { bytes: await bytesOf(out, train, vocabulary) }),
    };
  });
}

/** Bytes of the codes per label, without the text. */
async function bytesOf(out: string, texts: readonly Answer[], vocabulary: number): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(out)) {
    if (name.startsWith('codes-')) bytes += (await stat(join(out, name))).size;
  }
  const tokens = texts.reduce((sum, own) => sum + own.tokens.length, 0);
  const labels = texts.reduce((sum, own) => sum + own.rows, 0);
  return (bytes - (tokens * bitsFor(vocabulary)) / 8) / labels;
}
