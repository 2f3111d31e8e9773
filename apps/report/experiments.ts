import { formatBytes } from '#src/core/format.js';
import type { LabelDivergence } from '#src/labels/divergence.js';
import { escapeHtml, htmlPage, htmlTable } from '#src/report/html.js';
import { type Figure, figuresOf } from './figures.js';
import { markdownTable } from './markdown-table.js';
import { deviationOf, meanOf } from './statistics.js';

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
    const own = { run, ...experiment };
    const lacking = own.rows.filter((row) => !known.has(own.name + identityOf(row)));
    const rows = own.rows.filter(
      (row) => lacking.includes(row) || (isFull(row) && lacking.some(comparedWith(row, own.run))),
    );
    return rows.length === 0 ? [] : [{ ...own, rows }];
  });
  // Rows of another teacher are compared with its own full labels, not with those of this one.
  function comparedWith({ family, student, ipc }: ExperimentRow, { teachers: others }: RunFacts) {
    return (row: ExperimentRow) =>
      row.family === family &&
      row.student === student &&
      row.ipc === ipc &&
      others[family] !== report.teachers[family];
  }
  const experiments = [...measured, ...kept].toSorted(
    (a, b) => names.indexOf(a.name) - names.indexOf(b.name),
  );
  return { ...report, experiments };
}

function isFull({ method, ratio }: ExperimentRow): boolean {
  return ratio === 1 && method.startsWith('none');
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
  const tables = report.experiments.map(({ title, rows, run }) =>
    [
      `## ${title}`,
      '',
      ...(run === undefined ? [] : [`${runFacts(run).join('. ')}.`, '']),
      markdownTable(HEADINGS, rows.map(cellsOf)),
    ].join('\n'),
  );
  const list = facts(report).map((fact) => `- ${fact}`);
  return `${['# Results on emoji labels', list.join('\n'), ...tables].join('\n\n')}\n`;
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
