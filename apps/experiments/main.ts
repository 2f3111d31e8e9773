#!/usr/bin/env node
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { isSoftpackError } from '#src/errors.js';
import type { BackendName } from '#src/nn/backend/name.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { loadEmoji } from '../demo/emoji.js';
import { STORED_SIZE } from '../demo/recipe.js';
import { type Report, reportFiles, withEarlier } from '../report/experiments.js';
import { type Cell, type Experiment, experiments } from './cells.js';
import { isJob, onEndOfParent, runJobs } from './jobs.js';
import { type Setting, teacher } from './labels.js';
import type { MeasureOptions } from './measure.js';
import { pace } from './pace.js';
import { FULL, QUICK, type Scale } from './recipe.js';
import { knownRows, runCells } from './run.js';
import { synthesisRows } from './synthesis.js';
import { writeSynthesis } from './synthesis-report.js';
import { table2 } from './tokens/main.js';
import { Workspace } from './workspace.js';

interface Flags {
  readonly quick?: boolean;
  readonly dir: string;
  readonly out: string;
  readonly jobs: number;
  readonly seeds?: number;
  readonly ipc?: readonly number[];
  readonly studentIpc?: readonly number[];
  readonly ratios?: readonly number[];
  readonly backend: 'auto' | BackendName;
  readonly report?: boolean;
  readonly model?: string;
  readonly states?: string;
  readonly questions?: string;
  readonly texts?: number;
  readonly passes?: number;
  readonly window?: number;
}

/** The only one whose rows are sets of images. */
const SYNTHESIS = 'synthesis';
/** The only one on labels of a language model. */
const TABLE2 = 'table2';
const NAMES = ['all', ...experiments(FULL).map(({ name }) => name), SYNTHESIS, TABLE2];
const REPORT_INTERVAL = 60_000;

const list = (text: string) => text.split(',').map(Number);

const program = new Command('experiments')
  .description("The paper's tables on emoji labels; interrupted runs are resumed.")
  .addArgument(new Argument('<name>', 'which').choices(NAMES))
  .option('--quick', '546 classes, small: a quarter of an hour on two cores')
  .option('-d, --dir <dir>', 'where steps and archives are kept', 'softpack-experiments')
  .option('-o, --out <dir>', 'where results go', 'docs/results')
  .option('-j, --jobs <n>', 'processes that share the work', Number, availableParallelism())
  .option('--seeds <n>', 'students a cell, instead of the scale’s own number', Number)
  .option('--ipc <list>', 'images a class, 1 to 3, e.g. 1,2', list)
  .option(
    '--student-ipc <list>',
    'train students for these only; compare labels for the others',
    list,
  )
  .option(
    '--ratios <list>',
    'of compressed labels, e.g. 400,1000; full ones are measured besides',
    list,
  )
  .addOption(
    new Option('--backend <name>', 'of TensorFlow.js')
      .choices(['auto', 'tensorflow', 'wasm'])
      .default('auto'),
  )
  .option('--model <file>', 'of `table2`: a GGUF model whose answers are the task')
  .option(
    '--states <dir>',
    'of `table2`: hidden.npy, head.npy, tokens.npy, lengths.npy instead of a model',
  )
  .option('--questions <dir>', 'of `table2`: English part of chatterbot-corpus, asked beside nouns')
  .option('--texts <n>', 'of `table2`: no more than these, the first ones', Number)
  .option('--passes <n>', 'of `table2`: how often students see each text', Number)
  .option('--window <n>', 'of `table2`: tokens that a step learns from', Number)
  .option('--report', 'measure nothing: write the report of what is known')
  .action(run);

