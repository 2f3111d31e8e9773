import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { NoneCodec } from '#src/codecs/none.js';
import { imageFolder } from '#src/images/folder.js';
import { argMax } from '#src/labels/arg-max.js';
import { retemper } from '#src/labels/temperature.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { codewordUse } from '#src/report/codewords.js';
import { compareLabels, drawLabels, klBy } from '#src/report/compare.js';
import { gaussianBound } from '#src/report/gaussian-bound.js';
import { archiveReport, openReport } from '#src/report/report.js';
import { type ShownLabel, TEMPERATURES } from '#src/report/shown-label.js';
import { softpack } from '../cli/softpack.js';
import {
  augmentation,
  CLASSES,
  collect,
  EPOCHS,
  images,
  SAMPLES,
  trainCodec,
  writeArchive,
} from '../loader/fixture.js';
import { RECORDED_SIDE, recordedArchive } from '../pipeline/recorded-archive.js';
import { WebServer } from '../store/web-server.js';
import { temporaryDirectory } from '../temporary.js';

/** A name that would end the page's script, its table and its attributes. */
const HOSTILE = `</script><script>globalThis.broken = 1</script><img src=x onerror="broken = 1">'"&`;
/** The same as the name of a folder, that is of a class of images. */
const HOSTILE_FOLDER = '<b onclick=alert(1)>';
const classNames = Array.from({ length: CLASSES }, (_, i) => (i === 0 ? HOSTILE : `name ${i}`));
const directory = await temporaryDirectory();
const web = await WebServer.start();
const [full, packed] = [directory.path('full'), directory.path('packed')];

beforeAll(async () => {
  const provenance = { softpack: '0', call: HOSTILE };
  const spec = { classNames, provenance, teacher: { name: HOSTILE } };
  const codec = await trainCodec();
  await (await writeArchive(packed, codec, { spec })).close();
  const none = new NoneCodec({ classes: CLASSES, tau: codec.tau, store: 'logits' });
  await (await writeArchive(full, none, { spec })).close();
});

/** KL divergence of two rows in float64, from its definition. */
function divergenceOf(y: Float32Array, q: Float32Array): number {
  return y.reduce((sum, p, j) => {
    const own = p > 0 ? p * Math.log(p / Math.max(q[j], 1e-12)) : 0;
    return sum + own - p + q[j];
  }, 0);
}

async function comparison(labels: number) {
  await using a = await openArchive(packed);
  await using b = await openArchive(full);
  return await compareLabels(a, b, drawLabels(a, labels, 0));
}

describe('compared labels', () => {
  it('are all of a small archive, each with its divergence, class and confidence', async () => {
    const { labels, divergence } = await comparison(4096);
    expect(labels).toHaveLength(EPOCHS * SAMPLES);
    await using a = await openArchive(packed);
    await using b = await openArchive(full);
    let sum = 0;
    for (const label of labels) {
      const one = { start: label.position, count: 1 };
      const [y, q] = [await b.labels(label.row, one), await a.labels(label.row, one)];
      expect(label.kl).toBeCloseTo(divergenceOf(y, q), 10);
      expect(label.class).toBe(argMax(y));
      expect(label.confidence).toBe(Math.max(...y));
      sum += label.kl;
    }
    expect(divergence.kl).toBeCloseTo(sum / labels.length, 10);
  });

  it('are a draw of a large one, the same for the same seed', () => {
    const shape = { epochs: 300, samples: 1_281_167 };
    const draw = drawLabels(shape, 2048, 7);
    expect(draw.reduce((sum, { positions }) => sum + positions.length, 0)).toBe(2048);
    expect(new Set(draw.map(({ row }) => row)).size).toBe(32);
    for (const { row, positions } of draw) {
      expect(row).toBeLessThan(shape.epochs);
      expect(new Set(positions).size).toBe(positions.length);
      expect(Math.max(...positions)).toBeLessThan(shape.samples);
    }
    expect(drawLabels(shape, 2048, 7)).toEqual(draw);
    expect(drawLabels(shape, 2048, 8)).not.toEqual(draw);
  });

  it('have means by epoch and by class that weigh every label once', async () => {
    const { labels } = await comparison(4096);
    for (const key of ['row', 'class'] as const) {
      const groups = klBy(labels, key);
      expect(groups.reduce((sum, group) => sum + group.labels, 0)).toBe(labels.length);
      const [first] = groups;
      const own = labels.filter((label) => label[key] === first.key);
      expect(first.labels).toBe(own.length);
      expect(first.kl).toBeCloseTo(own.reduce((sum, { kl }) => sum + kl, 0) / own.length, 12);
    }
  });

  it('are refused beside labels of other samples, classes or views', async () => {
    const other = directory.path('other');
    const none = new NoneCodec({ classes: CLASSES, tau: 8, store: 'logits' });
    const spec = { augmentation: { ...augmentation, seed: 5 } };
    await (await writeArchive(other, none, { spec })).close();
    const { code, err } = await softpack(['report', packed, '--full', other, '-o', '-']);
    expect(code).toBe(2);
    expect(err).toContain('labels of other views');
  });
});

