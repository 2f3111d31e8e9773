import { seconds } from '#src/cli/progress.js';
import type { ExperimentRow, Report } from '../report/experiments.js';
import type { Cell, Experiment } from './cells.js';
import type { Setting } from './labels.js';
import { known, type MeasureOptions, measure } from './measure.js';
import { inRounds } from './rounds.js';

export interface RunOptions extends MeasureOptions {
  readonly say: (line: string) => void;
  /** Called after each cell that took time. */
  readonly onMeasured: () => Promise<void>;
}

/** Measures all cells, those of few images per class first; cells that another process is measuring come later. */
export async function runCells(
  experiments: readonly Experiment[],
  setting: Setting,
  options: RunOptions,
): Promise<void> {
  const { say, onMeasured } = options;
  const all = distinct(experiments.flatMap(({ cells }) => cells));
  const start = performance.now();
  let [done, fresh] = [0, 0];
  const one = async (cell: Cell) => {
    const before = performance.now();
    const row = await measure(cell, setting, options);
    done++;
    const took = (performance.now() - before) / 1000;
    const counted = `[${done}/${all.length}]`;
    if (row === 'too small') {
      say(`${counted} nothing of ${cell.method} reaches ${cell.ratio}x: left out`);
      return;
    }
    if (took > 1) fresh++;
    const each = (performance.now() - start) / 1000 / fresh;
    const left = fresh === 0 ? '' : `, at most ${seconds(each * (all.length - done))} left`;
    say(`${counted} ${wordsOf(row)} (${seconds(took)}${left})`);
    if (took > 1) await onMeasured();
  };
  const ordered = all.toSorted((a, b) => a.set.ipc - b.set.ipc);
  await inRounds(ordered, one, setting.signal);
}

/** Known results of all experiments, in their order. */
export async function knownRows(
  experiments: readonly Experiment[],
  setting: Setting,
  options: MeasureOptions,
): Promise<Report['experiments']> {
  const found: { name: string; title: string; rows: ExperimentRow[] }[] = [];
  for (const { name, title, cells } of experiments) {
    const rows: ExperimentRow[] = [];
    for (const cell of cells) {
      const row = await known(() => measure(cell, setting, options));
      if (typeof row === 'object') rows.push(row);
    }
    if (rows.length > 0) found.push({ name, title, rows });
  }
  return found;
}

/** Cells of all experiments, each once, with the largest number of students that any asks for. */
function distinct(cells: readonly Cell[]): readonly Cell[] {
  const found = new Map<string, Cell>();
  for (const cell of cells) {
    const { students, ...rest } = cell;
    const key = JSON.stringify(rest);
    if (students === 'several' || !found.has(key)) found.set(key, cell);
  }
  return [...found.values()];
}

function wordsOf(row: ExperimentRow): string {
  const kl = row.divergence === undefined ? '' : `KL ${row.divergence.kl.toExponential(2)}, `;
  const top1 = row.top1.map((value) => (100 * value).toFixed(1)).join(' ');
  const of = `${row.family} to ${row.student}, IPC ${row.ipc}`;
  const size = `${row.ratio ?? row.reached.total.toFixed(1)}x`;
  return `${of}, ${size} ${row.method}: ${kl}top-1 ${top1 || '-'}`;
}
