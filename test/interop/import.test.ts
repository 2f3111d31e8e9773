import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LabelArchive, openArchive } from '#src/archive/archive.js';
import { findRecordedColumns, RecordedAugmentations } from '#src/augment/recorded.js';
import { openTorchFile, readTorchFile } from '#src/container/torch/open.js';
import type { NumberType } from '#src/container/torch/values.js';
import { type NewTensor, type NewValue, torchFileOf } from '#src/container/torch/write.js';
import { float16ToFloat32 } from '#src/core/half.js';
import { isSoftpackError } from '#src/errors.js';
import { openImages } from '#src/images/open.js';
import { exportLabels } from '#src/interop/export.js';
import { type ImportOptions, importLabels } from '#src/interop/import.js';
import { readBatch } from '#src/interop/layouts/batch.js';
import { torchOrders } from '#src/interop/random-sampler.js';
import { openImagesOf } from '#src/loader/images-of.js';
import { createLoader } from '#src/loader/loader.js';
import { openArchive as openDecoding } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { temporaryDirectory } from '../temporary.js';
import { expectedOf, memoryFile, plain, sample } from './fixture.js';

const temporary = await temporaryDirectory();
const [SAMPLES, CLASSES, SIDE] = [10, 7, 20];
let made = 0;

/** Imports a sample set, or a changed copy of one. */
async function imported(source: string, options: Partial<ImportOptions> = {}) {
  const out = options.out ?? temporary.path(`archive-${made++}`);
  const images = sample('images');
  const result = await importLabels({ source, images, size: [12, 12], ...options, out });
  return { result, archive: await openArchive(out), out };
}

async function halvesOf(archive: LabelArchive, epoch: number): Promise<Float32Array> {
  const row = await archive.readRow(epoch);
  const values = new Float32Array(row.length / 2);
  float16ToFloat32(new Uint16Array(row.slice().buffer), values);
  return values;
}

async function viewsOf(archive: LabelArchive, epoch: number): Promise<RecordedAugmentations> {
  const columns = findRecordedColumns(archive.manifest.columns, archive.samples);
  const rows = columns.map(async ({ name }) => [name, await archive.readRow(epoch, name)]);
  const size = (archive.manifest.augmentation as { size: [number, number] }).size;
  return new RecordedAugmentations(size, columns, Object.fromEntries(await Promise.all(rows)));
}

interface Batch {
  readonly epoch: number;
  readonly batch: number;
  readonly ids: readonly number[];
  readonly coords: readonly (readonly number[])[];
  readonly flip: readonly boolean[];
  readonly mix_index: readonly number[] | null;
  readonly mix_lam: number | null;
  readonly mix_bbox: readonly number[] | null;
  readonly logits?: readonly (readonly number[])[];
  readonly probabilities?: readonly (readonly number[])[];
}

/** Every label and view of an archive against the known values of its batches. */
async function expectBatches(archive: LabelArchive, batches: readonly Batch[]): Promise<void> {
  for (const batch of batches) {
    const { epoch, ids, coords, mix_index: partners, mix_bbox: box } = batch;
    const values = await halvesOf(archive, epoch);
    const views = await viewsOf(archive, epoch);
    for (const [i, id] of ids.entries()) {
      const label = [...values.subarray(id * CLASSES, (id + 1) * CLASSES)];
      expect(label).toEqual((batch.logits ?? batch.probabilities)?.[i]);
      const crop = coords[i].map((share) => Math.round(share * SIDE));
      expect(views.cropOf(epoch, id, [SIDE, SIDE])).toEqual(crop);
      expect(views.flip(epoch, id)).toBe(batch.flip[i] ? 1 : 0);
      const mix = views.mix(epoch, id);
      if (box !== null && box[2] > box[0] && box[3] > box[1]) {
        expect(mix.box).toEqual([box[0], box[1], box[2] - box[0], box[3] - box[1]]);
        expect(mix.partner).toBe(ids[(partners ?? [])[i]]);
      } else if (box === null && partners !== null) {
        expect(mix.partner).toBe(ids[partners[i]]);
        expect(mix.weight).toBe(Math.fround(batch.mix_lam ?? 1));
      } else {
        expect(mix).toMatchObject({ partner: id, weight: 1 });
      }
    }
  }
}

