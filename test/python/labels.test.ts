import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, test } from 'vitest';
import xxhash from 'xxhash-wasm';
import { appendArchive } from '#src/archive/append.js';
import { openArchive as openStored } from '#src/archive/archive.js';
import { BatchSamples, isDrawn } from '#src/archive/pruning.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import type { AugmentationSpec, MixSpec } from '#src/augment/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import { splitBlocks } from '#src/core/blocks.js';
import { joinImages } from '#src/images/joined.js';
import { openImages } from '#src/images/open.js';
import { openImageReader } from '#src/images/reader.js';
import { importLabels } from '#src/interop/import.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { openArchive, openArchive as openDecoding } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { blockedArchive, UNBLOCKED, UNBLOCKED_LIKENESS } from '../codecs/blocked-archive.js';
import { sample } from '../interop/fixture.js';
import { RECORDED_SIDE, recordedArchive } from '../pipeline/recorded-archive.js';
import { temporaryDirectory } from '../temporary.js';
import {
  blockArchive,
  CODECS,
  EPOCHS,
  images,
  labelsOf,
  logitArchive,
  NORMALISATION,
  packed,
  SAMPLES,
  SIDE,
  worst,
  writeImages,
} from './fixture.js';
import { floatsOf, hasModule, python, runJobs } from './python.js';

const missing = !hasModule('numpy');
const reason = `${python} has no numpy; name a Python that has by SOFTPACK_PYTHON`;
beforeEach((context) => context.skip(missing, reason));
const temporary = await temporaryDirectory();
const golden = fileURLToPath(new URL('../golden/archives/', import.meta.url));
const list = (...ids: number[]) => Uint32Array.from(ids);