describe('a shown label', () => {
  it('has its probabilities at every temperature from a few figures', async () => {
    const options = { full, examples: 9 };
    await using open = await openReport(packed, options);
    const { examples } = await archiveReport(open, options);
    expect(examples).toHaveLength(9);
    for (const label of examples) {
      const one = { start: label.position, count: 1 };
      for (const [archive, kind] of [
        [open.archive, 'decoded'],
        [open.full, 'full'],
      ] as const) {
        const exact = (await archive?.labels(label.row, one)) ?? new Float32Array(CLASSES);
        for (const [t, temperature] of TEMPERATURES.entries()) {
          const wanted = exact.slice();
          retemper(wanted, CLASSES, label.tau, temperature);
          for (const shown of label.classes) {
            const j = classNames.indexOf(shown.name);
            expect(probability(label, shown, kind, t)).toBeCloseTo(wanted[j], 5);
          }
        }
      }
    }
  });

  it('lists the likeliest classes of the full label, and the sample that is mixed in', async () => {
    const options = { full, examples: 30 };
    await using open = await openReport(packed, options);
    const { examples } = await archiveReport(open, options);
    for (const { row, position, classes } of examples) {
      const y = await open.full?.labels(row, { start: position, count: 1 });
      const order = [...(y ?? []).keys()].sort((a, b) => (y?.[b] ?? 0) - (y?.[a] ?? 0));
      expect(classes.map(({ name }) => name)).toEqual(order.slice(0, 5).map((j) => classNames[j]));
    }
    const mixed = examples.filter(({ partner }) => partner !== undefined);
    expect(mixed.length).toBeGreaterThan(5);
    for (const { partner } of mixed) {
      expect(partner?.sample).toBeLessThan(SAMPLES);
      expect(partner?.share).toBeLessThan(1);
    }
  });
});

/** As the page computes it. */
function probability(
  { tau, sums }: ShownLabel,
  shown: ShownLabel['classes'][number],
  kind: 'full' | 'decoded',
  t: number,
): number {
  const log = shown[kind];
  return log === null || log === undefined
    ? 0
    : Math.exp((log * tau) / TEMPERATURES[t] - (sums[kind]?.[t] ?? Number.NaN));
}

describe('codewords', () => {
  it('are counted as they are stored', async () => {
    await using archive = await openArchive(packed);
    const use = await codewordUse(archive);
    // 3 segments of 3 bits in a label, least significant bit first, labels one after the other.
    const counts = new Array<number>(8).fill(0);
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const row = await archive.readRow(epoch);
      const bit = (at: number) => (row[at >> 3] >> (at & 7)) & 1;
      for (let i = 0; i < SAMPLES * 3; i++) {
        counts[bit(3 * i) + 2 * bit(3 * i + 1) + 4 * bit(3 * i + 2)] += 1;
      }
    }
    const indices = EPOCHS * SAMPLES * 3;
    const shares = counts.filter((n) => n > 0).map((n) => n / indices);
    expect(use).toMatchObject({ codewords: 8, bits: 3, indices, used: shares.length });
    expect(use?.counts).toEqual(counts.toSorted((a, b) => b - a));
    const entropy = -shares.reduce((sum, share) => sum + share * Math.log2(share), 0);
    expect(use?.entropy).toBeCloseTo(entropy, 12);
  });
});

it('the Gaussian bound of labels of known variances is reverse water-filling', async () => {
  // Rows +-a e1 and +-b e2: covariance diag(a^2, b^2) / 2, no mean.
  const [a, b] = [4, 1];
  const rows = [
    [a, 0, 0],
    [-a, 0, 0],
    [0, b, 0],
    [0, -b, 0],
  ];
  const [first, second] = [(a * a) / 2, (b * b) / 2];
  const energy = first + second;
  const logits = Float32Array.from(rows.flat());
  const bound = await gaussianBound(logits, 3, [0.02, 0.5, 1]);
  const both = 0.02 * energy;
  expect(bound[0].bits).toBeCloseTo(
    Math.log2(first / (both / 2)) / 2 + Math.log2(second / (both / 2)) / 2,
    3,
  );
  expect(bound[1].bits).toBeCloseTo(Math.log2(first / (0.5 * energy - second)) / 2, 3);
  expect(bound[2].bits).toBe(0);
});