test('imported labels belong to the pixels of their images, not to names', async () => {
  const { archive } = await imported(sample('sre2l-plain'));
  const copy = temporary.path('other-pixels');
  await cp(sample('images'), copy, { recursive: true });
  await openImagesOf(archive, copy);
  const folders = readdirSync(copy, { recursive: true, encoding: 'utf8' });
  const files = folders.filter((name) => /\.\w+$/.test(name)).sort();
  await cp(join(copy, files[1]), join(copy, files[0]));
  const found = expect.stringContaining('fingerprint {');
  await expect(openImagesOf(archive, copy)).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'images', expected: found, found },
  });
});

describe('SRe2L', () => {
  test.each([...['sre2l-cutmix', 'sre2l-mixup', 'sre2l-plain', 'sre2l-legacy']])(
    '%s: labels, crops, flips and mixing are the known ones',
    async (name) => {
      const { result, archive } = await imported(sample(name));
      const { batches } = expectedOf(name);
      expect(result).toMatchObject({
        ...{ layout: 'sre2l', labels: 20, epochs: 2, images: 10, classes: 7, views: 'recorded' },
        ...{ drawsPerEpoch: 2, agreement: { share: 1 }, notes: [] },
      });
      expect(batches).toHaveLength(6);
      await expectBatches(archive, batches);
      expect(archive.manifest).toMatchObject({ tau: 20, codec: { config: { store: 'logits' } } });
      expect(archive.manifest.teacher).toEqual({
        imported: {
          from: 'sre2l',
          batch: 4,
          order: { generator: 'mt19937', seed: 42, drawsPerEpoch: 2 },
        },
      });
    },
  );

  test.each(['sre2l-cutmix', 'sre2l-mixup'])(
    '%s: crops in pixels give the same views',
    async (name) => {
      const { archive, out } = await imported(sample(name), { crops: 'pixels' });
      const { archive: shares } = await imported(sample(name));
      const crop = archive.manifest.columns.find((column) => column.name === 'crop');
      expect(crop).toMatchObject({ dtype: 'U16', rowBytes: 8 * SAMPLES });
      await expectBatches(archive, expectedOf(name).batches);
      const images = await openImages(sample('images'));
      const normalisation = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.25] } as const;
      const common = { images, normalisation, batchSize: 10, shuffle: false };
      await using loader = createLoader({ ...common, archive, workers: 0 });
      await using other = createLoader({ ...common, archive: shares, workers: 0 });
      for (const epoch of [0, 1]) {
        loader.seek(epoch);
        other.seek(epoch);
        const { value: batch } = await loader.epoch().next();
        const { value: own } = await other.epoch().next();
        expect(batch?.xs).toEqual(own?.xs);
      }
      // The shares of an export are those of the files again.
      const folder = `${out}-export`;
      await exportLabels({ source: out, to: 'sre2l', images: sample('images'), out: folder });
      const [first] = expectedOf(name).batches;
      await using file = await openTorchFile(join(folder, 'epoch_0', 'batch_0.tar'));
      const [coords] = (await plain(file, file.root)) as number[][][];
      for (const [i, four] of coords.entries()) {
        for (const [j, share] of four.entries()) expect(share).toBeCloseTo(first.coords[i][j], 6);
      }
    },
  );

  test('sets of older torch, which drew one permutation per epoch, are told by epoch 1', async () => {
    const source = await reordered('one-draw', 1);
    const { result, archive } = await imported(source);
    expect(result).toMatchObject({ drawsPerEpoch: 1, agreement: { share: 1 } });
    const values = await halvesOf(archive, 1);
    const tops = Array.from({ length: SAMPLES }, (_, i) => {
      const label = values.subarray(i * CLASSES, (i + 1) * CLASSES);
      return label.indexOf(Math.max(...label));
    });
    expect(tops).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
  });

  test('an order that the labels do not prove is refused with both numbers', async () => {
    const importing = imported(sample('sre2l-plain'), { orderSeed: 43 });
    await expect(importing).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('order of epoch 1'),
      expected: expect.stringMatching(/^far more than \d+\.\d %/),
      found: expect.stringMatching(/% by two permutations per epoch, .*% by one permutation/),
    });
  });

  test('images without classes cannot prove the order', async () => {
    const images = temporary.path('flat');
    await mkdir(images);
    for (let i = 0; i < SAMPLES; i++) {
      const name = `class00${i >> 1}_id00${i & 1}.png`;
      await cp(sample('images', `new00${i >> 1}`, name), join(images, name));
    }
    const importing = imported(sample('sre2l-plain'), { images });
    await expect(importing).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'images' });
  });

  test('epoch_10 comes after epoch_2: folders are read by number, and none may be missing', async () => {
    const source = temporary.path('gap');
    await cp(sample('sre2l-plain'), source, { recursive: true });
    await rename(join(source, 'epoch_1'), join(source, 'epoch_10'));
    await expect(imported(source)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      field: source,
      found: '2, but not number 1',
    });
  });

  test('boxes beyond the size of the views are refused: the size is another', async () => {
    const importing = imported(sample('sre2l-cutmix'), { size: [11, 11] });
    await expect(importing).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('mix_bbox'),
    });
  });

  test.each(['sre2l-cutmix', 'sre2l-mixup'])(
    '%s: views are rendered as torchvision rendered them',
    async (name) => {
      const { archive } = await imported(sample(name));
      const images = await openImages(sample('images'));
      const normalisation = {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
      } as const;
      const options = { archive, images, normalisation, batchSize: SAMPLES, workers: 0 };
      await using loader = createLoader(options);
      // [20, 3, 12, 12] in the order of the files.
      const known = new Float32Array(
        new Uint8Array(readFileSync(sample(name, 'views.npy'))).buffer,
        128,
      );
      const order = expectedOf(name).batches.flatMap(({ epoch, ids }: Batch) =>
        ids.map((id) => epoch * SAMPLES + id),
      );
      const different: number[] = [];
      let seen = 0;
      for await (const { epoch, sampleIds, xs } of loader) {
        for (const [i, id] of sampleIds.entries()) {
          const at = order.indexOf(epoch * SAMPLES + id) * 432;
          for (let j = 0; j < 432; j++) {
            const expected = known[at + (j % 3) * 144 + Math.floor(j / 3)];
            if (Math.abs(xs[i * 432 + j] - expected) > 1e-6) different.push(j);
            seen += 1;
          }
        }
      }
      expect(different).toEqual([]);
      expect(seen).toBe(20 * 432);
    },
  );

  test('packing keeps the recorded views', async () => {
    const { out, archive } = await imported(sample('sre2l-cutmix'));
    const packed = temporary.path('packed');
    const codec = { name: 'scalar', levels: 256 } as const;
    await packLogits({ source: out, out: packed, codec });
    const after = await openArchive(packed);
    const { augmentation, images } = archive.manifest;
    expect(after.manifest).toMatchObject({ augmentation, images });
    for (const name of ['crop', 'flip', 'partner', 'box']) {
      const rows = [await archive.readRow(1, name), await after.readRow(1, name)];
      expect(rows[1]).toEqual(rows[0]);
    }
    const prune = { ratio: 2, batchSize: 4 };
    const pruning = packLogits({ source: out, out: temporary.path('pruned'), codec, prune });
    await expect(pruning).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'prune' });
  });

  test('a network predicts labels from the recorded crops, and decoding finds the same ones', async () => {
    const { out } = await imported(sample('sre2l-cutmix'));
    const packed = temporary.path('predicted');
    const codec = { name: 'predictive', step: 0.01, network: true, bases: true } as const;
    await packLogits({ source: out, out: packed, codec });
    await using after = await openDecoding(packed);
    await using archive = await openDecoding(out);
    expect(after.codecParts.config).toMatchObject({
      bases: SAMPLES,
      network: { embeddings: SAMPLES },
    });
    const all = { start: 0, count: SAMPLES };
    for (const epoch of [0, 1]) {
      const labels = await after.labels(epoch, all);
      const exact = await archive.labels(epoch, all);
      // Wrong crops or partners move predictions, and with them labels, by far more than a step.
      for (const [i, value] of labels.entries()) expect(value).toBeCloseTo(exact[i], 3);
      const some = await after.labels(epoch, Uint32Array.of(7, 2));
      expect(some).toEqual(
        Float32Array.of(
          ...labels.slice(7 * CLASSES, 8 * CLASSES),
          ...labels.slice(2 * CLASSES, 3 * CLASSES),
        ),
      );
    }
  });
});

