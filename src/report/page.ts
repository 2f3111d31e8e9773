import { CODECS } from '../codecs/registry.js';
import { formatBytes, formatRatio, formatTimes } from '../core/format.js';
import { errorCode } from '../errors.js';
import type { Chart } from './charts.js';
import { labelsInWords, madeBy, temperaturesInWords } from './facts.js';
import { escapeHtml, factsTable, htmlPage, htmlTable, readAsset } from './html.js';
import type { ArchiveReport } from './report.js';
import { legibleTemperature, TEMPERATURES } from './shown-label.js';
import { compileChart, vegaRuntime } from './vega.js';

export interface PageOptions {
  /** Labels are asked for from the server that the page comes from. */
  readonly live?: boolean;
  /** Texts of ids, for archives of token labels. */
  readonly vocabulary?: ReadonlyMap<number, string>;
}

/** One HTML page with everything inside. */
export async function reportPage(
  report: ArchiveReport,
  { live = false, vocabulary }: PageOptions = {},
): Promise<string> {
  const { charts, examples, worst, texts, facts, name } = report;
  const drawn = await drawCharts(charts);
  const missing = drawn === undefined ? [...report.missing, NO_CHARTS] : report.missing;
  const isText = facts.tokens !== null;
  const data = {
    live,
    temperatures: TEMPERATURES,
    start: legibleTemperature([...examples, ...worst]),
    row: facts.pruning === null ? 'epoch' : 'batch',
    ...{ rows: facts.epochs, samples: facts.samples },
    ...{ examples, worst, texts },
    charts: drawn?.specs ?? {},
    // A server is asked for other texts, whose ids are not known yet.
    vocabulary: live ? Object.fromEntries(vocabulary ?? []) : vocabularyOf(report, vocabulary),
  };
  const body = [
    header(report),
    ...missing.map((text) => `<p class="missing">${escapeHtml(text)}</p>`),
    section('What it is', factsTable(factRows(report))),
    section('Where the bytes are', bytesOf(report)),
    isText ? textsSection(live) : labelsSection(report, live),
    ...(charts.length === 0 ? [] : [chartsSection(charts, drawn !== undefined)]),
    `<footer>softpack ${escapeHtml(report.version)}</footer>`,
  ].join('\n');
  const scripts = [...(drawn?.runtime ? [drawn.runtime] : []), readAsset('page.js')];
  return htmlPage({ title: `${name}: softpack`, body, data, scripts, live });
}

const NO_CHARTS = 'Charts: npm install vega vega-lite. Their figures are in the tables below.';

/** Undefined without Vega: the tables say the same. */
async function drawCharts(charts: readonly Chart[]) {
  if (charts.length === 0) return { specs: {}, runtime: undefined };
  try {
    const runtime = await vegaRuntime();
    const specs: Record<string, object> = {};
    for (const { id, spec } of charts) specs[id] = await compileChart(spec);
    return { specs, runtime };
  } catch (error) {
    if (errorCode(error) === 'TOOL_MISSING') return undefined;
    throw error;
  }
}

function header({ name, facts, divergence }: ArchiveReport): string {
  const { bytes, ratio, labels, classes } = facts;
  const { times, word } = formatTimes(ratio.total);
  const figures: (readonly [string, string])[] = [
    [formatBytes(bytes.total), 'on disk, every byte counted'],
    [`${times}×`, `${word} than float16: ${formatBytes(2 * labels * classes)}`],
  ];
  if (divergence !== undefined) {
    const counted = divergence.labels === undefined ? 'recorded' : `${divergence.labels} labels`;
    const kl = divergence.kl === 0 ? '0' : divergence.kl.toExponential(2);
    figures.push([kl, `nats, mean KL to the full label (${counted})`]);
    figures.push([`${(100 * divergence.top1).toFixed(1)} %`, 'same likeliest class']);
  }
  const cards = figures.map(
    ([value, words]) =>
      `<div><strong>${escapeHtml(value)}</strong><span>${escapeHtml(words)}</span></div>`,
  );
  return `<h1>${escapeHtml(name)}</h1><div class="figures">${cards.join('')}</div>`;
}

function factRows({ facts }: ArchiveReport): readonly (readonly [string, string])[] {
  const { codec, tokens, classes, augmentation, parts, images, teacher, ratio } = facts;
  const bytesOfCodes = facts.bytes.codes;
  const json = (value: unknown) => (value === null ? 'not recorded' : JSON.stringify(value));
  const codesRatio = bytesOfCodes > 0 ? `, ${formatRatio(ratio.codes)} by codes alone` : '';
  const partRows = parts.map(({ folder, epochs, codec: own, bytes }) => {
    const words = `epochs ${epochs[0]} to ${epochs[1] - 1}, ${CODECS.words(own)}, ${formatBytes(bytes.total)}`;
    return [`part ${folder}`, words] as const;
  });
  return [
    ['labels', labelsInWords(facts)],
    [tokens === null ? 'classes' : 'vocabulary', String(classes)],
    ['codec', CODECS.words(codec)],
    ['temperature', temperaturesInWords(facts)],
    ['ratio', `${formatRatio(ratio.total)} in total${codesRatio}`],
    ...partRows,
    ['views', viewsInWords(augmentation)],
    ['teacher', json(teacher)],
    ['images', json(images)],
    ['made by', madeBy(facts.provenance)],
    ['id', facts.id],
  ];
}

