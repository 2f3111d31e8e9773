import { type MeasuredPoint, measuredChart } from './charts.js';
import type { ExperimentRow, Report } from './experiments.js';
import { deviationOf, meanOf } from './statistics.js';

/** A chart of results, with its file and its words. */
export interface Figure {
  readonly file: string;
  readonly title: string;
  readonly caption: string;
  readonly svg: string;
}

/** The figures that a report has rows for. */
export async function figuresOf(report: Report): Promise<Figure[]> {
  const rowsOf = (name: string) =>
    report.experiments.flatMap((experiment) => (experiment.name === name ? experiment.rows : []));
  const figures: Figure[] = [];
  const add = async (
    file: string,
    title: string,
    caption: string,
    points: readonly MeasuredPoint[],
    options: Parameters<typeof measuredChart>[1],
  ) => {
    if (points.length < 2) return;
    figures.push({ file, title, caption, svg: await measuredChart(points, options) });
  };
  const ratios = {
    x: 'compression, every byte counted',
    logX: true,
    xValues: [10, 20, 30, 40, 100, 200],
  };
  const kept = [
    ...retained(report, 'figure2', 'none'),
    ...retained(report, 'reuse', TEMPERED, PAST_PAPER),
  ];
  await add('figure-2.svg', 'Figure 2: accuracy kept', KEPT, kept, {
    colourOf,
    ...ratios,
    xValues: [...ratios.xValues, 400, 1000, 2000],
    y: '% of the accuracy with full labels',
  });
  const compared = [...rowsOf('table3'), ...rowsOf('figure2')];
  await add(
    'fidelity.svg',
    'Labels: divergence against compression',
    DIVERGED,
    fidelity(compared),
    {
      colourOf,
      ...ratios,
      y: 'KL to the full label, nats',
      logY: true,
    },
  );
  const grid = rowsOf('figure3');
  const trained = grid.every(({ top1 }) => top1.length > 0);
  await add('figure-3.svg', 'Figure 3: k and dc', STORED, storage(grid, trained), {
    x: 'archive, MB',
    logX: true,
    y: trained ? 'student top-1, %' : 'KL to the full label, nats',
    logY: !trained,
  });
  return figures;
}

const KEPT =
  'Accuracy of a student from the archive as a share of that of a student from full labels. Bars: one standard deviation over seeds.';
const DIVERGED = 'Mean KL divergence of the decoded labels from the full ones; lower is better.';
const STORED = 'Each point is one size of the codebook, each line one width of its codewords.';

/** Methods of the charts: each has one colour in all of them. */
const METHODS = [
  ...['VQAE', 'transform, reuse', 'LPLD', 'LPQLD', 'top-K', 'PCA', 'RPCA', 'VQ', 'VQAE, reuse'],
];

/** Methods that are not listed share the last colour, a grey one. */
function colourOf(series: string): number {
  const method = series.replace(/, IPC \d+$/, '');
  const at = METHODS.indexOf(method);
  return at < 0 ? METHODS.length - 1 : at;
}

/** Full labels at LPQLD's temperatures, and methods at these temperatures that figure 2 shows. */
const TEMPERED = 'none, LPQLD temperatures';
const PAST_PAPER = [TEMPERED, 'transform, reuse', 'VQAE, reuse', 'LPQLD'];

/** The row of the full labels, by this name, in the same setting. */
function fullRow(
  rows: readonly ExperimentRow[],
  { ipc, family, student }: ExperimentRow,
  full: string,
) {
  return rows.find(
    (row) =>
      row.method === full &&
      row.ipc === ipc &&
      row.family === family &&
      row.student === student &&
      row.top1.length > 0,
  );
}

/** Accuracies of students as shares of what the full labels of the same teacher give. */
function retained(
  report: Report,
  name: string,
  fullName: string,
  methods?: readonly string[],
): MeasuredPoint[] {
  const found = report.experiments
    .filter((experiment) => experiment.name === name)
    .flatMap(({ rows, run = report }) =>
      rows.map((row) => ({ row, teacher: run.teachers[row.family] })),
    );
  const compressed = found.filter(({ row: { method, top1 } }) => {
    const wanted = methods === undefined || methods.includes(method);
    return wanted && method !== fullName && top1.length > 0;
  });
  const points = compressed.flatMap(({ row, teacher }) => {
    const same = found.filter((other) => other.teacher === teacher);
    const full = fullRow(
      same.map((other) => other.row),
      row,
      fullName,
    );
    if (full === undefined) return [];
    const whole = meanOf(full.top1);
    const deviation = row.top1.length > 1 ? (100 * deviationOf(row.top1)) / whole : 0;
    const y = (100 * meanOf(row.top1)) / whole;
    return [
      { series: `${row.method}, IPC ${row.ipc}`, x: row.ratio ?? row.reached.total, y, deviation },
    ];
  });
  return points.sort((a, b) => a.x - b.x);
}

function fidelity(rows: readonly ExperimentRow[]): MeasuredPoint[] {
  const first = Math.min(...rows.map(({ ipc }) => ipc));
  // A pruned label is exact or gone: its divergence says nothing about what was pruned. That of labels with exact
  // zeros is set by the floor inside its logarithm.
  const methods = ['VQAE', 'PCA', 'RPCA', 'top-K', 'VQ'];
  const seen = new Set<string>();
  const points = rows.flatMap(({ method, ratio, reached, ipc, divergence }) => {
    const key = `${method} ${ratio}`;
    const wanted = methods.includes(method) && ipc === first && !seen.has(key);
    seen.add(key);
    return wanted && divergence !== undefined
      ? [{ series: method, x: ratio ?? reached.total, y: divergence.kl }]
      : [];
  });
  return points.sort((a, b) => a.x - b.x);
}

function storage(rows: readonly ExperimentRow[], trained: boolean): MeasuredPoint[] {
  return rows.flatMap(({ codec, bytes, top1, divergence }) => {
    const dc = /dc (\d+)/.exec(codec)?.[1];
    const y = trained ? 100 * meanOf(top1) : divergence?.kl;
    return dc === undefined || y === undefined ? [] : [{ series: `dc ${dc}`, x: bytes / 1e6, y }];
  });
}
