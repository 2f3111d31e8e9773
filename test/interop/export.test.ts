import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { appendArchive } from '#src/archive/append.js';
import { type LabelArchive, openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import { NoneCodec } from '#src/codecs/none.js';
import { openTorchFile } from '#src/container/torch/open.js';
import { float16ToFloat32 } from '#src/core/half.js';
import { type ExportOptions, exportLabels } from '#src/interop/export.js';
import { type ImportOptions, importLabels } from '#src/interop/import.js';
import { torchOrders } from '#src/interop/random-sampler.js';
import { openArchive as openDecoding } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { temporaryDirectory } from '../temporary.js';
import { expectedOf, plain, sample } from './fixture.js';

const temporary = await temporaryDirectory();
const images = sample('images');
let made = 0;
const path = (name: string) => temporary.path(`${name}-${made++}`);

async function imported(source: string, options: Partial<ImportOptions> = {}) {
  const out = path('archive');
  await importLabels({ source, images, size: [12, 12], ...options, out });
  return out;
}

async function exported(
  source: string,
  options: Partial<ExportOptions> & Pick<ExportOptions, 'to'>,
) {
  const out = path('export');
  const result = await exportLabels({ source, ...options, out });
  return { out, result };
}

/** Codes and recorded columns of two archives are the same bytes. */
async function expectEqual(first: string, second: string): Promise<LabelArchive> {
  const [a, b] = [await openArchive(first), await openArchive(second)];
  expect(b.manifest.columns).toEqual(a.manifest.columns);
  expect(b.manifest.augmentation).toEqual(a.manifest.augmentation);
  expect(b.epochs).toBe(a.epochs);
  for (let epoch = 0; epoch < a.epochs; epoch++) {
    for (const { name } of a.manifest.columns) {
      const rows = [await a.readRow(epoch, name), await b.readRow(epoch, name)];
      expect(Buffer.compare(rows[0], rows[1]), `${name} of epoch ${epoch}`).toBe(0);
    }
  }
  return b;
}

async function contentOf(file: string): Promise<readonly unknown[]> {
  await using torch = await openTorchFile(file);
  return (await plain(torch, torch.root)) as readonly unknown[];
}

describe('sre2l', () => {
  test.each(['sre2l-cutmix', 'sre2l-mixup', 'sre2l-plain'])(
    '%s: files hold what the original ones do, and come in again as the same archive',
    async (name) => {
      const source = await imported(sample(name));
      const { out, result } = await exported(source, { to: 'sre2l' });
      expect(result).toMatchObject({ labels: 20, epochs: 2, batch: 4, files: 6, notes: [] });
      // Their scripts count the entries of the folder.
      expect(readdirSync(out).sort()).toEqual(['epoch_0', 'epoch_1']);
      for (const batch of expectedOf(name).batches) {
        const file = join(out, `epoch_${batch.epoch}`, `batch_${batch.batch}.tar`);
        const [coords, flip, partners, lambda, box, logits] = await contentOf(file);
        expect({ coords, flip, logits }).toEqual({
          coords: batch.coords,
          flip: batch.flip,
          logits: batch.logits,
        });
        expect(partners).toEqual(batch.mix_index);
        expect(box).toEqual(batch.mix_bbox);
        if (name === 'sre2l-mixup') expect(lambda).toBeCloseTo(batch.mix_lam, 7);
      }
      await expectEqual(source, await imported(out));
    },
  );

  test('packed labels are decoded at the archive temperature', async () => {
    const source = await imported(sample('sre2l-cutmix'));
    const packed = path('packed');
    await packLogits({ source, out: packed, codec: { name: 'scalar', levels: 65536 } });
    const { out } = await exported(packed, { to: 'sre2l' });
    const again = await openArchive(await imported(out));
    const original = await openArchive(source);
    for (let epoch = 0; epoch < 2; epoch++) {
      const rows = [await original.readRow(epoch), await again.readRow(epoch)].map((row) => {
        const values = new Float32Array(70);
        float16ToFloat32(new Uint16Array(row.slice().buffer), values);
        return values;
      });
      for (let i = 0; i < 10; i++) {
        const labels = rows.map((values) => softmax([...values.subarray(7 * i, 7 * i + 7)], 20));
        for (const [j, p] of labels[0].entries()) expect(labels[1][j]).toBeCloseTo(p, 3);
      }
    }
  });

  test('another order of the student cannot mix within its batches', async () => {
    const source = await imported(sample('sre2l-cutmix'));
    for (const other of [{ batch: 3 }, { orderSeed: 7 }, { drawsPerEpoch: 1 }] as const) {
      await expect(exported(source, { to: 'sre2l', ...other })).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        field: expect.stringMatching(/^epoch_\d\/batch_\d\.tar$/),
      });
    }
    const plainViews = await imported(sample('sre2l-plain'));
    const { result } = await exported(plainViews, { to: 'sre2l', batch: 3 });
    expect(result.files).toBe(8);
  });
});