/** `sre2l-plain` as torch with another rule would have written it: the same labels of each image, in that order. */
async function reordered(name: string, draws: 1 | 2): Promise<string> {
  const source = temporary.path(name);
  const orders = torchOrders(SAMPLES, 42, draws);
  const batches: Batch[] = expectedOf('sre2l-plain').batches;
  for (let epoch = 0; epoch < 2; epoch++) {
    const logits = new Map<number, readonly number[]>();
    for (const batch of batches.filter((b) => b.epoch === epoch)) {
      for (const [i, id] of batch.ids.entries()) logits.set(id, (batch.logits ?? [])[i]);
    }
    const order = [...orders.next().value];
    for (let b = 0; b < 3; b++) {
      const labels = order.slice(4 * b, 4 * b + 4).map((id) => logits.get(id) ?? []);
      await writeBatch(join(source, `epoch_${epoch}`, `batch_${b}.tar`), {
        logits: floats(labels),
      });
    }
  }
  return source;
}

function tensor(dtype: NumberType, shape: readonly number[], data: ArrayBufferView): NewTensor {
  return { dtype, shape, data: new Uint8Array(data.buffer) };
}

const floats = (rows: readonly (readonly number[])[]) =>
  tensor('F32', [rows.length, rows[0].length], Float32Array.from(rows.flat()));

