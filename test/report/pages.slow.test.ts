import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DemoPage, demoPage } from '#apps/report/demo-page.js';
import { type Report, reportFiles } from '#apps/report/experiments.js';
import { run } from '#src/cli/run.js';
import { NoneCodec } from '#src/codecs/none.js';
import { retemper } from '#src/labels/temperature.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { softpack } from '../cli/softpack.js';
import { CLASSES, images, SAMPLES, trainCodec, writeArchive } from '../loader/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { testTeacher } from '../tokens/sources.js';
import { findChromium, type Screen, Tab } from './chromium.js';

const HOSTILE = `</script><script>globalThis.broken = 1</script><img src=x onerror="broken = 1">'"&`;
const SCREENS: readonly Screen[] = [
  { width: 1280, scheme: 'light' },
  { width: 1280, scheme: 'dark' },
  { width: 390, scheme: 'light' },
  { width: 390, scheme: 'dark' },
];

const chromium = findChromium();
const lacking = 'no Chromium on this machine: apt-get install chromium';
const directory = await temporaryDirectory();
const [full, packed] = [directory.path('full'), directory.path('packed')];
let tab: Tab;
const pages = new Map<string, string>();

beforeAll(async () => {
  if (chromium === undefined) return;
  tab = await Tab.open(chromium, directory.path('profile'));
  const classNames = Array.from({ length: CLASSES }, (_, i) =>
    i < 3 ? `${HOSTILE}${i}` : `n${i}`,
  );
  const spec = { classNames, provenance: { softpack: HOSTILE } };
  const codec = await trainCodec();
  await (await writeArchive(packed, codec, { spec })).close();
  const none = new NoneCodec({ classes: CLASSES, tau: codec.tau, store: 'logits' });
  await (await writeArchive(full, none, { spec })).close();
  const folder = join(directory.path('images'), "<b onclick='broken=1'>");
  await mkdir(folder, { recursive: true });
  for (let i = 0; i < SAMPLES; i++) {
    const raw = { width: 7, height: 8, channels: 3 } as const;
    const file = join(folder, `${String(i).padStart(2, '0')}.png`);
    await sharp(images.pixels(i), { raw }).png().toFile(file);
  }
  const texts = directory.path('texts');
  const { source } = testTeacher({ vocabulary: 90, lengths: [30, 12, 70] });
  await packTokens({ source, out: texts, codec: { name: 'topk' } });
  const vocabulary = Object.fromEntries(
    Array.from({ length: 90 }, (_, i) => [`${HOSTILE}${i}`, i]),
  );
  const names = await directory.file('vocab.json', JSON.stringify(vocabulary));
  const parts = ['--full', full, '--images', directory.path('images')];
  for (const [name, args] of [
    ['report', [packed, ...parts]],
    ['report without anything', [packed]],
    ['report of texts', [texts, '--vocabulary', names]],
  ] as const) {
    const file = directory.path(`${name.replaceAll(' ', '-')}.html`);
    const { code, err } = await softpack(['report', ...args, '-o', file]);
    expect([name, code, err]).toEqual([name, 0, '']);
    pages.set(name, pathToFileURL(file).href);
  }
  for (const [name, html] of [
    ['demo', await demoPage(DEMO)],
    ['results', (await reportFiles(RESULTS)).get('report.html') ?? ''],
  ] as const) {
    pages.set(name, pathToFileURL(await directory.file(`${name}.html`, html)).href);
  }
}, 120_000);

afterAll(async () => {
  if (chromium !== undefined) await tab[Symbol.asyncDispose]();
});

/** Contrast of text and its ground by WCAG 2.2, the least of some elements. */
const CONTRAST = `(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => {
      const s = v / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (!/rgba\\(.*, 0\\)/.test(backgroundColor)) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts = [...document.querySelectorAll('h1, h2, p, td, th, figcaption, .place, .value, .class, .token')];
  return Math.min(...texts.map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()`;