describe('fkd', () => {
  test.each([
    ['fkd-k5-half', 5],
    ['fkd-smoothing', 7],
  ] as const)('%s comes in again as the same archive', async (name, top) => {
    const own = await imageFolder(expectedOf(name).files);
    const source = path('archive');
    await importLabels({
      source: sample(name),
      images: own,
      size: [12, 12],
      classes: 7,
      out: source,
    });
    const { out, result } = await exported(source, { to: 'fkd', images: own, top });
    expect(result).toMatchObject({ files: 4, top });
    for (const { file, coords, flip } of expectedOf(name).files) {
      expect((await contentOf(join(out, file))).slice(0, 2)).toEqual([coords, flip]);
    }
    const again = path('archive');
    await importLabels({ source: out, images: own, size: [12, 12], classes: 7, out: again });
    const [a, b] = [await openArchive(source), await openArchive(again)];
    for (let epoch = 0; epoch < a.epochs; epoch++) {
      expect(await b.readRow(epoch)).toEqual(await a.readRow(epoch));
    }
  });

  test('mixed views and softened labels have no place there', async () => {
    const source = await imported(sample('sre2l-mixup'));
    await expect(exported(source, { to: 'fkd', images })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'augmentation.mix',
    });
    const packed = path('packed');
    const plainViews = await imported(sample('sre2l-plain'));
    await packLogits({ source: plainViews, out: packed, codec: { name: 'scalar', levels: 256 } });
    await expect(exported(packed, { to: 'fkd', images })).rejects.toMatchObject({
      ...{ code: 'UNSUPPORTED', field: 'tau', found: 1 },
    });
    const { result } = await exported(packed, { to: 'fkd', images, tau: 20, top: 3 });
    expect(result.notes).toEqual([expect.stringContaining('marginal_renorm')]);
    await expect(exported(packed, { to: 'fkd', tau: 20 })).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field: 'images' },
    });
  });
});

describe('tinyvit', () => {
  test('seeds, classes and probabilities come in again as the same archive', async () => {
    const source = await imported(sample('tinyvit'), { classes: 7 });
    const { out, result } = await exported(source, { to: 'tinyvit', images });
    expect(result).toMatchObject({ top: 3, files: 4, epochs: 2 });
    for (const record of expectedOf('tinyvit').records) {
      const folder = join(out, `logits_top3_epoch${record.epoch}`);
      const keys = readFileSync(join(folder, 'rank0-keys.txt'), 'utf8').split('\n');
      const values = readFileSync(join(folder, 'rank0-values.bin'));
      const at = 16 * keys.indexOf(record.key);
      expect(values.readInt32LE(at)).toBe(record.seed);
      const classes = [0, 1, 2].map((j) => values.readInt16LE(at + 4 + 2 * j));
      expect(classes).toEqual(record.classes);
    }
    await expectEqual(source, await imported(out, { classes: 7 }));
  });

  test('views that are not a seed are refused', async () => {
    const source = await imported(sample('sre2l-plain'));
    await expect(exported(source, { to: 'tinyvit', images })).rejects.toMatchObject({
      ...{ code: 'UNSUPPORTED', field: 'augmentation', found: 'crops and flips' },
    });
  });
});

describe('archives of parts', () => {
  test('give the labels of all, of several codecs, which come in again', async () => {
    const source = await imported(sample('sre2l-plain'));
    const packed = path('packed');
    await packLogits({ source, out: packed, codec: { name: 'topk', k: 5 } });
    await appendArchive(source, packed);
    const { out, result } = await exported(source, { to: 'sre2l' });
    expect(result).toMatchObject({ labels: 40, epochs: 4, images: 10 });
    await using again = await openDecoding(await imported(out));
    await using parted = await openDecoding(source);
    expect([again.epochs, parted.parts.length, again.parts.length]).toEqual([4, 2, 1]);
    for (let epoch = 0; epoch < 4; epoch++) {
      const all = { start: 0, count: 10 };
      const [found, wanted] = [await again.labels(epoch, all), await parted.labels(epoch, all)];
      const worst = Math.max(...wanted.map((value, i) => Math.abs(value - found[i])));
      expect(worst).toBeLessThan(2e-3);
      for (const name of ['crop', 'flip']) {
        expect(await again.readRow(epoch, name)).toEqual(await parted.readRow(epoch, name));
      }
    }
  });

  test('of samples, too', async () => {
    const source = await imported(sample('sre2l-plain'));
    const alone = await exported(source, { to: 'sre2l', batch: 20 });
    await using own = await openDecoding(source);
    const labels = await own.labels(1, { start: 0, count: 10 });
    const more = await imported(sample('sre2l-plain'));
    const appended = await imported(sample('sre2l-plain'));
    await appendArchive(appended, more, { add: 'samples' });
    await using both = await openDecoding(appended);
    expect([...(await both.labels(1, { start: 10, count: 10 }))]).toEqual([...labels]);
    const { out, result } = await exported(appended, { to: 'sre2l', batch: 20 });
    expect(result).toMatchObject({ labels: 40, epochs: 2, images: 20 });
    // One batch per epoch: the rows of each archive, in an order of 20.
    const orders = torchOrders(20, 42, 2);
    const single = torchOrders(10, 42, 2);
    for (let epoch = 0; epoch < 2; epoch++) {
      const [order, orderAlone] = [orders.next().value, single.next().value];
      const rows = async (folder: string) =>
        (await contentOf(join(folder, `epoch_${epoch}`, 'batch_0.tar'))) as [number[][]];
      const [crops] = await rows(out);
      const [cropsAlone] = await rows(alone.out);
      const bySample = new Map([...orderAlone].map((id, i) => [id, cropsAlone[i]]));
      for (const [i, id] of [...order].entries()) expect(crops[i]).toEqual(bySample.get(id % 10));
    }
  });

  test('are refused where their views or columns differ', async () => {
    const source = await imported(sample('sre2l-plain'));
    const other = await imported(sample('sre2l-plain'), { size: [10, 10] });
    await appendArchive(source, other);
    await expect(exported(source, { to: 'sre2l' })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'augmentation',
    });
  });
});