/** A batch in the common layout; whole images without mixing unless said otherwise. */
async function writeBatch(
  path: string,
  { logits, ...parts }: { logits: NewTensor } & Record<string, NewValue>,
): Promise<void> {
  const count = logits.shape[0];
  const whole = Array.from({ length: count }, () => [0, 0, 1, 1]);
  const { ids, ...given } = {
    coords: floats(whole),
    flip: tensor('BOOL', [count], new Uint8Array(count)),
    mix_index: null,
    mix_lam: null,
    mix_bbox: null,
    ...parts,
  } as Record<string, NewValue>;
  await mkdir(dirname(path), { recursive: true });
  const items = [...Object.values(given), logits, ...(ids === undefined ? [] : [ids])];
  await writeFile(path, torchFileOf(items));
}

interface OrderCase {
  readonly n: number;
  readonly seed: number;
  readonly epoch: number;
  readonly first: readonly number[];
  readonly last: readonly number[];
  readonly check: number;
}

test("permutations are torch's", () => {
  const file: { readonly cases: readonly OrderCase[] } = JSON.parse(
    readFileSync(sample('order/random-sampler.json'), 'utf8'),
  );
  const { cases } = file;
  expect(cases).toHaveLength(18);
  for (const { n, seed, epoch, first, last, check } of cases) {
    const orders = torchOrders(n, seed, 2);
    for (let e = 0; e < epoch; e++) orders.next();
    const order = [...orders.next().value];
    expect(order.slice(0, 8)).toEqual(first);
    expect(order.slice(-4)).toEqual(last);
    const sum = order.reduce((c, v) => (31 * c + v) % 2147483647, 0);
    expect(sum).toBe(check);
  }
});