describe.each(SCREENS)('at $width pixels, $scheme', (screen) => {
  it.for(['report', 'report without anything', 'report of texts', 'demo', 'results'])(
    '%s fits, can be read, fetches nothing and runs nothing of the archive',
    async (name, { skip }) => {
      skip(chromium === undefined, lacking);
      const url = pages.get(name) ?? '';
      await tab.show(url, screen);
      expect(tab.complaints).toEqual([]);
      expect(tab.requests).toEqual([url]);
      expect(await tab.value('document.documentElement.scrollWidth')).toBeLessThanOrEqual(
        screen.width,
      );
      expect(await tab.value(CONTRAST)).toBeGreaterThan(4.5);
      expect(await tab.value('typeof globalThis.broken')).toBe('undefined');
      expect(
        await tab.value(
          `document.querySelectorAll('img:not([src^="data:"]), b, [onclick]').length`,
        ),
      ).toBe(0);
      // Results stay in sight beside columns that scroll.
      const hidden = `[...document.querySelectorAll('.wide')].filter((box) => box.checkVisibility() &&
      box.querySelector('thead th:last-child').getBoundingClientRect().right > box.getBoundingClientRect().right + 1).length`;
      expect(await tab.value(hidden)).toBe(0);
    },
  );
});

describe('the page of a report', () => {
  it('slides labels to other temperatures', async ({ skip }) => {
    skip(chromium === undefined, lacking);
    await tab.show(pages.get('report') ?? '', SCREENS[0]);
    await using a = await openArchive(packed);
    await using b = await openArchive(full);
    const [example] = await tab.value<readonly Example[]>(
      `JSON.parse(document.getElementById('data').textContent).examples`,
    );
    for (const [at, temperature] of [
      [0, 0.5],
      [5, 3],
      [11, 20],
    ]) {
      await tab.value(
        `{ const s = document.getElementById('temperature'); s.value = ${at}; s.dispatchEvent(new Event('input')); }`,
      );
      const shown = await tab.value<readonly string[]>(
        `[...document.querySelector('#examples .card').querySelectorAll('.value')].map((e) => e.textContent)`,
      );
      const one = { start: example.position, count: 1 };
      const labels = [await b.labels(example.row, one), await a.labels(example.row, one)];
      for (const label of labels) retemper(label, CLASSES, example.tau, temperature);
      const order = [...labels[0].keys()].sort((i, j) => labels[0][j] - labels[0][i]).slice(0, 5);
      const wanted = order.flatMap((j) => labels.map((label) => 100 * label[j]));
      expect(shown).toHaveLength(10);
      for (const [i, text] of shown.entries())
        expect(Math.abs(Number(text) - wanted[i])).toBeLessThan(0.06);
    }
  });

  it('tells what is under the mouse, and sums up a selection', async ({ skip }) => {
    skip(chromium === undefined, lacking);
    await tab.show(pages.get('report') ?? '', SCREENS[0]);
    await tab.value(`document.getElementById('chart-labels').scrollIntoView({ block: 'center' })`);
    const box = await tab.value<Box>(
      `(({ x, y, width, height }) => ({ x, y, width, height }))(document.querySelector('#chart-labels .background').getBoundingClientRect())`,
    );
    const point = await tab.value<Box>(
      `(({ x, y, width, height }) => ({ x, y, width, height }))(document.querySelector('#chart-labels .mark-symbol path').getBoundingClientRect())`,
    );
    await tab.mouse([[point.x + point.width / 2, point.y + point.height / 2]]);
    await tab.until(`!document.getElementById('tip').hidden`);
    expect(await tab.value(`document.getElementById('tip').textContent`)).toMatch(
      /^class: .*\nepoch: \d+\nsample: \d+\nKL: /,
    );
    const [left, top] = [box.x + 2, box.y + 2];
    const [right, bottom] = [box.x + box.width - 2, box.y + box.height - 2];
    await tab.mouse(
      [
        [left, top],
        [(left + right) / 2, (top + bottom) / 2],
        [right, bottom],
      ],
      true,
    );
    await tab.until(`document.getElementById('brushed').textContent`);
    expect(await tab.value(`document.getElementById('brushed').textContent`)).toMatch(
      /^1\d\d labels, mean KL /,
    );
    expect(tab.complaints).toEqual([]);
  });

  it('shows what a teacher expects behind a token', async ({ skip }) => {
    skip(chromium === undefined, lacking);
    await tab.show(pages.get('report of texts') ?? '', SCREENS[2]);
    await tab.value(`document.querySelectorAll('.token.labelled')[3].click()`);
    const items = `document.querySelectorAll('.text:first-of-type .expected li').length`;
    expect(await tab.value(items)).toBe(5);
    expect(await tab.value(`document.querySelector('.expected').textContent`)).toMatch(
      /^behind position 3; /,
    );
  });
});