describe('labels', () => {
  test('are the decoder labels to 1e-6, for every codec', async () => {
    const source = await logitArchive(temporary.path('logits'));
    const paths = [source];
    for (const [i, codec] of CODECS.entries()) {
      paths.push(await packed(source, temporary.path(`packed-${i}`), codec));
    }
    const samples = [39, 0, 7, 7, 12];
    const jobs = paths.flatMap((archive) => [
      { kind: 'labels', archive, epochs: [0, 1, 2] } as const,
      { kind: 'labels', archive, epochs: [0, 1, 2], samples } as const,
    ]);
    const found = runJobs(jobs);
    for (const [i, path] of paths.entries()) {
      await using archive = await openArchive(path);
      expect(found[2 * i]).toMatchObject({ id: archive.id, classes: 9, epochs: EPOCHS });
      for (const [part, ids] of [undefined, list(...samples)].entries()) {
        const expected = await labelsOf(path, ids);
        const labels = found[2 * i + part].labels as string[];
        for (const [epoch, own] of expected.entries()) {
          expect(worst(floatsOf(labels[epoch]), own), `${path}, epoch ${epoch}`).toBeLessThan(1e-6);
        }
      }
    }
  });

  test.each([
    ['base vectors', UNBLOCKED],
    ['those of classes', UNBLOCKED_LIKENESS],
  ])('are predicted from %s in blocks as from those in one stream', async (name, golden) => {
    const archive = temporary.path(`blocked ${name}`);
    await blockedArchive(archive, golden);
    const samples = [13, 2, 19, 2];
    const jobs = [golden, archive].flatMap((path) => [
      { kind: 'labels', archive: path, epochs: [0, 1] } as const,
      { kind: 'labels', archive: path, epochs: [0, 1], samples } as const,
    ]);
    const found = runJobs(jobs).map(({ labels }) => (labels as string[]).map(floatsOf));
    const [whole, some, blocked, blockedSome] = found;
    for (const epoch of [0, 1]) {
      expect(worst(blocked[epoch], whole[epoch])).toBeLessThan(1e-6);
      expect(worst(blockedSome[epoch], some[epoch])).toBeLessThan(1e-6);
    }
    await using opened = await openDecoding(archive);
    const first = await opened.labels(0, list(...samples));
    expect(worst(blockedSome[0], first)).toBeLessThan(1e-6);
  });

  test('come from archives of version 1, of many shards, and of epochs served again', async () => {
    const tiles = await logitArchive(temporary.path('tiles'), { grid: { epochs: 2, samples: 8 } });
    const again = { epochs: 7, storedEpochs: 3, grid: { epochs: 1, samples: 16 } };
    const served = await logitArchive(temporary.path('served'), again);
    const versionOne = ['vqae', 'topk', 'pca', 'mean', 'pruned'].map((name) => join(golden, name));
    const paths = [tiles, served, ...versionOne];
    const opened = await Promise.all(paths.map((path) => openArchive(path)));
    const epochs = (count: number) => Array.from({ length: count }, (_, i) => i);
    const found = runJobs(
      paths.map((archive, i) => ({ kind: 'labels', archive, epochs: epochs(opened[i].epochs) })),
    );
    for (const [i, path] of paths.entries()) {
      expect(found[i].id).toBe(opened[i].id);
      for (const [epoch, own] of (await labelsOf(path)).entries()) {
        expect(worst(floatsOf((found[i].labels as string[])[epoch]), own)).toBeLessThan(1e-6);
      }
    }
  });

  test('have the temperature of their epoch, or the one asked for where codes hold logits', async () => {
    const tauSchedule = [
      [0, 4],
      [1, 2.5],
      [4, 0.75],
    ] as const;
    const change = { epochs: 7, storedEpochs: 3, tauSchedule };
    const source = await logitArchive(temporary.path('scheduled'), change);
    const out = temporary.path('scheduled-topk');
    await packLogits({ source, out, codec: { name: 'topk', k: 2, values: 'logits' } });
    const paths = [source, out];
    const epochs = [0, 1, 2, 3, 4, 5, 6];
    const found = runJobs([
      ...paths.map((archive) => ({ kind: 'labels', archive, epochs }) as const),
      ...paths.map((archive) => ({ kind: 'labels', archive, epochs, tau: 1.5 }) as const),
    ]);
    for (const [i, path] of [...paths, ...paths].entries()) {
      await using archive = await openDecoding(path);
      for (const epoch of epochs) {
        const tau = i < 2 ? archive.temperatureOf(epoch) : 1.5;
        const own = await archive.labels(epoch, { start: 0, count: SAMPLES }, { tau });
        expect(worst(floatsOf((found[i].labels as string[])[epoch]), own)).toBeLessThan(1e-6);
      }
    }
    const one = await packed(await logitArchive(temporary.path('one')), temporary.path('one-tau'), {
      ...{ name: 'topk', k: 2 },
    });
    const [refused] = runJobs([{ kind: 'labels', archive: one, epochs: [0], tau: 1.5 }]);
    expect(JSON.stringify(refused)).toContain('UNSUPPORTED');
  });

  test('in blocks come from any place of a shard, and its table is checked', async () => {
    const out = await blockArchive(temporary.path('blocks'));
    const samples = [9, 0, 5, 4, 9];
    const [{ blocks }, labels, fuzzed] = runJobs([
      { kind: 'blocks', archive: out, samples },
      { kind: 'labels', archive: out, epochs: [0] },
      { kind: 'fuzz', archive: out, seed: 6, count: 40 },
    ]);
    await using archive = await openStored(out);
    const expected: Record<string, unknown> = {};
    for (let epoch = 0; epoch < archive.epochs; epoch++) {
      const row = splitBlocks(await archive.readRow(epoch));
      for (const [at, sample] of samples.entries()) {
        const first = sample - (sample % 3);
        const data = Buffer.from(row[first / 3]).toString('hex');
        expected[`${epoch}:${at}`] = [
          sample,
          first,
          Math.min(3, (first < 6 ? 6 : 10) - first),
          data,
        ];
      }
    }
    expect(blocks).toEqual(expected);
    expect(labels).toMatchObject({ code: 'UNSUPPORTED', field: 'codec.name', found: 'lettered' });
    expect(fuzzed.wrong).toEqual([]);
    expect(fuzzed.refused).toBeGreaterThan(40);
  });

  test('predicted from mixed views are the decoder labels, stored, served again and pruned', async () => {
    const source = await logitArchive(temporary.path('to-mix'));
    const augmentation = {
      ...{ generator: 'philox4x32-10', seed: 3, size: [12, 11], flip: 0.5 },
      crop: { scale: [0.5, 1], ratio: [3 / 4, 4 / 3] },
      mix: { kind: 'cutmix', alpha: 1, probability: 0.8 },
    } as const;
    const codec = { name: 'transform', step: 0.5, bases: true } as const;
    const [mixed, plain, pruned] = ['mixed', 'unmixed', 'pruned-mixed'].map(temporary.path);
    await packLogits({
      source,
      out: mixed,
      codec: { ...codec, states: 8 as const },
      augmentation,
      keep: 2,
    });
    await packLogits({ source, out: plain, codec: { ...codec, step: 0.01, states: 1 as const } });
    const prune = { ratio: 1.5, batchSize: 8 };
    await packLogits({ source, out: pruned, codec, augmentation, prune });
    const shown = { name: 'predictive', step: 0.5, network: true, bases: true } as const;
    const [seen, few] = ['seen', 'pruned-seen'].map(temporary.path);
    await packLogits({ source, out: seen, codec: shown, augmentation, keep: 2 });
    await packLogits({ source, out: few, codec: shown, augmentation, prune });
    const archives = [mixed, plain, pruned, seen, few];
    const jobs = archives.flatMap((archive) => [
      { kind: 'labels', archive, epochs: [0, 1, 2], samples: [7, 0, 3, 3] } as const,
      { kind: 'labels', archive, epochs: [0, 1, 2], tau: 1.5 } as const,
      { kind: 'fuzz', archive, seed: 8, count: 30 } as const,
    ]);
    const found = runJobs(jobs);
    for (const [i, path] of archives.entries()) {
      await using archive = await openDecoding(path);
      const network = { embeddings: SAMPLES };
      if (i > 2) expect(archive.codecParts.config).toMatchObject({ network });
      expect(archive.codecParts.config).toMatchObject({ views: path !== plain, bases: SAMPLES });
      const labels = found.slice(3 * i, 3 * i + 2).map((job) => job.labels as string[]);
      for (const epoch of [0, 1, 2]) {
        const some = await archive.labels(epoch, list(7, 0, 3, 3));
        const all = await archive.labels(epoch, { start: 0, count: archive.samples }, { tau: 1.5 });
        expect(worst(floatsOf(labels[0][epoch]), some)).toBeLessThan(1e-6);
        expect(worst(floatsOf(labels[1][epoch]), all)).toBeLessThan(4e-6);
      }
      expect(found[3 * i + 2].wrong).toEqual([]);
    }
  });

  test('and views come from the part with their epoch', async () => {
    const augmentation = {
      ...{ generator: 'philox4x32-10', seed: 5, size: [9, 8], flip: 0.5 },
      crop: { scale: [0.3, 1], ratio: [3 / 4, 4 / 3] },
      mix: { kind: 'cutmix', alpha: 1, probability: 0.7 },
    } as const;
    const source = await logitArchive(temporary.path('to-part'), { augmentation });
    const out = temporary.path('parted');
    const codec = { name: 'scalar', levels: 16 } as const;
    await packLogits({ source, out, codec, tauSchedule: [4, 3, 2] });
    const file = await writeImages(temporary.path('parted.bin'));
    const samples = Array.from({ length: SAMPLES }, (_, i) => i);
    const epochs = [0, 1, 2];
    const shape = [SAMPLES, SIDE, SIDE];
    const found = runJobs([
      { kind: 'labels', archive: out, epochs },
      { kind: 'views', archive: out, epochs, samples, images: file, shape, ...NORMALISATION },
      { kind: 'views', archive: source, epochs, samples, images: file, shape, ...NORMALISATION },
      { kind: 'labels', archive: out, epochs: [3] },
    ]);
    await using archive = await openDecoding(out);
    expect(archive.parts).toHaveLength(3);
    expect(found[0]).toMatchObject({ id: archive.id, epochs: 3 });
    for (const epoch of epochs) {
      const own = await archive.labels(epoch, { start: 0, count: SAMPLES });
      expect(worst(floatsOf((found[0].labels as string[])[epoch]), own)).toBeLessThan(1e-6);
    }
    expect(found[1].views).toEqual(found[2].views);
    expect(found[3]).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'epoch' });
    await using loader = createLoader({
      ...{ archive, images, normalisation: NORMALISATION, batchSize: SAMPLES },
      ...{ shuffle: false, workers: 0 },
    });
    for await (const { epoch, xs } of loader) {
      expect(floatsOf((found[1].views as string[])[epoch])).toEqual(xs);
    }
  });

  test('and views come from the part with their sample', async () => {
    const [path, file] = [temporary.path('samples'), temporary.path('samples.bin')];
    const { images: a } = await recordedArchive(path, { samples: 9, seed: 0 });
    const more = await recordedArchive(temporary.path('more'), { samples: 5, seed: 100 });
    await appendArchive(path, more.path, { add: 'samples' });
    await writeFile(file, Buffer.concat([a.data, more.images.data]));
    const samples = [13, 0, 8, 9, 4, 9];
    const [epochs, shape] = [
      [0, 1],
      [14, RECORDED_SIDE, RECORDED_SIDE],
    ];
    const views = { kind: 'views', epochs, images: file, shape, ...NORMALISATION } as const;
    const found = runJobs([
      { kind: 'labels', archive: path, epochs, samples },
      { kind: 'labels', archive: path, epochs },
      { ...views, archive: path, samples: Array.from({ length: 14 }, (_, i) => i) },
      { kind: 'labels', archive: path, epochs, samples: [14] },
    ]);
    await using archive = await openDecoding(path);
    expect(found[0]).toMatchObject({ id: archive.id, classes: 5, epochs: 2 });
    for (const epoch of epochs) {
      for (const [i, ids] of [list(...samples), { start: 0, count: 14 }].entries()) {
        const own = await archive.labels(epoch, ids);
        expect(worst(floatsOf((found[i].labels as string[])[epoch]), own)).toBeLessThan(1e-6);
      }
    }
    expect(found[3]).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'samples' });
    await using loader = createLoader({
      ...{ archive, images: joinImages([a, more.images]), normalisation: NORMALISATION },
      ...{ batchSize: 14, shuffle: false, workers: 0 },
    });
    for await (const { epoch, xs } of loader) {
      expect(floatsOf((found[2].views as string[])[epoch])).toEqual(xs);
    }
  });

  test('of a pruned archive come with their batch', async () => {
    const source = await logitArchive(temporary.path('to-prune'));
    const out = temporary.path('pruned');
    const prune = { ratio: 1.5, batchSize: 8 };
    await packLogits({ source, out, codec: { name: 'scalar', levels: 4 }, prune });
    await using archive = await openArchive(out);
    const [{ rows }] = runJobs([{ kind: 'labels', archive: out, epochs: [0] }]);
    const { pruning } = archive.manifest;
    expect(pruning).toBeDefined();
    const batches = pruning && isDrawn(pruning) ? new BatchSamples(pruning, 8) : undefined;
    expect(rows).toEqual(
      Array.from({ length: archive.epochs }, (_, row) => {
        const batch = batches?.at(row);
        return [batch?.epoch, [...(batch?.samples ?? [])]];
      }),
    );
  });
});

