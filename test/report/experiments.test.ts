import { expect, test } from 'vitest';
import {
  type ExperimentRow,
  type Report,
  reportFiles,
  withEarlier,
} from '#apps/report/experiments.js';
import { deviationOf, meanOf } from '#apps/report/statistics.js';

function row(method: string, ratio: number, change: Partial<ExperimentRow> = {}): ExperimentRow {
  return {
    method,
    family: 'residual',
    student: 'plain',
    ipc: 1,
    ratio,
    codec: `codec <${method}> dc ${ratio}`,
    bytes: 1e7 / ratio,
    reached: { codes: ratio * 1.2, total: ratio },
    divergence: { kl: 1e-5 * ratio, nmse: 0.01, top1: 0.9 },
    top1: [0.3, 0.32],
    ...change,
  };
}

const rows = [
  row('none', 1, { top1: [0.4, 0.4] }),
  row('VQAE', 10),
  row('VQAE', 40, { top1: [0.2, 0.2] }),
  row('LPLD', 40, { top1: [] }),
];

const report: Report = {
  command: 'npm run experiments -- all',
  machine: '2 x <processor>',
  backend: 'wasm',
  scale: 'full',
  classes: 1607,
  epochs: 40,
  teachers: { residual: 0.5 },
  experiments: [
    { name: 'figure2', title: 'Figure 2', rows },
    { name: 'figure3', title: 'Figure 3', rows: rows.slice(1, 3) },
  ],
};

test('mean and sample deviation', () => {
  expect(meanOf([1, 2, 6])).toBe(3);
  expect(deviationOf([1, 2, 6])).toBeCloseTo(Math.sqrt((4 + 1 + 9) / 2), 12);
  expect(deviationOf([1])).toBeNaN();
});