describe('LPLD', () => {
  /** Epochs of 10 images in batches of 5, ids in a JSON; labels say the class of the image. */
  async function lpld(name: string, { epochs = 2, listed = 2, cutOff = 0 } = {}) {
    const source = temporary.path(name);
    const lists: Record<string, number[]> = {};
    for (let epoch = 0; epoch < epochs; epoch++) {
      const order = Array.from({ length: SAMPLES }, (_, i) => (3 * i + epoch) % SAMPLES);
      if (epoch < listed) lists[epoch] = order.slice(0, SAMPLES - cutOff);
      for (let b = 0; b < 2; b++) {
        const logits = order.slice(5 * b, 5 * b + 5).map((id) => labelOf(id, epoch));
        await writeBatch(join(source, `epoch_${epoch}`, `batch_${b}.tar`), {
          logits: floats(logits),
        });
      }
    }
    await writeFile(join(source, 'sampler_indices_epoch.json'), JSON.stringify(lists));
    return source;
  }

  const labelOf = (id: number, epoch: number) =>
    Array.from({ length: CLASSES }, (_, c) => (c === id >> 1 ? 5 : 0.25 * epoch + 0.5 * id));

  test('ids come from the JSON; an extra epoch that it does not list is left out', async () => {
    const { result, archive } = await imported(await lpld('extra', { epochs: 3, listed: 2 }));
    expect(result).toMatchObject({
      ...{ layout: 'lpld', epochs: 2, agreement: { share: 1, labels: 20 } },
      notes: ['1 epochs without image ids were left out', 'labels were rounded to float16'],
    });
    for (let epoch = 0; epoch < 2; epoch++) {
      const expected = Array.from({ length: SAMPLES }, (_, id) => labelOf(id, epoch));
      expect([...(await halvesOf(archive, epoch))]).toEqual(expected.flat());
    }
  });

  test('lists that are neither epochs nor whole batches are refused', async () => {
    const fewer = imported(await lpld('fewer', { cutOff: 1 }));
    await expect(fewer).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  test('an image twice in an epoch is refused', async () => {
    const source = await lpld('twice');
    const lists = { 0: [0, 1, 2, 3, 4, 5, 6, 7, 8, 8], 1: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] };
    await writeFile(join(source, 'sampler_indices_epoch.json'), JSON.stringify(lists));
    await expect(imported(source)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      found: 'image 8 again',
    });
  });

  test.each([
    ['a number above the images', { 0: [10] }, '0[0]'],
    ['no list', { 0: 5 }, '0'],
    ['a gap', { 1: [1] }, '0'],
  ])('an index with %s is refused', async (_, lists, field) => {
    const source = await lpld(`index-${field}-${made++}`);
    const path = join(source, 'sampler_indices_epoch.json');
    await writeFile(path, JSON.stringify(lists));
    const importing = imported(source);
    await expect(importing).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `${path}: ${field}`,
    });
  });

  test('cutout is refused by name, and can be left out with all views', async () => {
    await expect(imported(sample('lpld-21k'))).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: expect.stringMatching(/batch_0.tar: cutout$/),
      found: 'cutout',
    });
  });
});

