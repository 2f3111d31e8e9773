import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { markdownTable } from '../../report/markdown-table.js';
import { type Interval, paired } from './paired.js';
import type { TokenRow } from './table2.js';

export interface Table2Run {
  readonly command: string;
  readonly machine: string;
  readonly backend: string;
  /** What was learnt and tested on, in words. */
  readonly facts: readonly string[];
  /** Labels of each test text. */
  readonly labels: readonly number[];
}

/** What others are compared with. */
const BASE = 'online distillation';

/** Writes `results.md` and `results.json`; returns the table's path. */
export async function writeTable2(
  out: string,
  run: Table2Run,
  rows: readonly TokenRow[],
): Promise<string> {
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'results.json'), `${JSON.stringify({ ...run, rows })}\n`);
  const file = join(out, 'results.md');
  await writeFile(file, markdown(run, rows));
  return file;
}

function markdown(
  { command, machine, backend, facts, labels }: Table2Run,
  rows: readonly TokenRow[],
) {
  const base = rows.find(({ method }) => method === BASE);
  const vq = rows.find(({ method }) => method.includes('renormalised'));
  const excess = (row: TokenRow | undefined, of: 'kl' | 'nll') =>
    row === undefined || base === undefined || row === base
      ? undefined
      : paired(row, base, labels, of);
  // A cost that may be none measures nothing.
  const cost = excess(vq, 'kl');
  const reference = cost !== undefined && cost.low > 0 ? cost.mean : undefined;
  const lines = rows.map((row) => {
    const kl = excess(row, 'kl');
    const share =
      kl === undefined || reference === undefined ? '-' : (kl.mean / reference).toFixed(2);
    return [
      row.method,
      row.bytes?.toFixed(1) ?? '-',
      String(row.judged.length),
      meanPer(row, labels, 'kl').toFixed(4),
      words(kl),
      share,
      meanPer(row, labels, 'nll').toFixed(4),
      words(excess(row, 'nll')),
    ];
  });
  return `${[
    '# Labels of language models',
    [
      `- Command: \`${command}\``,
      `- Machine: ${machine}; TensorFlow.js on ${backend}`,
      ...facts.map((fact) => `- ${fact}`),
    ].join('\n'),
    markdownTable(HEADINGS, lines),
    'KL of the student from the teacher and NLL of the text in nats per label, of texts that were not learnt from. More than online: the mean over seeds of the difference from the student of the same seed that learnt from the teacher itself, with a 95 % interval over texts (bootstrap of whole texts, whose labels depend on each other; what another seed would change is not in it). Share: of what renormalised top-20 costs.',
  ].join('\n\n')}\n`;
}

const HEADINGS = [
  ...['labels', 'bytes per label', 'seeds', 'KL', 'more than online', 'share'],
  ...['NLL', 'more than online'],
];

function meanPer({ judged }: TokenRow, labels: readonly number[], of: 'kl' | 'nll'): number {
  const all = judged.flatMap((own) => own[of]).reduce((sum, value) => sum + value, 0);
  return all / judged.length / labels.reduce((sum, own) => sum + own, 0);
}

function words(interval: Interval | undefined): string {
  if (interval === undefined) return '-';
  const { mean, low, high } = interval;
  return `${mean.toFixed(4)} (${low.toFixed(4)} to ${high.toFixed(4)})`;
}