describe('views', () => {
  const spec = (mix: MixSpec, change: Partial<AugmentationSpec> = {}): AugmentationSpec => ({
    ...{ generator: 'philox4x32-10', seed: 2 ** 40 + 5, size: [12, 11], flip: 0.5, mix },
    crop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] },
    ...change,
  });
  const cutmix = { kind: 'cutmix', alpha: 1, probability: 0.8 } as const;

  test('have the bytes of the loader, for every way of rendering and mixing', async () => {
    const file = await writeImages(temporary.path('images.bin'));
    const samples = Array.from({ length: SAMPLES }, (_, i) => (i * 7) % SAMPLES);
    const specs = [
      spec({ kind: 'none' }),
      spec(cutmix),
      spec({ kind: 'mixup', alpha: 0.4, probability: 1 }),
      spec({ kind: 'cutmix', alpha: 0.5, probability: 1 }, { resample: 'antialias' }),
      spec(cutmix, { resample: 'antialias', round: 'u8' }),
      spec(cutmix, { round: 'u8' }),
      spec({ kind: 'mixup', alpha: 1, probability: 0.5 }, { round: 'u8', size: [3, 30] }),
    ];
    const jobs = await Promise.all(
      specs.map(async (augmentation, i) => ({
        ...{ kind: 'views', samples, epochs: [0, 2], images: file, shape: [SAMPLES, SIDE, SIDE] },
        archive: await logitArchive(temporary.path(`views-${i}`), { augmentation }),
        ...NORMALISATION,
      })),
    );
    const found = runJobs(jobs as never);
    for (const [i, own] of specs.entries()) {
      const augmenter = new Augmenter(own, images);
      for (const [e, epoch] of [0, 2].entries()) {
        const expected = new Float32Array(SAMPLES * own.size[0] * own.size[1] * 3);
        renderViews(augmenter, images, epoch, list(...samples), NORMALISATION, expected);
        expect(floatsOf((found[i].views as string[])[e]), `spec ${i}`).toEqual(expected);
      }
    }
  });
});