describe('LPQLD', () => {
  /** One epoch of two batches with the top 2 of 7 classes. */
  async function lpqld(name: string, { values = [3, 2], box = [1, 2, 3, 4], views = {} } = {}) {
    const source = temporary.path(name);
    const lists: Record<string, number[]> = {};
    for (let b = 0; b < 2; b++) {
      lists[b] = [0, 1, 2, 3, 4].map((i) => 2 * i + b);
      const ids = Int16Array.from(lists[b].flatMap((id) => [id >> 1, 6]));
      await writeBatch(join(source, `batch_${b}.tar`), {
        logits: floats(lists[b].map(() => values)),
        mix_index: tensor('U8', [5], Uint8Array.of(1, 0, 2, 4, 3)),
        mix_lam: { float: 0.5 },
        mix_bbox: box.map((edge) => tensor('U8', [], Uint8Array.of(edge))),
        ...views,
        ids: tensor('I16', [5, 2], ids),
      });
    }
    await writeFile(join(source, 'sampler_indices_batch.json'), JSON.stringify(lists));
    return source;
  }

  test('top logits stay exact, other classes get probability 0', async () => {
    const { result, archive } = await imported(await lpqld('top'), { classes: 7 });
    expect(result).toMatchObject({ layout: 'lpqld', epochs: 1, agreement: { share: 1 } });
    const values = await halvesOf(archive, 0);
    const expected = Array(7).fill(-65504);
    expected[2] = 3;
    expected[6] = 2;
    expect([...values.subarray(4 * 7, 5 * 7)]).toEqual(expected);
    const views = await viewsOf(archive, 0);
    expect(views.mix(0, 0)).toEqual({ partner: 2, box: [1, 2, 2, 2], weight: 1 });
  });

  test('values that look like probabilities must be named', async () => {
    const source = await lpqld('shares', { values: [0.75, 0.125] });
    await expect(imported(source, { classes: 7 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'values',
    });
    const options = { classes: 7, values: 'probabilities', tau: 4 } as const;
    const { archive } = await imported(source, options);
    expect(archive.manifest).toMatchObject({
      tau: 4,
      codec: { config: { store: 'probabilities' } },
    });
    const values = await halvesOf(archive, 0);
    expect([...values.subarray(0, 7)]).toEqual([0.75, 0, 0, 0, 0, 0, 0.125]);
  });

  test('boxes in 8 bits are refused for larger views, and boxes that were cut to 8 bits', async () => {
    const wide = imported(await lpqld('wide'), { classes: 7, size: [256, 256] });
    await expect(wide).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('mix_bbox'),
      found: '256 x 256',
    });
    const wrapped = imported(await lpqld('wrapped', { box: [4, 4, 0, 8] }), { classes: 7 });
    await expect(wrapped).rejects.toMatchObject({ code: 'INVALID_FILE', found: '4, 4, 0, 8' });
  });

  test('RandAugment is refused by name; its labels come without views', async () => {
    const magnitudes = tensor('F16', [5], new Uint16Array(5));
    const source = await lpqld('randaug', { views: { mix_index: [[magnitudes]] } });
    await expect(imported(source, { classes: 7 })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    const importing = readSample('lpqld-randaug/batch_0.tar', true);
    await expect(importing).rejects.toMatchObject({ code: 'UNSUPPORTED', found: 'RandAugment' });
    const known = expectedOf('lpqld-randaug').batches[0];
    const { halves, count } = await readSample('lpqld-randaug/batch_0.tar', false);
    expect(count).toBe(4);
    const values = new Float32Array(halves.length);
    float16ToFloat32(halves, values);
    for (const [i, ids] of known.classes.entries()) {
      for (const [j, id] of ids.entries()) expect(values[7 * i + id]).toBe(known.values[i][j]);
    }
  });
});

async function readSample(name: string, views: boolean) {
  await using file = await openTorchFile(sample(name));
  return await readBatch(file, file.root, { ...reading, views });
}

const reading = { size: [12, 12], classes: 7, rest: 0xfbff, shares: false, views: true } as const;

describe('HALD', () => {
  test('probabilities at 20, boxes and partners are the known ones', async () => {
    const { result, archive } = await imported(sample('hald'));
    expect(result).toMatchObject({ layout: 'hald', epochs: 2, agreement: { share: 1 } });
    expect(archive.manifest).toMatchObject({
      tau: 20,
      codec: { config: { store: 'probabilities' } },
    });
    await expectBatches(archive, expectedOf('hald').batches);
  });

  test("shares in half floats are the teacher's whole pixels, not cut ones", async () => {
    const { archive } = await imported(sample('hald'));
    const batches: Batch[] = expectedOf('hald').batches;
    let cut = 0;
    for (const { epoch, ids, coords } of batches) {
      const views = await viewsOf(archive, epoch);
      for (const [i, id] of ids.entries()) {
        const pixels = coords[i].map((share) => share * SIDE);
        const crop = views.cropOf(epoch, id, [SIDE, SIDE]);
        for (const [axis, pixel] of pixels.entries()) {
          expect(Math.abs(pixel - crop[axis])).toBeLessThan(0.02);
          cut += Math.trunc(pixel) === crop[axis] ? 0 : 1;
        }
      }
    }
    // Truncation, as HALD's student does it, would be off by one in many of them.
    expect(cut).toBeGreaterThan(10);
  });
});