function viewsInWords(augmentation: ArchiveReport['facts']['augmentation']): string {
  if (augmentation === null) return 'not recorded';
  const { generator, seed, size, crop, flip, mix, ...rest } = augmentation;
  const known = { size, crop, flip, mix, ...rest };
  const fields = Object.entries(known).filter(([, value]) => value !== undefined);
  const words = (value: unknown): string => {
    if (Array.isArray(value)) return value.map((each) => words(each)).join(' to ');
    if (typeof value === 'number') return String(Number(value.toPrecision(4)));
    if (typeof value !== 'object' || value === null) return String(value);
    return Object.entries(value)
      .map(([name, each]) => `${name} ${words(each)}`)
      .join(', ');
  };
  const drawn = fields.map(([name, value]) => `${name}: ${words(value)}`);
  return [`${generator}${seed === undefined ? '' : `, seed ${seed}`}`, ...drawn].join('; ');
}

function bytesOf({ facts: { bytes } }: ArchiveReport): string {
  const parts = [
    ['codes', bytes.codes, 'the labels themselves'],
    ['codec', bytes.codec, 'codebooks, bases, side data per sample'],
    ['metadata', bytes.metadata, 'manifest, recorded views'],
    ['container', bytes.container, 'headers, padding, checksums'],
  ] as const;
  const share = (size: number) => (100 * size) / bytes.total;
  const bar = parts.map(
    ([name, size]) => `<span class="${name}" style="width:${share(size).toFixed(2)}%"></span>`,
  );
  const rows = parts.map(
    ([name, size, words]) =>
      `<tr><th scope="row"><i class="${name}"></i>${name}</th><td>${formatBytes(size)}</td>` +
      `<td>${share(size).toFixed(1)} %</td><td class="words">${words}</td></tr>`,
  );
  return `<div class="bytes" aria-hidden="true">${bar.join('')}</div><table class="parts">${rows.join('')}</table>`;
}

function labelsSection({ examples, worst }: ArchiveReport, live: boolean): string {
  const both = [...examples, ...worst].some(({ kl }) => kl !== undefined);
  const key = both
    ? '<span class="key full">full</span> <span class="key decoded">decoded</span>'
    : '<span class="key decoded">decoded</span>';
  const slider = `<label class="slider">Temperature <input type="range" id="temperature" min="0" max="${TEMPERATURES.length - 1}" step="1"> <output id="temperature-value"></output></label>`;
  const browse = live ? browseForm(true) : '';
  const worstPart =
    worst.length === 0
      ? ''
      : '<h3>Worst of the compared labels</h3><div class="cards" id="worst"></div>';
  return section(
    'Labels and their views',
    `<p>The five likeliest classes, in percent. ${key}</p>${slider}${browse}<div class="cards" id="examples"></div>${worstPart}`,
  );
}

function textsSection(live: boolean): string {
  const words =
    'Each token with a label is underlined: hover over it, or choose it, for what the teacher expects there.';
  return section(
    'Texts and their labels',
    `<p>${words}</p>${live ? browseForm(false) : ''}<div id="texts"></div>`,
  );
}

/** Asks the server for other labels. @param rows whether there are several. */
function browseForm(rows: boolean): string {
  const number = (name: string, words: string) =>
    `<label>${words} <input name="${name}" type="number" min="0" value="0" required></label>`;
  const row = rows ? number('row', '<span id="row-word"></span>') : '';
  const buttons =
    '<button>Show</button> <button type="button" id="before">Before</button> <button type="button" id="after">After</button>';
  const start = number('start', rows ? 'from sample' : 'from text');
  return `<form id="browse">${row} ${start} ${buttons} <span id="browse-state" role="status"></span></form>`;
}

function chartsSection(charts: readonly Chart[], drawn: boolean): string {
  const figures = charts.map(({ id, title, caption, table: { head, rows } }) => {
    const chart = drawn ? `<div class="chart" id="chart-${id}"></div>` : '';
    const summary = id === 'labels' ? '<p id="brushed" role="status"></p>' : '';
    const open = drawn ? '' : ' open';
    return `<figure><h3>${escapeHtml(title)}</h3>${chart}<figcaption>${escapeHtml(caption)}</figcaption>${summary}<details${open}><summary>Table</summary>${htmlTable(head, rows)}</details></figure>`;
  });
  return section('Measured', `<div class="charts">${figures.join('\n')}</div>`);
}

function section(title: string, content: string): string {
  return `<section><h2>${title}</h2>${content}</section>`;
}

/** Texts of the ids that the page shows. */
function vocabularyOf(
  { texts }: ArchiveReport,
  vocabulary: ReadonlyMap<number, string> | undefined,
): Readonly<Record<string, string>> {
  if (vocabulary === undefined) return {};
  const ids = texts.flatMap(({ tokens = [], labels }) => [
    ...tokens,
    ...labels.flat().map(({ id }) => id),
  ]);
  return Object.fromEntries(
    ids.flatMap((id) => {
      const text = vocabulary.get(id);
      return text === undefined ? [] : [[id, text]];
    }),
  );
}