test('recorded views have the bytes of the loader', async () => {
  const source = await openImages(sample('images'));
  using reader = await openImageReader(source.description);
  const pixels = await reader.read(list(...Array(10).keys()));
  const file = temporary.path('recorded.bin');
  await writeFile(file, Buffer.concat([...Array(10).keys()].map((i) => pixels.pixels(i))));
  const names = ['sre2l-cutmix', 'sre2l-mixup'];
  const paths = names.map((name) => temporary.path(`recorded-${name}`));
  for (const [i, out] of paths.entries()) {
    const images = sample('images');
    await importLabels({ source: sample(names[i]), images, size: [12, 12], out });
  }
  const found = runJobs(
    paths.map((archive) => ({
      ...{ kind: 'views', archive, epochs: [0, 1], samples: [...Array(10).keys()] },
      ...{ images: file, shape: [10, 20, 20], ...NORMALISATION },
    })),
  );
  for (const [i, path] of paths.entries()) {
    await using archive = await openArchive(path);
    const options = { archive, images: source, normalisation: NORMALISATION, batchSize: 10 };
    await using loader = createLoader({ ...options, shuffle: false, workers: 0 });
    for await (const { epoch, xs } of loader) {
      expect(floatsOf((found[i].views as string[])[epoch])).toEqual(xs);
    }
  }
});

