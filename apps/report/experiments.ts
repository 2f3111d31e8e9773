import { formatBytes } from '#src/core/format.js';
import type { LabelDivergence } from '#src/labels/divergence.js';
import { escapeHtml, htmlPage, htmlTable } from '#src/report/html.js';
import { type MeasuredPoint, measuredChart } from './charts.js';

/** One method at one size, measured. */
export interface ExperimentRow {
  readonly method: string;
  /** Names of teacher and student. */
  readonly family: string;
  readonly student: string;
  readonly ipc: number;
  /** Requested ratio, in total bytes; absent if the codec's parameters were given. */
  readonly ratio?: number;
  readonly codec: string;
  /** Size of the archive on disk. */
  readonly bytes: number;
  readonly reached: { readonly codes: number; readonly total: number };
  readonly divergence?: LabelDivergence;
  /** Share of the held-out set classified correctly by each student, one per seed. */
  readonly top1: readonly number[];
}

/** How results were made. */
export interface RunFacts {
  readonly command: string;
  readonly machine: string;
  readonly backend: string;
  /** Top-1 of each family's teacher on the held-out set. */
  readonly teachers: Readonly<Record<string, number>>;
}

/** The results of a run: `results.json`. */
export interface Report extends RunFacts {
  readonly scale: string;
  readonly classes: number;
  readonly epochs: number;
  readonly experiments: readonly {
    readonly name: string;
    readonly title: string;
    readonly rows: readonly ExperimentRow[];
    /** Of another run, whose results are kept. */
    readonly run?: RunFacts;
  }[];
}

/** `report` with the experiments and rows of `earlier` that it lacks, each with its own run, in the order of `names`. */
export function withEarlier(report: Report, earlier: Report, names: readonly string[]): Report {
  const { command, machine, backend, teachers } = earlier;
  const run = { command, machine, backend, teachers };
  const keysOf = ({ name, rows }: Report['experiments'][number]) =>
    rows.map((row) => name + identityOf(row));
  const trained = new Set(
    earlier.experiments.flatMap(({ rows, ...experiment }) =>
      keysOf({ ...experiment, rows: rows.filter(({ top1 }) => top1.length > 0) }),
    ),
  );
  // Labels that were only compared are no reason to drop those that students learnt from.
  const measured = report.experiments.map((experiment) => ({
    ...experiment,
    rows: experiment.rows.filter(
      (row) => row.top1.length > 0 || !trained.has(experiment.name + identityOf(row)),
    ),
  }));
  const known = new Set(measured.flatMap(keysOf));
  const kept = earlier.experiments.flatMap((experiment) => {
    const rows = experiment.rows.filter((row) => !known.has(experiment.name + identityOf(row)));
    return rows.length === 0 ? [] : [{ run, ...experiment, rows }];
  });
  const experiments = [...measured, ...kept].toSorted(
    (a, b) => names.indexOf(a.name) - names.indexOf(b.name),
  );
  return { ...report, experiments };
}

/** What a row measures, without what was found. */
function identityOf({ method, family, student, ipc, ratio, codec }: ExperimentRow): string {
  return JSON.stringify([method, family, student, ipc, ratio ?? codec]);
}

/** Every file of a report by name: JSON, Markdown, figures as SVG, and one page with all of them. */
export async function reportFiles(report: Report): Promise<ReadonlyMap<string, string>> {
  const figures = await figuresOf(report);
  const files = new Map<string, string>([
    ['results.json', `${JSON.stringify(report, null, 2)}\n`],
    ['results.md', markdown(report)],
    ['report.html', page(report, figures)],
  ]);
  // A separate file cannot use the text colour of a page: it follows the colour scheme itself.
  for (const { file, svg } of figures) files.set(file, standalone(svg));
  return files;
}