it('a served archive is browsed page by page', async ({ skip }) => {
  skip(chromium === undefined, lacking);
  const stop = new AbortController();
  let out = '';
  const stdout = {
    write(text: string) {
      out += text;
    },
  };
  const stderr = { write: (text: string) => expect(text).toBe('') };
  const ended = run(['view', packed, '--full', full], { stdout, stderr, signal: stop.signal });
  try {
    await expect.poll(() => out, { timeout: 20_000 }).toMatch(/^http/);
    const [url] = out.split(' ');
    await tab.show(url, SCREENS[2]);
    await tab.value(`document.getElementById('browse').elements.row.value = '2'`);
    await tab.value(`document.getElementById('after').click()`);
    const first = `document.querySelector('#examples .place').textContent`;
    await tab.until(`${first} === 'epoch 2, sample 24'`);
    expect(await tab.value(`document.querySelectorAll('#examples .card').length`)).toBe(
      SAMPLES - 24,
    );
    expect(tab.complaints).toEqual([]);
    expect(tab.requests).toEqual([url, `${url}labels.json?row=2&start=24&count=24`]);
    expect(await tab.value('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
  } finally {
    stop.abort();
  }
  expect(await ended).toBe(0);
});

interface Example {
  readonly row: number;
  readonly position: number;
  readonly tau: number;
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const CURVE = Array.from({ length: 300 }, (_, i) => 1 / (1 + i));
const DEMO: DemoPage = {
  report: {
    ...{ classes: 500, labels: 30_000, kl: 1.2e-3, seconds: 123, seed: 7, backend: 'wasm' },
    bytes: {
      codes: 700_000,
      codec: 1_000_000,
      metadata: 2_000,
      container: 9_000,
      total: 1_711_000,
    },
    ratio: { codes: 42.9, total: 17.5 },
    top1: { teacher: 0.5, full: 0.4, archive: 0.39 },
  },
  codec: HOSTILE,
  heldOut: HOSTILE,
  examples: Array.from({ length: 5 }, () => ({
    name: HOSTILE,
    png: Buffer.from(
      'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
      'base64',
    ),
    rows: [{ name: HOSTILE, full: 0.02, decoded: 0.01 }],
  })),
  temperature: 2,
  codecCurve: CURVE,
  studentCurves: { full: CURVE, archive: CURVE },
};

const RESULTS: Report = {
  ...{ command: HOSTILE, machine: 'm', backend: 'wasm', teachers: { residual: 0.5 } },
  ...{ scale: 'full', classes: 500, epochs: 40 },
  experiments: [
    {
      name: 'figure2',
      title: HOSTILE,
      rows: ['none', 'VQAE', 'LPLD'].flatMap((method) =>
        [10, 40].map((ratio) => ({
          ...{ method, family: 'residual', student: 'plain', ipc: 1, ratio, codec: HOSTILE },
          ...{ bytes: 1e6, reached: { codes: ratio, total: ratio - 1 } },
          divergence: { kl: 1e-3, nmse: 0.1, top1: 0.9 },
          top1: [0.3, 0.31],
        })),
      ),
    },
  ],
};