test('batches drawn from a pruned archive are those of softpack, listed or not', async () => {
  const source = await openImages(sample('images'));
  using reader = await openImageReader(source.description);
  const ids = list(...Array(10).keys());
  const pixels = await reader.read(ids);
  const file = temporary.path('pruned-images.bin');
  await writeFile(file, Buffer.concat(Array.from(ids, (i) => pixels.pixels(i))));
  const images = sample('images');
  const listed = temporary.path('listed');
  await importLabels({ source: sample('lpld'), images, size: [12, 12], out: listed });
  const whole = temporary.path('philox');
  const codec = new NoneCodec({ classes: 3, tau: 4, store: 'logits' });
  const augmentation = {
    ...{ generator: 'philox4x32-10', seed: 5, size: [12, 12], flip: 0.5 },
    crop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] },
    mix: { kind: 'cutmix', alpha: 1, probability: 1 },
  };
  const logits = Float32Array.from({ length: 3 * 10 * 3 }, (_, i) => Math.sin(i));
  const shape = { epochs: 3, samples: 10, classes: 3 };
  await packLogits({
    ...{ source: memoryLabelSource(logits, shape), out: whole, codec: { name: codec.name } },
    ...{ augmentation, prune: { ratio: 1.5, batchSize: 4 } },
  });
  const jobs = [listed, whole].map((archive) => ({
    ...{ kind: 'pruned', archive, seed: 3, images: file, shape: [10, 20, 20], ...NORMALISATION },
  }));
  for (const [i, { batches }] of runJobs(jobs as never).entries()) {
    await using archive = await openArchive([listed, whole][i]);
    const options = { archive, images: source, normalisation: NORMALISATION, seed: 3 };
    const found = batches as [number, number[], string, string][];
    expect(found).toHaveLength(2);
    for await (const { epoch, row, sampleIds, xs, ys } of prunedBatches(options)) {
      const own = found.shift();
      if (epoch > 0 || own === undefined) break;
      expect(own.slice(0, 2)).toEqual([row, [...sampleIds]]);
      expect(worst(floatsOf(own[2]), ys)).toBeLessThan(1e-6);
      expect(floatsOf(own[3])).toEqual(xs);
    }
  }
});

