import { formatBytes } from '#src/core/format.js';
import { escapeHtml, factsTable, htmlPage } from '#src/report/html.js';
import { bytesChart, lineChart } from './charts.js';

/** The figures of one run of the demo: `report.json`. */
export interface DemoReport {
  readonly classes: number;
  readonly labels: number;
  /** On disk; the four parts add up to `total`. */
  readonly bytes: {
    readonly codes: number;
    readonly codec: number;
    readonly metadata: number;
    readonly container: number;
    readonly total: number;
  };
  /** Float16 labels (2 bytes per class) over bytes of codes, and over bytes in total. */
  readonly ratio: { readonly codes: number; readonly total: number };
  /** Mean KL divergence of the decoded from the full labels, nats. */
  readonly kl: number;
  /** Share of the held-out images classified correctly. */
  readonly top1: { readonly teacher: number; readonly full: number; readonly archive: number };
  readonly seconds: number;
  readonly seed: number;
  /** TensorFlow.js backend of teacher and students. */
  readonly backend: string;
  /** Method that the images were distilled by, if they were. */
  readonly images?: string;
  /** Of the second archive, if there is one. */
  readonly transform?: TransformReport;
}

/** An archive of the transform codec, and the student from it. */
export interface TransformReport extends Pick<DemoReport, 'bytes' | 'ratio' | 'kl'> {
  /** Epochs that it serves, and those that it stores. */
  readonly epochs: number;
  readonly keep: number;
  readonly top1: number;
}

export interface LabelExample {
  /** Name of the image's own class. */
  readonly name: string;
  /** PNG of the labelled view, as the teacher saw it. */
  readonly png: Uint8Array;
  /** The classes with the largest full labels, largest first. */
  readonly rows: readonly {
    readonly name: string;
    readonly full: number;
    readonly decoded: number;
  }[];
}

export interface DemoPage {
  readonly report: DemoReport;
  readonly codec: string;
  readonly heldOut: string;
  readonly examples: readonly LabelExample[];
  /** Of their figures. */
  readonly temperature: number;
  readonly codecCurve: readonly number[];
  readonly studentCurves: { readonly full: readonly number[]; readonly archive: readonly number[] };
}

/** One self-contained HTML page, legible in light and dark. */
export async function demoPage(page: DemoPage): Promise<string> {
  const { report } = page;
  const codec = thin(page.codecCurve).map(([x, y]) => ({ series: 'reconstruction', x, y }));
  const students = (['full', 'archive'] as const).flatMap((series) =>
    thin(page.studentCurves[series]).map(([x, y]) => ({ series: `${series} labels`, x, y })),
  );
  const { codes, codec: codecBytes, metadata, container, total } = report.bytes;
  const bytes = await bytesChart([
    { name: 'float16 labels', bytes: 2 * report.labels * report.classes },
    { name: 'archive, total', bytes: total },
    { name: 'codes', bytes: codes },
    { name: 'codec', bytes: codecBytes },
    { name: 'metadata', bytes: metadata },
    { name: 'container', bytes: container },
  ]);
  const codecChart = await lineChart(codec, {
    x: 'step',
    y: "error, share of the labels' variance",
    logY: true,
  });
  const studentChart = await lineChart(students, {
    x: 'step',
    y: 'KL to the label, nats',
    logY: true,
  });
  const { total: ratio } = report.ratio;
  return htmlPage({
    title: 'softpack demo',
    body: `<h1>Soft labels, hard-packed</h1>
<p class="lead">${report.labels.toLocaleString('en')} soft labels of ${report.classes} classes in
${formatBytes(total)} instead of ${formatBytes(2 * report.labels * report.classes)}:
<strong>${ratio.toFixed(1)}×</strong> counting every byte on disk, <strong>${report.ratio.codes.toFixed(1)}×</strong> counting codes alone.</p>
${figures(page)}
<h2>Where the bytes are</h2>
<figure class="scroll">${bytes}</figure>
<figcaption>Sizes on a logarithmic axis; the last four add up to the archive.</figcaption>
<h2>Labels, full and decoded</h2>
<p>Views as the teacher saw them (crop, flip, CutMix), with the classes it finds likeliest, in percent at temperature ${page.temperature}:
at that of training all classes look alike. <span class="key full">full</span> <span class="key decoded">decoded</span></p>
<div class="cards">${page.examples.map(example).join('\n')}</div>
<h2>Training</h2>
<div class="charts">
<div><figure class="scroll">${studentChart}</figure><figcaption>Students: loss against the labels they learn from.</figcaption></div>
<div><figure class="scroll">${codecChart}</figure><figcaption>Codec: reconstruction error of ${escapeHtml(page.codec)}.</figcaption></div>
</div>`,
  });
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function transformRow({ ratio, bytes, top1 }: TransformReport): readonly [string, string] {
  const size = `${ratio.total.toFixed(1)}× in total, ${formatBytes(bytes.total)}`;
  return [`Top-1, student from the transform codec, ${size}`, percent(top1)];
}

function figures({ report, heldOut, codec }: DemoPage): string {
  const { transform } = report;
  const rows: readonly (readonly [string, string])[] = [
    [`Top-1 on ${heldOut}, teacher`, percent(report.top1.teacher)],
    ['Top-1, student on full labels', percent(report.top1.full)],
    ['Top-1, student from the archive', percent(report.top1.archive)],
    ...(transform === undefined ? [] : [transformRow(transform)]),
    ['Label KL, mean', `${report.kl.toExponential(2)} nats`],
    ['Codec', codec],
    ['Seed, backend, time', `${report.seed}, ${report.backend}, ${report.seconds.toFixed(0)} s`],
  ];
  return factsTable(rows, 'results');
}

function example({ name, png, rows }: LabelExample): string {
  const largest = Math.max(...rows.flatMap(({ full, decoded }) => [full, decoded]));
  const bar = (kind: string, value: number) =>
    `<span class="bar ${kind}" style="width:${((70 * value) / largest).toFixed(1)}%"></span>` +
    `<span class="value">${(100 * value).toFixed(2)}</span>`;
  const list = rows.map(
    (row) =>
      `<li><span class="class">${escapeHtml(row.name)}</span>` +
      `<span class="bars"><span>${bar('full', row.full)}</span><span>${bar('decoded', row.decoded)}</span></span></li>`,
  );
  const source = `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
  const head = `<div class="head"><img class="small" src="${source}" alt=""><div class="name">${escapeHtml(name)}</div></div>`;
  return `<article class="card">${head}<ul>${list.join('')}</ul></article>`;
}

/** At most 200 points, each the mean of its stretch, numbered by the last step in it. */
function thin(curve: readonly number[], points = 200): [number, number][] {
  const stretch = Math.max(1, Math.ceil(curve.length / points));
  const thinned: [number, number][] = [];
  for (let start = 0; start < curve.length; start += stretch) {
    const part = curve.slice(start, start + stretch);
    const mean = part.reduce((sum, value) => sum + value, 0) / part.length;
    thinned.push([start + part.length, mean]);
  }
  return thinned;
}