describe('FKD', () => {
  /** The folder of images that the samples have labels of. */
  const images = temporary.path('four-images');
  const ready = Promise.all(
    ['new000', 'new001'].map((name) =>
      cp(sample('images', name), join(images, name), { recursive: true }),
    ),
  );

  interface FkdFile {
    readonly coords: readonly (readonly number[])[];
    readonly flip: readonly boolean[];
    readonly labels: readonly (number | readonly number[] | readonly (readonly number[])[])[];
  }

  /** Probabilities that FKD's own training makes of a stored label. */
  function probabilitiesOf(label: FkdFile['labels'][number]): number[] {
    const [ids, values] =
      typeof label === 'number'
        ? [[label], [1]]
        : typeof label[0] === 'number'
          ? [[label[0]], [label[1] as number]]
          : (label as readonly (readonly number[])[]);
    const left = 1 - values.reduce((a, b) => a + b, 0);
    const all = Array(CLASSES).fill(Math.max(0, left) / (CLASSES - ids.length));
    for (const [i, id] of ids.entries()) all[id] = values[i];
    return all;
  }

  test.each([...['fkd-k5', 'fkd-k5-half', 'fkd-hard', 'fkd-smoothing', 'fkd-legacy']])(
    '%s: crop k of every image is epoch k',
    async (name) => {
      await ready;
      const { result, archive } = await imported(sample(name), { images, classes: 7 });
      expect(result).toMatchObject({ layout: 'fkd', epochs: 5, images: 4, views: 'recorded' });
      expect(archive.manifest).toMatchObject({
        tau: 1,
        codec: { config: { store: 'probabilities' } },
      });
      const files: FkdFile[] = expectedOf(name).files;
      for (let epoch = 0; epoch < 5; epoch++) {
        const values = await halvesOf(archive, epoch);
        const views = await viewsOf(archive, epoch);
        for (const [id, { coords, flip, labels }] of files.entries()) {
          const expected = probabilitiesOf(labels[epoch]);
          const label = values.subarray(id * CLASSES, (id + 1) * CLASSES);
          // Half floats: 2^-11 of the value, 2^-25 below 2^-14.
          for (const [c, p] of label.entries()) {
            expect(Math.abs(p - expected[c])).toBeLessThanOrEqual(p * 2 ** -11 + 2 ** -25);
          }
          const crop = coords[epoch].map((share) => Math.round(share * SIDE));
          expect(views.cropOf(epoch, id, [SIDE, SIDE])).toEqual(crop);
          expect(views.flip(epoch, id)).toBe(flip[epoch] ? 1 : 0);
        }
      }
    },
  );

  test('with rest zero nothing is left for other classes', async () => {
    await ready;
    const { archive } = await imported(sample('fkd-k5'), { images, classes: 7, rest: 'zero' });
    const values = await halvesOf(archive, 0);
    expect(values.subarray(0, 7).filter((p) => p === 0)).toHaveLength(2);
  });

  test('half-float ids are refused above 2,048 classes: 2,049 would be read as 2,048', async () => {
    await ready;
    const importing = imported(sample('fkd-k5-half'), { images, classes: 2049 });
    await expect(importing).rejects.toMatchObject({
      code: 'INVALID_FILE',
      expected: 'at most 2048 classes, or labels in float32',
      found: '2049 classes',
    });
  });

  test('an image without a label file is named', async () => {
    const importing = imported(sample('fkd-k5'), { classes: 7 });
    await expect(importing).rejects.toMatchObject({
      code: 'NOT_FOUND',
      field: sample('fkd-k5', 'new002', 'class002_id000.tar'),
    });
  });
});