describe('order', () => {
  test('is that of the loader on every rank, across a resume', async () => {
    const path = await logitArchive(temporary.path('ordered'));
    await using archive = await openArchive(path);
    const options = [
      { batch_size: 7, seed: 3 },
      { batch_size: 4, seed: 2 ** 45 + 1, rank: 1, world_size: 3 },
      { batch_size: 4, seed: 0, rank: 2, world_size: 3, drop_last: true },
      { batch_size: 9, shuffle: false },
    ];
    const jobs = options.map((own) => ({
      ...{ kind: 'order', archive: path, options: own, iterations: EPOCHS, epoch: 1, batches: 2 },
    }));
    const found = runJobs(jobs as never);
    const resumed: object[] = [];
    const rests: number[][][][] = [];
    for (const [i, own] of options.entries()) {
      const create = (resume?: unknown) =>
        createLoader({
          ...{ archive, batchSize: own.batch_size, seed: own.seed, shuffle: own.shuffle },
          ...{ rank: own.rank, worldSize: own.world_size, dropLast: own.drop_last, workers: 0 },
          ...(resume === undefined ? {} : { resume: resume as never }),
        });
      await using loader = create();
      const expected: number[][][] = [];
      const states: unknown[] = [];
      for await (const { epoch, sampleIds } of loader) {
        expected.push([...sampleIds].map((sample) => [epoch, sample]));
        states.push(loader.state());
      }
      expect(found[i].batches).toEqual(expected);
      // The loader reads what Python wrote, and Python what the loader wrote.
      const at = loader.batchesPerEpoch + 1;
      expect(found[i].state).toEqual(states[at]);
      const options = { ...own, resume: states[at] };
      resumed.push({ ...jobs[i], options, iterations: EPOCHS - 1 });
      rests.push(expected.slice(at + 1));
    }
    expect(runJobs(resumed as never).map(({ batches }) => batches)).toEqual(rests);
  });

  test('a state of another archive is refused', async () => {
    const path = await logitArchive(temporary.path('foreign'));
    const resume = { version: 1, archiveId: 'x', seed: 0, shuffle: true, epoch: 0, delivered: 0 };
    const options = { batch_size: 2, resume };
    const jobs = [{ kind: 'order', archive: path, options, iterations: 1, epoch: 0, batches: 0 }];
    expect(runJobs(jobs as never)).toEqual([
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'resume.archiveId' }),
    ]);
  });
});