test('every row is in the JSON, the Markdown and the page, with text escaped', async () => {
  const files = await reportFiles(report);
  expect(JSON.parse(files.get('results.json') ?? '')).toEqual(report);
  const text = files.get('results.md') ?? '';
  expect(text).toContain(
    '| VQAE | residual | plain | 1 | 10x | codec <VQAE> dc 10 | 1.00 MB | 10.0 | 12.0 | 1.00e-4 | 0.0100 | 90.0 % | 31.0 ± 1.4 (2) |',
  );
  expect(text.match(/^\| LPLD .* - \|$/m)).not.toBeNull();
  const page = files.get('report.html') ?? '';
  expect(page).toContain('codec &lt;VQAE&gt; dc 10');
  expect(page).toContain('2 x &lt;processor&gt;');
  expect(page).not.toMatch(/<VQAE>|(src|href)="?http/);
  expect(page.match(/<svg/g)).toHaveLength(3);
});

test('figures hold what was trained, legible in light and dark', async () => {
  const files = await reportFiles(report);
  const figure = files.get('figure-2.svg') ?? '';
  // 31 and 20 of 40: what was kept of the accuracy with full labels.
  expect(figure).toContain('% of the accuracy with full labels');
  expect(figure).toContain('VQAE, IPC 1');
  expect(figure).not.toContain('LPLD');
  for (const name of ['figure-2.svg', 'figure-3.svg', 'fidelity.svg']) {
    const svg = files.get(name) ?? '';
    expect(svg).toContain('currentColor');
    expect(svg).toContain('prefers-color-scheme');
    expect(svg).not.toContain('NaN');
  }
});

test('figure 2 goes on where the paper ends, each method against the full labels of its own temperatures', async () => {
  const past = [
    row('none, LPQLD temperatures', 1, { top1: [0.5, 0.5] }),
    row('transform, reuse', 200, { top1: [0.5, 0.5] }),
    row('transform, reuse', 2000, { top1: [0.1, 0.1] }),
    row('random subset', 100),
  ];
  const figureOf = async (rowsPast: readonly ExperimentRow[]) => {
    const experiments = [
      ...report.experiments,
      { name: 'reuse', title: 'Past 100x', rows: rowsPast },
    ];
    return (await reportFiles({ ...report, experiments })).get('figure-2.svg') ?? '';
  };
  const figure = await figureOf(past);
  expect(figure).toContain('transform, reuse, IPC 1');
  expect(figure).toContain('2,000');
  expect(figure).not.toContain('random subset');
  expect(figure).toContain('2000; y: 20; series: transform, reuse, IPC 1');
  // Without the full labels of these temperatures nothing can be said.
  expect(await figureOf(past.slice(1))).not.toContain('transform, reuse');
});

test('experiments of an earlier run are kept, with how they were made', async () => {
  const run = { command: 'one', machine: 'old', backend: 'wasm', teachers: { residual: 0.25 } };
  const earlier: Report = {
    ...report,
    ...run,
    experiments: [
      { name: 'reuse', title: 'Reuse', rows: rows.slice(0, 1) },
      { name: 'figure2', title: 'Old', rows: [] },
      { name: 'table1', title: 'Table 1', rows: rows.slice(0, 2) },
    ],
  };
  const names = ['table1', 'reuse', 'figure2', 'figure3'];
  const merged = withEarlier(report, earlier, names);
  expect(merged.experiments.map(({ name }) => name)).toEqual(names);
  expect(merged.experiments[2]).toEqual(report.experiments[0]);
  expect(merged.experiments[0]).toEqual({ run, ...earlier.experiments[2] });
  // Kept once more, an experiment keeps its own run.
  expect(withEarlier(report, merged, names)).toEqual(merged);
  const files = await reportFiles(merged);
  expect(files.get('results.md')).toContain(
    'Command: one. Machine: old; TensorFlow.js on wasm. Teachers, top-1 held out: residual 25.0 %.',
  );
});

test('rows of an earlier run that this one lacks are kept beside its own', async () => {
  const old = row('VQAE', 40, { top1: [0.9] });
  const other = row('PCA', 40, { top1: [0.7], ipc: 2 });
  const earlier = { ...report, command: 'one', experiments: [] as Report['experiments'] };
  const merged = withEarlier(
    report,
    { ...earlier, experiments: [{ name: 'figure2', title: 'Figure 2', rows: [old, other] }] },
    ['figure2', 'figure3'],
  );
  const found = merged.experiments.filter(({ name }) => name === 'figure2');
  expect(found.map((experiment) => experiment.rows)).toEqual([rows, [other]]);
  expect(found[1].run?.command).toBe('one');
  const text = (await reportFiles(merged)).get('results.md') ?? '';
  expect(text).toContain('Command: one.');
  // Labels that no student has learnt from here do not replace those of students.
  const learnt = row('LPLD', 40, { top1: [0.1] });
  const both = withEarlier(
    report,
    { ...earlier, experiments: [{ name: 'figure2', title: 'Figure 2', rows: [learnt] }] },
    ['figure2', 'figure3'],
  );
  expect(both.experiments[0].rows).toEqual(rows.slice(0, 3));
  expect(both.experiments[1].rows).toEqual([learnt]);
});

test('kept rows of another teacher are compared with its own full labels, which stay with them', async () => {
  const full = (top1: number) => row('none, LPQLD temperatures', 1, { top1: [top1, top1] });
  const reuse = (own: readonly ExperimentRow[]) => ({ name: 'reuse', title: 'Reuse', rows: own });
  const far = row('transform, reuse', 2000, { top1: [0.2, 0.2] });
  const earlier = {
    ...report,
    teachers: { residual: 0.6 },
    experiments: [reuse([full(0.8), row('transform, reuse', 400), far])],
  };
  const now = row('transform, reuse', 400, { top1: [0.3, 0.3] });
  const later = { ...report, experiments: [reuse([full(0.4), now])] };
  const merged = withEarlier(later, earlier, ['reuse']);
  expect(merged.experiments.map((experiment) => experiment.rows)).toEqual([
    [full(0.4), now],
    [full(0.8), far],
  ]);
  expect(withEarlier(later, merged, ['reuse'])).toEqual(merged);
  const figure = (await reportFiles(merged)).get('figure-2.svg') ?? '';
  expect(figure).toContain('400; y: 75; series: transform, reuse, IPC 1');
  expect(figure).toContain('2000; y: 25; series: transform, reuse, IPC 1');
  // The same teacher's full labels need to be there once.
  const same = withEarlier(later, { ...earlier, teachers: report.teachers }, ['reuse']);
  expect(same.experiments[1].rows).toEqual([far]);
  const both = (await reportFiles(same)).get('figure-2.svg') ?? '';
  expect(both).toContain('2000; y: 50; series: transform, reuse, IPC 1');
});