describe('the page', () => {
  it('holds everything, escapes what archives say, and fetches nothing', async () => {
    const out = directory.path('page.html');
    const { code, err } = await softpack(['report', packed, '--full', full, '-o', out]);
    expect(err).toBe('');
    expect(code).toBe(0);
    const html = await readFile(out, 'utf8');
    expect(html).not.toContain('<script>globalThis.broken');
    expect(html).not.toMatch(/<img[^>]*onerror/);
    expect(html).toContain('&lt;/script&gt;');
    // Two scripts, of the page itself, and its data.
    expect(html.match(/<script/g)).toHaveLength(3);
    expect(html).not.toMatch(/<link|<script[^>]+src=|src="(?!data:)/);
    const data = JSON.parse(/id="data">(.*?)<\/script>/s.exec(html)?.[1] ?? '') as PageData;
    expect(Object.keys(data.charts)).toEqual(['epochs', 'classes', 'labels', 'rate', 'codewords']);
    expect(data.worst).toHaveLength(8);
    const kls = data.worst.map(({ kl = 0 }) => kl);
    expect(kls).toEqual(kls.toSorted((a, b) => b - a));
    expect(html.length).toBeLessThan(900_000);
  });

  it('says what is missing, and is the same when it is written again', async () => {
    const page = async () => (await softpack(['report', packed, '-o', '-'])).out;
    const html = await page();
    expect(html).toContain('--images');
    expect(html).toContain('--full');
    expect(await page()).toBe(html);
  });

  it('is the same of an address, whose secrets it does not tell', async () => {
    for (const name of await readdir(packed)) {
      web.files.set(`packed/${name}`, await readFile(join(packed, name)));
    }
    const { out, err } = await softpack(['report', `${web.url}/packed?key=secret`, '-o', '-']);
    expect(err).toBe('');
    expect(out).toBe((await softpack(['report', packed, '-o', '-'])).out);
    expect(out).not.toContain('secret');
  });
});

describe('views', () => {
  const drawn = directory.path('images');

  /** Writes images as files of one class. */
  async function write(folder: string, source: typeof images, [height, width]: number[]) {
    await mkdir(join(folder, HOSTILE_FOLDER), { recursive: true });
    for (let i = 0; i < source.count; i++) {
      const file = join(folder, HOSTILE_FOLDER, `${String(i).padStart(2, '0')}.png`);
      const raw = { width, height, channels: 3 } as const;
      await sharp(source.pixels(i), { raw }).png().toFile(file);
    }
  }
  beforeAll(() => write(drawn, images, [8, 7]));

  /** Compares views of a report, by epoch and sample, with those of a loader of an archive with the same views. */
  async function compareViews(path: string, folder: string, batchSize: number, loaded = path) {
    const options = { images: folder, examples: 12 };
    await using open = await openReport(path, options);
    const { examples } = await archiveReport(open, options);
    expect(examples).toHaveLength(12);
    await using archive = await openArchive(loaded);
    const normalisation = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
    const batches = await collect({
      ...{ archive, images: await imageFolder(folder), normalisation },
      ...{ batchSize, workers: 0 },
    });
    const [height, width] = augmentation.size;
    const pixels = height * width * 3;
    for (const { view = '', name, epoch, sample } of examples) {
      expect(name).toBe(HOSTILE_FOLDER);
      const png = Buffer.from(view.split(',')[1], 'base64');
      const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
      expect([info.height, info.width, info.channels]).toEqual([height, width, 3]);
      const batch = batches.find((each) => each.epoch === epoch && each.sampleIds.includes(sample));
      const at = batch?.sampleIds.indexOf(sample) ?? -1;
      const xs = batch?.xs.subarray(at * pixels, (at + 1) * pixels) ?? [];
      expect([...data]).toEqual(Array.from(xs, (value) => Math.round(255 * value)));
    }
  }

  it('are those that the loader delivers', () => compareViews(packed, drawn, SAMPLES));

  it('of a pruned archive are those that labels were made for', async () => {
    const pruned = directory.path('pruned');
    const codec = { name: 'topk', k: 3 } as const;
    const prune = { ratio: 2, batchSize: 8 };
    await packLogits({ source: full, out: pruned, codec, prune });
    await compareViews(pruned, drawn, 8, full);
  });

  it('that were recorded are read from their columns, partners included', async () => {
    const out = directory.path('recorded');
    const { images: own } = await recordedArchive(out, { samples: 9, seed: 3 });
    const folder = directory.path('images of recorded views');
    await write(folder, own, [RECORDED_SIDE, RECORDED_SIDE]);
    await compareViews(out, folder, 9);
  });
});

interface PageData {
  readonly charts: Readonly<Record<string, unknown>>;
  readonly worst: readonly ShownLabel[];
}
