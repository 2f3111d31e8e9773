import { describe, expect, test } from 'vitest';
import { bytesChart, lineChart } from '#apps/report/charts.js';
import { type DemoPage, demoPage } from '#apps/report/demo-page.js';
import { formatBytes } from '#src/core/format.js';

const page: DemoPage = {
  report: {
    classes: 500,
    labels: 30_000,
    bytes: {
      codes: 700_000,
      codec: 1_000_000,
      metadata: 2_000,
      container: 9_000,
      total: 1_711_000,
    },
    ratio: { codes: 42.9, total: 17.5 },
    kl: 1.2e-3,
    top1: { teacher: 0.5, full: 0.4, archive: 0.39 },
    seconds: 123,
    seed: 7,
    backend: 'wasm',
  },
  codec: 'VQAE <dh 500>',
  heldOut: 'twemoji',
  examples: [
    {
      name: 'cat & dog',
      png: Uint8Array.of(1, 2, 3),
      rows: [{ name: 'cat', full: 0.02, decoded: 0.01 }],
    },
  ],
  temperature: 2,
  codecCurve: Array.from({ length: 1000 }, (_, i) => 1 / (1 + i)),
  studentCurves: { full: [3, 2, 1], archive: [3, 2.1, 1.1] },
};

test('the page is one file that holds every figure, with text escaped', async () => {
  const html = await demoPage(page);
  for (const figure of [
    '42.9×',
    '17.5×',
    '1.71 MB',
    '30.0 MB',
    '50.0 %',
    '40.0 %',
    '39.0 %',
    '1.20e-3',
  ]) {
    expect(html).toContain(figure);
  }
  expect(html).toContain('VQAE &lt;dh 500&gt;');
  expect(html).toContain('cat &amp; dog');
  expect(html.match(/<svg/g)).toHaveLength(3);
  // Nothing is fetched: no link, script or image but data.
  expect(html).not.toMatch(/<script|<link|src="(?!data:)|href="http/);
});

test('the page has a row for the student of a second archive', async () => {
  const bytes = { codes: 40_000, codec: 30_000, metadata: 1_000, container: 2_000, total: 73_000 };
  const ratio = { codes: 700, total: 411 };
  const transform = { bytes, ratio, kl: 2e-4, epochs: 24, keep: 8, top1: 0.377 };
  const html = await demoPage({ ...page, report: { ...page.report, transform } });
  for (const figure of ['411.0×', '73.0 kB', '37.7 %']) expect(html).toContain(figure);
  expect(await demoPage(page)).not.toContain('transform codec');
});

describe('charts', () => {
  test('take the ink of the page', async () => {
    const svg = await lineChart(
      [1, 2, 3].map((x) => ({ series: 'a', x, y: x * x })),
      { x: 'x', y: 'y' },
    );
    expect(svg).toContain('currentColor');
    expect(svg).not.toMatch(/fill="(black|white|#000|#fff)"/);
  });

  test('say each size in figures, and leave out what is empty', async () => {
    const svg = await bytesChart([
      { name: 'codes', bytes: 1_234_567 },
      { name: 'nothing', bytes: 0 },
    ]);
    expect(svg).toContain('1.23 MB');
    expect(svg).not.toContain('nothing');
  });
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [999.6, '1.00 kB'],
  [1000, '1.00 kB'],
  [999_499, '999 kB'],
  [999_600, '1.00 MB'],
  [5.5e9, '5.50 GB'],
])('formatBytes(%d) is %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