export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation (n - 1). NaN for fewer than two values. */
export function deviationOf(values: readonly number[]): number {
  const mean = meanOf(values);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

const HEADINGS = [
  'method',
  'teacher',
  'student',
  'IPC',
  'asked',
  'codec',
  'bytes in total',
  'x in total',
  'x of codes',
  'KL, nats',
  'nmse',
  'same top class',
  'student top-1, %',
] as const;

function cellsOf(row: ExperimentRow): string[] {
  const { divergence, reached, top1 } = row;
  const [mean, deviation] = [100 * meanOf(top1), 100 * deviationOf(top1)];
  const spread = top1.length > 1 ? ` ± ${deviation.toFixed(1)} (${top1.length})` : '';
  return [
    row.method,
    row.family,
    row.student,
    String(row.ipc),
    row.ratio === undefined ? '-' : `${row.ratio}x`,
    row.codec,
    formatBytes(row.bytes),
    reached.total.toFixed(1),
    Number.isFinite(reached.codes) ? reached.codes.toFixed(1) : '-',
    divergence === undefined ? '-' : divergence.kl.toExponential(2),
    divergence === undefined ? '-' : divergence.nmse.toFixed(4),
    divergence === undefined ? '-' : `${(100 * divergence.top1).toFixed(1)} %`,
    top1.length === 0 ? '-' : `${mean.toFixed(1)}${spread}`,
  ];
}

function facts(report: Report): string[] {
  return [
    ...runFacts(report),
    `Scale ${report.scale}: ${report.classes} classes, ${report.epochs} epochs; students are seeded 0, 1, ...`,
    'Ratios count every byte of an archive on disk. Figures behind ± are standard deviations over seeds, their number in brackets. ' +
      'Divergences of a pruned archive are of the labels that it keeps.',
  ];
}

function runFacts({ command, machine, backend, teachers }: RunFacts): string[] {
  const known = Object.entries(teachers)
    .filter(([, top1]) => Number.isFinite(top1))
    .map(([family, top1]) => `${family} ${(100 * top1).toFixed(1)} %`);
  return [
    `Command: ${command}`,
    `Machine: ${machine}; TensorFlow.js on ${backend}`,
    ...(known.length === 0 ? [] : [`Teachers, top-1 held out: ${known.join(', ')}`]),
  ];
}

function markdown(report: Report): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const tables = report.experiments.map(({ title, rows, run }) =>
    [
      `## ${title}`,
      '',
      ...(run === undefined ? [] : [`${runFacts(run).join('. ')}.`, '']),
      line(HEADINGS),
      line(HEADINGS.map(() => '---')),
      ...rows.map((row) => line(cellsOf(row))),
    ].join('\n'),
  );
  const list = facts(report).map((fact) => `- ${fact}`);
  return `${['# Results on emoji labels', list.join('\n'), ...tables].join('\n\n')}\n`;
}

interface Figure {
  readonly file: string;
  readonly title: string;
  readonly caption: string;
  readonly svg: string;
}

async function figuresOf(report: Report): Promise<Figure[]> {
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
    ...retained(rowsOf('figure2'), 'none'),
    ...retained(
      rowsOf('reuse').filter(({ method }) => PAST_PAPER.includes(method)),
      TEMPERED,
    ),
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

function retained(rows: readonly ExperimentRow[], fullName: string): MeasuredPoint[] {
  const compressed = rows.filter(({ method, top1 }) => method !== fullName && top1.length > 0);
  const points = compressed.flatMap((row) => {
    const full = fullRow(rows, row, fullName);
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

/** An SVG that follows the viewer's colour scheme, with its own background. */
function standalone(svg: string): string {
  const style =
    '<style>svg{color:#1b1b1f;background:#fff}' +
    '@media(prefers-color-scheme:dark){svg{color:#e8e8ec;background:#16161a}}</style>';
  return `${svg.replace(/(<svg[^>]*>)/, `$1${style}`)}\n`;
}

function page(report: Report, figures: readonly Figure[]): string {
  const tables = report.experiments.map(({ title, rows, run }) => {
    const words = run === undefined ? '' : `<p>${escapeHtml(runFacts(run).join('. '))}.</p>`;
    return `<h2>${escapeHtml(title)}</h2>${words}${htmlTable(HEADINGS, rows.map(cellsOf))}`;
  });
  const charts = figures.map(
    ({ title, caption, svg }) =>
      `<h2>${escapeHtml(title)}</h2><figure class="scroll">${svg}</figure><figcaption>${escapeHtml(caption)}</figcaption>`,
  );
  const list = facts(report).map((fact) => `<li>${escapeHtml(fact)}</li>`);
  return htmlPage({
    title: 'softpack: results on emoji labels',
    body: `<h1>Results on emoji labels</h1>\n<ul>${list.join('')}</ul>\n${charts.join('\n')}\n${tables.join('\n')}`,
  });
}