test('views of a seed are given as shares of the images, CutMix of all samples is refused', async () => {
  const seeded = async (mix: object, change: object = {}) => {
    const out = path('archive');
    const codec = new NoneCodec({ classes: 3, tau: 20, store: 'logits' });
    const spec = {
      ...{ classes: 3, samples: 10, epochs: 1, tau: 20, codec: codec.parts() },
      ...{ layout: codec.layout, decoding: codec.decoding },
      augmentation: {
        ...{ generator: 'philox4x32-10', seed: 3, size: [8, 8], flip: 0.5, mix },
        crop: { scale: [0.2, 1], ratio: [0.75, 1.25] },
      },
      ...change,
    };
    await using writer = await createArchive(out, spec);
    await writer.writeRow(0, { codes: new Uint8Array(60) });
    await writer.finish();
    return out;
  };
  const source = await seeded({ kind: 'none' });
  await expect(exported(source, { to: 'sre2l' })).rejects.toMatchObject({ field: 'images' });
  const { out, result } = await exported(source, { to: 'sre2l', images });
  expect(result).toMatchObject({ batch: 10, notes: [expect.stringContaining('PIL')] });
  const [coords] = await contentOf(join(out, 'epoch_0', 'batch_0.tar'));
  for (const share of (coords as number[][]).flat()) {
    expect(Math.abs(share * 20 - Math.round(share * 20))).toBeLessThan(1e-5);
  }
  // Epochs that are served again are the stored ones, views and all.
  const kept = await seeded({ kind: 'none' }, { epochs: 3, storedEpochs: 1 });
  const again = await exported(kept, { to: 'sre2l', images, batch: 3 });
  const byImage = new Map<string, Set<string>>();
  const orders = torchOrders(10, 42, 2);
  for (let epoch = 0; epoch < 3; epoch++) {
    const order = orders.next().value;
    for (let b = 0; b < 4; b++) {
      const file = join(again.out, `epoch_${epoch}`, `batch_${b}.tar`);
      const [crops] = (await contentOf(file)) as [number[][]];
      for (const [i, crop] of crops.entries()) {
        const image = String(order[3 * b + i]);
        byImage.set(image, (byImage.get(image) ?? new Set()).add(String(crop)));
      }
    }
  }
  expect([...byImage.values()].map(({ size }) => size)).toEqual(Array(10).fill(1));
  const mixed = await seeded({ kind: 'cutmix', alpha: 1, probability: 1 });
  await expect(exported(mixed, { to: 'sre2l', images })).rejects.toMatchObject({
    ...{ code: 'UNSUPPORTED', field: 'augmentation.mix' },
  });
});

test('nothing is overwritten, and nothing is left of an export that was stopped', async () => {
  const source = await imported(sample('sre2l-plain'));
  const out = path('taken');
  await mkdir(out);
  await writeFile(join(out, 'mine.txt'), 'mine');
  const taken = exportLabels({ source, to: 'sre2l', out });
  await expect(taken).rejects.toMatchObject({ code: 'ALREADY_EXISTS', field: out });
  expect(readdirSync(out)).toEqual(['mine.txt']);
  const stopped = path('stopped');
  const signal = AbortSignal.abort();
  await expect(exportLabels({ source, to: 'sre2l', out: stopped, signal })).rejects.toMatchObject({
    code: 'ABORTED',
  });
  expect(existsSync(stopped)).toBe(false);
  expect(readdirSync(temporary.path('.')).filter((name) => name.includes('stopped'))).toEqual([]);
});

/** A folder with the images that these label files belong to. */
async function imageFolder(files: readonly { readonly file: string }[]): Promise<string> {
  const folder = path('images');
  for (const { file } of files) {
    const image = file.replace('.tar', '.png');
    await mkdir(join(folder, image, '..'), { recursive: true });
    await writeFile(join(folder, image), readFileSync(sample('images', image)));
  }
  return folder;
}

function softmax(logits: readonly number[], tau: number): readonly number[] {
  const powers = logits.map((z) => Math.exp(z / tau));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}