describe('errors', () => {
  test('name what is wrong with an archive', async () => {
    const path = await logitArchive(temporary.path('whole'));
    const damaged = async (name: string, change: (folder: string) => Promise<unknown>) => {
      const folder = temporary.path(name);
      await cp(path, folder, { recursive: true });
      await change(folder);
      return { kind: 'labels', archive: folder, epochs: [0] } as const;
    };
    const edit = (folder: string, file: string, change: (bytes: Buffer) => Buffer | string) =>
      readFile(join(folder, file)).then((bytes) => writeFile(join(folder, file), change(bytes)));
    const shard = 'codes-00000.safetensors';
    /** Of negative numbers, counted from the end. */
    const flip = (at: number) => (bytes: Buffer) => {
      bytes[at < 0 ? bytes.length + at : at] ^= 1;
      return bytes;
    };
    const manifest = (change: (json: Record<string, unknown>) => void) => (bytes: Buffer) => {
      const json = JSON.parse(String(bytes));
      change(json);
      return JSON.stringify(json);
    };
    const file = 'manifest.json';
    const cases = [
      [{ kind: 'labels', archive: temporary.path('nowhere'), epochs: [0] }, 'NOT_FOUND', ''],
      [await damaged('unfinished', (f) => rm(join(f, file))), 'INCOMPLETE', file],
      [await damaged('no-json', (f) => edit(f, file, () => '{')), 'INVALID_FILE', file],
      [
        await damaged('tau', (f) =>
          edit(
            f,
            file,
            manifest((json) => (json.tau = 5)),
          ),
        ),
        ...(['CORRUPT_DATA', file] as const),
      ],
      [
        await damaged('newer', (f) =>
          edit(
            f,
            file,
            manifest((json) => (json.minReader = 3)),
          ),
        ),
        ...(['UNSUPPORTED', file] as const),
      ],
      [await damaged('code', (f) => edit(f, shard, flip(-100))), 'CORRUPT_DATA', 'block 0'],
      [await damaged('header', (f) => edit(f, shard, flip(100))), 'INVALID_FILE', shard],
      [await damaged('short', (f) => edit(f, shard, (b) => b.subarray(1))), 'CORRUPT_DATA', shard],
      [await damaged('gone', (f) => rm(join(f, shard))), 'NOT_FOUND', shard],
      [
        await damaged('codec', (f) => edit(f, 'codec.safetensors', flip(-10))),
        ...(['CORRUPT_DATA', 'codec.safetensors'] as const),
      ],
      [
        await damaged('table', (f) => edit(f, 'shards.safetensors', flip(-20))),
        ...(['CORRUPT_DATA', 'shards.safetensors'] as const),
      ],
      [{ kind: 'labels', archive: path, epochs: [3] }, 'INVALID_ARGUMENT', 'epoch'],
      [
        { kind: 'labels', archive: path, epochs: [0], samples: [40] },
        'INVALID_ARGUMENT',
        'samples',
      ],
    ] as const;
    const found = runJobs(cases.map(([job]) => job));
    for (const [i, [job, code, field]] of cases.entries()) {
      expect(found[i], job.archive).toMatchObject({ code, field: expect.stringContaining(field) });
    }
  });
});

test('damaged archives give a SoftpackError, or the labels of another archive', async () => {
  const source = temporary.path('fuzz-recorded');
  const images = sample('images');
  await importLabels({ source: sample('sre2l-cutmix'), images, size: [12, 12], out: source });
  const listed = temporary.path('fuzz-listed');
  await importLabels({ source: sample('lpld'), images, size: [12, 12], out: listed });
  const archives = [
    source,
    listed,
    ...['vqae', 'topk', 'mean', 'pruned'].map((name) => join(golden, name)),
  ];
  const jobs = archives.map((archive) => ({ kind: 'fuzz', archive, seed: 11, count: 40 }) as const);
  for (const found of runJobs(jobs)) {
    expect(found.wrong).toEqual([]);
    expect(found.refused).toBeGreaterThan(40);
  }
});

test('bit fields of any width and place', () => {
  expect(runJobs([{ kind: 'fields', seed: 5, count: 2000 }])).toEqual([{ wrong: [] }]);
});

test('xxh64 without the package xxhash', async () => {
  const { h64Raw } = await xxhash();
  const lengths = [0, 1, 3, 4, 7, 8, 12, 31, 32, 33, 63, 64, 200, 5 * 96, 5 * 96 + 11];
  const bytes = Uint8Array.from({ length: 600 }, (_, i) => (i * 7919) >> 3);
  const jobs = lengths.map((length) => ({
    ...{
      kind: 'hashes',
      size: 96,
      data: Buffer.from(bytes.subarray(0, length)).toString('base64'),
    },
  }));
  const found = runJobs(jobs as never);
  for (const [i, length] of lengths.entries()) {
    const blocks = Array.from({ length: Math.ceil(length / 96) }, (_, b) =>
      String(h64Raw(bytes.subarray(96 * b, Math.min(96 * (b + 1), length)))),
    );
    expect(found[i].hashes).toEqual(blocks);
  }
});
