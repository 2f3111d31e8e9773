import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '#src/container/durable.js';
import { markdownTable } from '../../report/markdown-table.js';
import { GROUPS, RENORMALISED } from './methods.js';
import { commonSeeds, type Interval, meanScore, paired } from './paired.js';
import { bySeed, type Seeded, type TokenRow } from './table2.js';

interface Run {
  readonly command: string;
  readonly machine: string;
  readonly backend: string;
}

/** `results.json`. */
export interface Table2 {
  /** Those that rows are of, the last one first. */
  readonly runs: readonly Run[];
  /** What was learnt and tested on, in words. */
  readonly facts: readonly string[];
  /** Tells the texts from others. */
  readonly texts: string;
  /** Labels of each test text. */
  readonly labels: readonly number[];
  readonly rows: readonly TokenRow[];
}

/** Writes `results.md` and `results.json`, with what earlier runs of the same texts and recipe found; returns the table's path. */
export async function writeTable2(out: string, table: Table2): Promise<string> {
  await mkdir(out, { recursive: true });
  const json = join(out, 'results.json');
  const text = await readFile(json, 'utf8').catch(() => undefined);
  const all = text === undefined ? table : withEarlierRows(table, JSON.parse(text) as Table2);
  await replaceFile(json, Buffer.from(`${JSON.stringify(all)}\n`));
  const file = join(out, 'results.md');
  await replaceFile(file, Buffer.from(markdown(all)));
  return file;
}

/** `table` with the students of `earlier` that it lacks, if they learnt from the same texts by the same recipe. */
function withEarlierRows(table: Table2, earlier: Table2): Table2 {
  const alike = ({ facts, texts }: Table2) => JSON.stringify([facts, texts]);
  if (alike(earlier) !== alike(table)) return table;
  const known = new Map(table.rows.map((row) => [row.method, row]));
  const rows = earlier.rows.map((row) => {
    const own = known.get(row.method);
    known.delete(row.method);
    return own === undefined ? row : joined(own, row);
  });
  const order = GROUPS.flat().map(({ name }) => name);
  const all = [...rows, ...known.values()].toSorted(
    (a, b) => order.indexOf(a.method) - order.indexOf(b.method),
  );
  const runs = new Map([...table.runs, ...earlier.runs].map((run) => [JSON.stringify(run), run]));
  return { ...table, runs: [...runs.values()], rows: all };
}

function joined(own: TokenRow, earlier: TokenRow): TokenRow {
  const both = <T extends Seeded>(now: readonly T[], before: readonly T[]) => {
    const lacking = before.filter(({ seed }) => !now.some((one) => one.seed === seed));
    return bySeed([...now, ...lacking]);
  };
  return {
    ...earlier,
    ...own,
    ...{ judged: both(own.judged, earlier.judged), rouge: both(own.rouge, earlier.rouge) },
  };
}

function markdown({ runs, facts, labels, rows }: Table2) {
  const baseOf = (row: TokenRow) => {
    const base = rows.find(({ method }) => method === row.base);
    return base === undefined || base === row || commonSeeds(row, base).length === 0
      ? undefined
      : base;
  };
  const excess = (row: TokenRow, of: 'kl' | 'nll') => {
    const base = baseOf(row);
    return base && paired(row, base, labels, of);
  };
  /** What renormalised top-k costs students of the same seeds; a cost that may be none measures nothing. */
  const reference = (row: TokenRow) => {
    const base = baseOf(row);
    const vq = rows.find((own) => own.base === row.base && own.method.endsWith(RENORMALISED));
    if (base === undefined || vq === undefined) return undefined;
    const seeds = commonSeeds(row, base);
    if (!seeds.every((seed) => vq.judged.some((own) => own.seed === seed))) return undefined;
    const cost = paired(vq, base, labels, 'kl', seeds);
    return cost.low > 0 ? cost.mean : undefined;
  };
  const lines = rows.map((row) => {
    const kl = excess(row, 'kl');
    const whole = reference(row);
    const share = kl === undefined || whole === undefined ? '-' : (kl.mean / whole).toFixed(2);
    return [
      row.method,
      row.bytes?.toFixed(1) ?? '-',
      String(row.judged.length),
      meanPer(row, labels, 'kl').toFixed(4),
      words(kl),
      eachSeed(row, baseOf(row), labels),
      share,
      meanPer(row, labels, 'nll').toFixed(4),
      words(excess(row, 'nll')),
      row.rouge.length === 0 ? '-' : words(meanScore(row.rouge.map(({ scores }) => scores)), 3),
    ];
  });
  return `${[
    '# Labels of language models',
    [
      ...runs.map(
        ({ command, machine, backend }) =>
          `- \`${command}\` on ${machine}; TensorFlow.js on ${backend}`,
      ),
      ...facts.map((fact) => `- ${fact}`),
    ].join('\n'),
    markdownTable(HEADINGS, lines),
    NOTES,
  ].join('\n\n')}\n`;
}

const NOTES = `KL of the student from the teacher and NLL of the text in nats per label, of texts that were not learnt from. More than online: the mean over seeds of the difference from the student of the same seed that learnt from the teacher itself (of strong students: from the strong one), with a 95 % interval over texts (bootstrap of whole texts, whose labels depend on each other). Share: of what renormalised top-20 costs students of the same seeds. ROUGE-L: longest common subsequence of tokens, F measure, of the student's greedy answer and the teacher's, with an interval over texts. Strong students see the teacher's last state and could learn all that it knows; what is predicted from the text needs no label and cannot tell them. Texts in another order: what two students of the same teacher differ by.`;

const HEADINGS = [
  ...['labels', 'bytes per label', 'seeds', 'KL', 'more than online', 'of each seed', 'share'],
  ...['NLL', 'more than online', 'ROUGE-L'],
];

function meanPer({ judged }: TokenRow, labels: readonly number[], of: 'kl' | 'nll'): number {
  const all = judged.flatMap((own) => own[of]).reduce((sum, value) => sum + value, 0);
  return all / judged.length / labels.reduce((sum, own) => sum + own, 0);
}

/** What a row's students cost more than those that saw the teacher, by seed. */
function eachSeed(row: TokenRow, base: TokenRow | undefined, labels: readonly number[]): string {
  if (base === undefined) return '-';
  return commonSeeds(row, base)
    .map((seed) => paired(row, base, labels, 'kl', [seed]).mean.toFixed(4))
    .join(', ');
}

function words(interval: Interval | undefined, digits = 4): string {
  if (interval === undefined) return '-';
  const { mean, low, high } = interval;
  return `${mean.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}
