#!/usr/bin/env node
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { seconds } from '../cli/progress.js';
import { loadEmoji } from '../demo/emoji.js';
import { STORED_SIZE } from '../demo/recipe.js';
import { SoftpackError } from '../errors.js';
import { type BackendName, selectBackend } from '../nn/backend.js';
import { type ExperimentRow, type Report, reportFiles } from '../report/experiments.js';
import { experiments } from './cells.js';
import { type Setting, teacher } from './labels.js';
import { known, measure } from './measure.js';
import { FULL, QUICK, type Scale } from './recipe.js';
import { Workspace } from './workspace.js';

interface Flags {
  readonly quick?: boolean;
  readonly dir: string;
  readonly out: string;
  readonly seeds?: number;
  readonly ipc?: readonly number[];
  readonly studentIpc?: readonly number[];
  readonly backend: 'auto' | BackendName;
  readonly report?: boolean;
}

const NAMES = ['all', ...experiments(FULL).map(({ name }) => name)];
const NOTE_INTERVAL = 15_000;

const list = (text: string) => text.split(',').map(Number);

const program = new Command('experiments')
  .description("The paper's tables on emoji labels; a run that was stopped goes on where it was.")
  .addArgument(new Argument('<name>', 'which').choices(NAMES))
  .option('--quick', '546 classes, small: a quarter of an hour on two cores')
  .option('-d, --dir <dir>', 'where steps and archives are kept', 'softpack-experiments')
  .option('-o, --out <dir>', 'where results go', 'docs/results')
  .option('--seeds <n>', 'students a cell, instead of the scale’s own number', Number)
  .option('--ipc <list>', 'images a class, 1 to 3, e.g. 1,2', list)
  .option(
    '--student-ipc <list>',
    'train students for these only; compare labels for the others',
    list,
  )
  .addOption(
    new Option('--backend <name>', 'of TensorFlow.js')
      .choices(['auto', 'tensorflow', 'wasm'])
      .default('auto'),
  )
  .option('--report', 'measure nothing: write the report of what is known')
  .action(run);

async function run(name: string, flags: Flags): Promise<void> {
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort(new Error('interrupted')));
  const base = flags.quick ? QUICK : FULL;
  const scale: Scale = { ...base, ipcs: flags.ipc ?? base.ipcs };
  const seeds = Array.from({ length: flags.seeds ?? scale.seeds.length }, (_, i) => i);
  const { dir } = flags;
  await mkdir(dir, { recursive: true });
  const { categories } = scale;
  const emoji = await loadEmoji({ dir, size: STORED_SIZE, categories, signal: interrupt.signal });
  const { name: backend } = await selectBackend({ backend: flags.backend });
  let noted = performance.now();
  const setting: Setting = {
    workspace: new Workspace(dir, { knownOnly: flags.report }),
    scale,
    emoji,
    backend,
    signal: interrupt.signal,
    onProgress: (note) => {
      if (performance.now() - noted < NOTE_INTERVAL) return;
      noted = performance.now();
      process.stderr.write(`    ${note}\n`);
    },
  };
  const chosen = experiments(scale).filter((experiment) => [experiment.name, 'all'].includes(name));
  const total = chosen.reduce((sum, { cells }) => sum + cells.length, 0);
  const done: { name: string; title: string; rows: ExperimentRow[] }[] = [];
  const studentIpcs = flags.studentIpc ?? scale.ipcs;
  const start = performance.now();
  const out = join(flags.out, scale.name);
  let cells = 0;
  let fresh = 0;
  for (const experiment of chosen) {
    const rows: ExperimentRow[] = [];
    done.push({ name: experiment.name, title: experiment.title, rows });
    for (const cell of experiment.cells) {
      const before = performance.now();
      const row = await known(() => measure(cell, setting, { seeds, studentIpcs }));
      if (row === undefined) say(`${cell.method} at ${cell.ratio}x: not measured`);
      else if (row === 'too small')
        say(`nothing of ${cell.method} reaches ${cell.ratio}x: left out`);
      else rows.push(row);
      cells++;
      const took = (performance.now() - before) / 1000;
      if (took > 1) fresh++;
      const elapsed = (performance.now() - start) / 1000;
      const left =
        fresh === 0 ? '' : `, at most ${seconds((elapsed / fresh) * (total - cells))} left`;
      if (typeof row === 'object')
        say(`[${cells}/${total}] ${experiment.name} ${wordsOf(row)} (${seconds(took)}${left})`);
      // After every cell: whoever stops a run has the results so far.
      if (took > 1 || cells === total) await writeReport(out, done, setting, seeds, backend);
    }
  }
  say(join(out, 'report.html'));
}

function wordsOf(row: ExperimentRow): string {
  const kl = row.divergence === undefined ? '' : `KL ${row.divergence.kl.toExponential(2)}, `;
  const top1 = row.top1.map((value) => (100 * value).toFixed(1)).join(' ');
  return `${row.family} IPC ${row.ipc} ${row.ratio}x ${row.method}: ${kl}top-1 ${top1 || '-'}`;
}

async function writeReport(
  out: string,
  done: Report['experiments'],
  setting: Setting,
  seeds: readonly number[],
  backend: BackendName,
): Promise<void> {
  const { scale, emoji } = setting;
  const families = [...new Set(done.flatMap(({ rows }) => rows.map(({ family }) => family)))];
  const teachers: Record<string, number> = {};
  for (const family of families) {
    teachers[family] = (await teacher(family as Parameters<typeof teacher>[0], setting)).top1;
  }
  const report: Report = {
    command: `npm run experiments -- ${argumentsOf(process.argv)}`,
    machine: `${availableParallelism()} x ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`,
    backend,
    scale: scale.name,
    classes: emoji.classes.length,
    epochs: scale.epochs,
    seeds,
    teachers,
    experiments: done.filter(({ rows }) => rows.length > 0),
  };
  await mkdir(out, { recursive: true });
  for (const [file, content] of await reportFiles(report))
    await writeFile(join(out, file), content);
}

/** What was measured, whoever asks for the report of it. */
function argumentsOf(argv: readonly string[]): string {
  return argv
    .slice(2)
    .filter((argument) => argument !== '--report')
    .join(' ');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (!(error instanceof SoftpackError)) throw error;
  say(`${error.message} [${error.code}]`);
  process.exitCode = error.code === 'ABORTED' ? 130 : 1;
}