async function run(name: string, flags: Flags): Promise<void> {
  const interrupt = new AbortController();
  const stop = () => interrupt.abort(new Error('interrupted'));
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  if (isJob) onEndOfParent(stop);
  const { signal } = interrupt;
  const base = flags.quick || name === SYNTHESIS ? QUICK : FULL;
  const scale: Scale = { ...base, ipcs: flags.ipc ?? base.ipcs };
  const { dir, jobs } = flags;
  await mkdir(dir, { recursive: true });
  if (name === TABLE2) {
    const together = !isJob && !flags.report && jobs > 1;
    if (together) await runJobs(jobs, signal);
    const report = flags.report || together;
    const { name: backend } = await selectBackend({ backend: flags.backend });
    const context = {
      workspace: new Workspace(dir, { knownOnly: report }),
      run: runOf({ backend }),
      say: together ? () => {} : say,
      signal,
    };
    const file = await table2({ ...flags, report }, context);
    return isJob ? undefined : say(file);
  }
  const { categories } = scale;
  const emoji = await loadEmoji({ dir, size: STORED_SIZE, categories, signal });
  const { name: backend } = await selectBackend({ backend: flags.backend });
  const due = pace();
  const setting: Setting = {
    ...{ workspace: new Workspace(dir), scale, emoji, backend, signal },
    onProgress: (note) => {
      if (due()) say(`    ${note}`);
    },
  };
  if (name === SYNTHESIS) {
    const rows = await synthesisRows(setting, { ...flags, say });
    const file = await writeSynthesis(join(flags.out, SYNTHESIS), setting, runOf(setting), rows);
    return say(file);
  }
  const wanted = ({ ratio }: Cell) => ratio === 1 || flags.ratios?.includes(ratio) !== false;
  const chosen = experiments(scale)
    .filter((experiment) => (name === 'all' ? !experiment.byName : experiment.name === name))
    .map((experiment) => ({ ...experiment, cells: experiment.cells.filter(wanted) }));
  const options = { studentIpcs: flags.studentIpc ?? scale.ipcs, students: flags.seeds };
  const out = join(flags.out, scale.name);
  const report = () => writeReport(out, chosen, setting, options);
  if (isJob) {
    const onMeasured = async () => {};
    return runCells(chosen, setting, { ...options, say, onMeasured });
  }
  // A run that is stopped leaves its results so far.
  let reported = performance.now();
  const onMeasured = async () => {
    if (performance.now() - reported < REPORT_INTERVAL) return;
    await report();
    reported = performance.now();
  };
  if (!flags.report && jobs > 1) {
    const failed = (error: Error) => say(`report: ${error.message}`);
    const timer = setInterval(() => report().catch(failed), REPORT_INTERVAL);
    await runJobs(jobs, signal).finally(() => clearInterval(timer));
  } else if (!flags.report) {
    await runCells(chosen, setting, { ...options, say, onMeasured });
  }
  await report();
  say(join(out, 'report.html'));
}

async function writeReport(
  out: string,
  chosen: readonly Experiment[],
  computing: Setting,
  options: MeasureOptions,
): Promise<void> {
  const { scale, emoji } = computing;
  const workspace = new Workspace(computing.workspace.dir, { knownOnly: true });
  const setting = { ...computing, workspace };
  const found = await knownRows(chosen, setting, options);
  const families = [...new Set(found.flatMap(({ rows }) => rows.map(({ family }) => family)))];
  const teachers: Record<string, number> = {};
  for (const family of families) {
    teachers[family] = (await teacher(family as Parameters<typeof teacher>[0], setting)).top1;
  }
  const report: Report = {
    ...runOf(computing),
    scale: scale.name,
    classes: emoji.classes.length,
    epochs: scale.epochs,
    teachers,
    experiments: found,
  };
  await mkdir(out, { recursive: true });
  const all = withEarlier(report, (await earlierReport(out)) ?? report, NAMES);
  for (const [file, content] of await reportFiles(all)) await writeFile(join(out, file), content);
}

/** The report of earlier runs: what this one does not measure is kept. */
async function earlierReport(out: string): Promise<Report | undefined> {
  const text = await readFile(join(out, 'results.json'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Report);
}

function runOf({ backend }: Pick<Setting, 'backend'>) {
  return {
    command: `npm run experiments -- ${argumentsOf(process.argv)}`,
    machine: `${availableParallelism()} x ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`,
    backend,
  };
}

/** Options that determine what is measured, without those of the report and of paths. */
function argumentsOf(argv: readonly string[]): string {
  const folders = ['-d', '--dir', '-o', '--out', '--model', '--states', '--questions'];
  return argv
    .slice(2)
    .filter(
      (argument, i, all) =>
        !folders.includes(argument.split('=')[0]) && !folders.includes(all[i - 1] ?? ''),
    )
    .filter((argument) => argument !== '--report')
    .join(' ');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (!isSoftpackError(error)) throw error;
  say(`${error.message} [${error.code}]`);
  process.exitCode = error.code === 'ABORTED' ? 130 : 1;
}