describe('TinyViT', () => {
  test('records of all ranks become probabilities and seeds', async () => {
    const { result, archive } = await imported(sample('tinyvit'), { classes: 7 });
    expect(result).toMatchObject({ layout: 'tinyvit', epochs: 2, views: 'none' });
    expect(archive.manifest).toMatchObject({ tau: 1, augmentation: null });
    const { records } = expectedOf('tinyvit');
    expect(records).toHaveLength(20);
    for (const { epoch, key, seed, classes, values } of records) {
      const id = 2 * Number(key.slice(3, 6)) + Number(key.slice(18, 21));
      const label = (await halvesOf(archive, epoch)).subarray(7 * id, 7 * id + 7);
      expect(classes.map((c: number) => label[c])).toEqual(values);
      const rest = (1 - values.reduce((a: number, b: number) => a + b, 0)) / 4;
      for (const [c, p] of label.entries()) {
        if (!classes.includes(c))
          expect(Math.abs(p - rest)).toBeLessThanOrEqual(rest * 2 ** -11 + 2 ** -25);
      }
      const seeds = await archive.readRow(epoch, 'seed');
      expect(new DataView(seeds.buffer).getUint32(4 * id, true)).toBe(seed);
    }
  });

  test('keys without an image, and records that do not fit the keys, are refused', async () => {
    const source = temporary.path('tinyvit');
    await cp(sample('tinyvit'), source, { recursive: true });
    const keys = join(source, 'logits_top3_epoch1', 'rank0-keys.txt');
    const text = readFileSync(keys, 'utf8');
    await writeFile(keys, text.replace(/^new.../, 'new009'));
    await expect(imported(source, { classes: 7 })).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `${keys}: line 1`,
    });
    await writeFile(keys, text.slice(0, text.indexOf('\n') + 1));
    await expect(imported(source, { classes: 7 })).rejects.toMatchObject({
      code: 'INVALID_FILE',
      expected: '1 records of 16 bytes',
      found: '80 bytes',
    });
  });
});

test.each([
  ['partner_outside.tar', 'INVALID_FILE', 'mix_index[1]', '0 to 1', 9],
  ['not_finite.tar', 'NON_FINITE', 'logits, label 1, position 3', 'finite float16 values', 'NaN'],
])('hostile %s parses, and its values are refused', async (name, code, field, expected, found) => {
  const path = sample('hostile', name);
  await using file = await openTorchFile(path);
  const reading_ = readBatch(file, file.root, reading);
  await expect(reading_).rejects.toMatchObject({
    code,
    field: `${path}: ${field}`,
    expected,
    found,
  });
});

test('a folder of another layout is refused, and a layout that is not there', async () => {
  const importing = imported(sample('order'));
  await expect(importing).rejects.toMatchObject({ code: 'INVALID_FILE', field: sample('order') });
  const wrong = imported(sample('sre2l-plain'), { from: 'hald' });
  await expect(wrong).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const rded = imported(sample('sre2l-plain'), { from: 'rded' as 'hald' });
  await expect(rded).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'from' });
});

test('an interrupted import goes on and gives the same bytes', async () => {
  const whole = await imported(sample('hald'));
  const out = temporary.path('interrupted');
  const stop = new AbortController();
  const options = { out, signal: stop.signal, onProgress: () => stop.abort() };
  await expect(imported(sample('hald'), options)).rejects.toMatchObject({ code: 'ABORTED' });
  const { archive } = await imported(sample('hald'), { out });
  expect(archive.manifest).toEqual(whole.archive.manifest);
});

test('mutated batches give a SoftpackError or labels within their bounds', async () => {
  const names = [
    'sre2l-cutmix/epoch_0/batch_0.tar',
    'lpqld/batch_0.tar',
    'sre2l-mixup/epoch_0/batch_0.tar',
  ];
  const files = names.map((name) => readFileSync(sample(name)));
  const edit = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  let read = 0;
  const property = fc.asyncProperty(
    fc.constantFrom(...files),
    fc.array(edit, { minLength: 1, maxLength: 4 }),
    async (bytes, edits) => {
      const changed = Uint8Array.from(bytes);
      for (const [at, value] of edits) changed[at % changed.length] = value;
      try {
        const file = await readTorchFile(memoryFile(changed).file);
        const batch = await readBatch(file, file.root, reading);
        expect(batch.halves).toHaveLength(batch.count * batch.classes);
        for (const { partner = 0, box = [0, 0, 0, 0] } of batch.views ?? []) {
          expect(partner).toBeLessThan(batch.count);
          expect(box[0] + box[2]).toBeLessThanOrEqual(12);
          expect(box[1] + box[3]).toBeLessThanOrEqual(12);
        }
        read += 1;
      } catch (error) {
        if (!isSoftpackError(error)) throw error;
      }
    },
  );
  await fc.assert(property, { numRuns: 2000, seed: 2 });
  expect(read).toBeGreaterThan(100);
});
