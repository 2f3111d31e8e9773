import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { float16ToFloat32 } from '#src/core/half.js';
import { importLabels } from '#src/interop/import.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { verifyLabels } from '#src/loader/verify-labels.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import type { PackOptions } from '#src/pipeline/pack-options.js';
import { expectedOf, sample } from '../interop/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const [THRESHOLD, SMOOTHING] = [0.4, 0.2];
const ferkd = { name: 'ferkd', threshold: THRESHOLD, smoothing: SMOOTHING } as const;
let made = 0;

/** Logits of a label after FerKD's rule, up to a constant. */
function adapted(logits: readonly number[], own: number, partner: number, share: number) {
  const sum = logits.reduce((total, z) => total + Math.exp(z), 0);
  const shown = [...new Set([own, partner])];
  const confidence = shown.reduce((total, c) => total + Math.exp(logits[c]) / sum, 0);
  if (confidence >= THRESHOLD) return logits;
  const rest = SMOOTHING / (logits.length - shown.length);
  return logits.map((_, c) => {
    const part = (c === own ? share : 0) + (c === partner ? 1 - share : 0);
    return Math.log(shown.includes(c) ? (1 - SMOOTHING) * part : rest);
  });
}

function softmax(logits: readonly number[], tau: number): number[] {
  const powers = logits.map((z) => Math.exp((z - Math.max(...logits)) / tau));
  return powers.map((p) => p / powers.reduce((a, b) => a + b, 0));
}

/** Labels of an archive are softmax(logits / tau) to the precision of half floats. */
async function expectLabels(
  path: string,
  expected: (row: number, position: number) => readonly number[],
): Promise<void> {
  await using archive = await openArchive(path);
  const { samples, classes, epochs, manifest } = archive;
  for (let row = 0; row < epochs; row++) {
    const labels = await archive.labels(row, { start: 0, count: samples });
    for (let i = 0; i < samples; i++) {
      const own = softmax(expected(row, i), manifest.tau);
      for (const [c, p] of labels.subarray(i * classes, (i + 1) * classes).entries()) {
        expect(Math.abs(p - own[c]), `row ${row}, ${i}`).toBeLessThan(2e-3);
      }
    }
  }
}

const shape = { epochs: 4, samples: 12, classes: 5 };
const logits = Float32Array.from({ length: 240 }, (_, i) => 3 * Math.sin(i * i + 1));
const logitsAt = (epoch: number, sample: number) => {
  const at = (epoch * shape.samples + sample) * shape.classes;
  return [...logits.subarray(at, at + shape.classes)];
};
const targets = Uint32Array.from({ length: 12 }, (_, i) => i % 5);
const augmentation: AugmentationSpec = {
  ...{ generator: 'philox4x32-10', seed: 4, size: [8, 9], flip: 0.5 },
  crop: { scale: [0.3, 1], ratio: [0.75, 1.25] },
  mix: { kind: 'cutmix', alpha: 1, probability: 0.6 },
};

describe('labels of a file', () => {
  test.each([
    ['without views', null],
    ['with CutMix', augmentation],
    ['with mixup', { ...augmentation, mix: { kind: 'mixup', alpha: 0.7, probability: 0.7 } }],
  ] as const)('%s are changed by the classes that a view shows', async (_, views) => {
    const out = temporary.path(`plain-${made++}`);
    await packLogits({
      ...{ source: memoryLabelSource(logits, shape), out, codec: { name: 'none' }, tau: 2 },
      ...{ labels: 'logits', augmentation: views, filter: { ...ferkd, targets } },
    });
    const sizes = { count: 12, sizeOf: () => [20, 20] as const };
    let changed = 0;
    await expectLabels(out, (epoch, i) => {
      const ids = Uint32Array.of(i);
      const drawn = views === null ? undefined : new Augmenter(views, sizes).batch(epoch, ids);
      const share = drawn?.lambda[0] ?? 1;
      const partner = share < 1 ? (drawn?.partner[0] ?? i) : i;
      const own = logitsAt(epoch, i);
      const expected = adapted(own, targets[i], targets[partner], share);
      changed += expected === own ? 0 : 1;
      return expected;
    });
    expect(changed).toBeGreaterThan(5);
    expect(changed).toBeLessThan(48);
    await using archive = await openArchive(out);
    expect(archive.manifest.request?.filter).toMatchObject(ferkd);
  });

  test('a rerun with another filter is another archive', async () => {
    const out = temporary.path('rerun');
    const options: PackOptions = {
      ...{ source: memoryLabelSource(logits, shape), out, labels: 'logits' },
      ...{ codec: { name: 'scalar', levels: 16 }, acceptFinished: true },
    };
    const first = await packLogits({ ...options, filter: { ...ferkd, targets } });
    expect(await packLogits({ ...options, filter: { ...ferkd, targets } })).toEqual(first);
    const others = { ...ferkd, smoothing: 0.3, targets };
    await expect(packLogits({ ...options, filter: others })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
  });

  test.each([
    [{ ...ferkd, targets: targets.subarray(1) }, 'filter.targets', '11 classes'],
    [{ ...ferkd, targets: targets.map(() => 5) }, 'filter.targets', 'class 5 of image 0'],
    [{ ...ferkd, threshold: 2, targets }, 'filter.threshold', 2],
    [{ ...ferkd, name: 'fkd' as 'ferkd', targets }, 'filter.name', 'fkd'],
  ])('%o is refused before any work', async (filter, field, found) => {
    const packing = packLogits({
      ...{ source: memoryLabelSource(logits, shape), codec: { name: 'none' }, filter },
      ...{ labels: 'logits', out: temporary.path('refused') },
    });
    await expect(packing).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field, found });
  });
});

describe('an imported archive', () => {
  interface Batch {
    readonly ids: readonly number[];
    readonly mix_index: readonly number[];
    readonly mix_bbox: readonly [number, number, number, number];
    readonly logits: readonly (readonly number[])[];
  }

  /** Two images per class, views of 12 x 12 pixels. */
  const adaptedOf = (
    { ids, mix_index, mix_bbox: [t, l, b, r], logits: rows }: Batch,
    i: number,
  ) => {
    const share = 1 - ((b - t) * (r - l)) / 144;
    const partner = share < 1 ? ids[mix_index[i]] : ids[i];
    return adapted(rows[i], ids[i] >> 1, partner >> 1, share);
  };

  test.each(['sre2l-cutmix', 'lpld'])('%s: by the recorded views', async (name) => {
    const source = temporary.path(`imported-${name}`);
    const images = sample('images');
    await importLabels({ source: sample(name), images, size: [12, 12], out: source });
    const out = temporary.path(`filtered-${name}`);
    // Five folders for seven classes: classes by number must be given.
    const classes = Uint32Array.from({ length: 10 }, (_, i) => i >> 1);
    const filter = { ...ferkd, targets: classes };
    await packLogits({ source, out, codec: { name: 'none' }, filter });
    const batches: (Batch & { epoch: number })[] = expectedOf(name).batches;
    if (name === 'lpld') {
      await expectLabels(out, (row, i) => adaptedOf(batches[row], i));
      return;
    }
    await expectLabels(out, (epoch, id) => {
      const batch = batches.find((one) => one.epoch === epoch && one.ids.includes(id));
      if (batch === undefined) throw new Error(`no label of ${id}`);
      return adaptedOf(batch, batch.ids.indexOf(id));
    });
    await using archive = await openArchive(out);
    await using original = await openArchive(source);
    const [row, before] = [await archive.readRow(0, 'crop'), await original.readRow(0, 'crop')];
    expect(row).toEqual(before);
  });

  test('needs images of as many classes, and those of its labels', async () => {
    const source = temporary.path('few-folders');
    const images = sample('images');
    await importLabels({ source: sample('lpld'), images, size: [12, 12], out: source });
    const pack = (path: string) =>
      packLogits({
        ...{ source, codec: { name: 'none' }, filter: { ...ferkd, targets: path } },
        out: temporary.path('never'),
      });
    await expect(pack(images)).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field: 'filter', found: images },
    });
    const others = temporary.path('other-images');
    await mkdir(others);
    const square = { create: { width: 4, height: 4, channels: 3, background: 'red' } } as const;
    await sharp(square).toFile(join(others, 'one.png'));
    await expect(pack(others)).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field: 'filter.targets' },
    });
  });
});

describe('a teacher', () => {
  const model = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
  const description = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
  const images = temporary.path('teacher-images');
  const ready = (async () => {
    for (const [c, name] of ['a', 'b', 'c', 'd', 'e'].entries()) {
      await mkdir(join(images, name), { recursive: true });
      for (let i = 0; i < 2; i++) {
        const background = { r: 50 * c, g: 255 - 40 * c, b: 90 * i };
        const create = { width: 12, height: 11, channels: 3, background } as const;
        await sharp({ create }).toFile(join(images, name, `${i}.png`));
      }
    }
  })();
  const cache = async (out: string, change: object = {}) => {
    await ready;
    const options = { teacher: model, description, images, epochs: 3, tau: 2, workers: 1 };
    return cacheLabels({ ...options, out: temporary.path(out), ...change });
  };
  const codec = { name: 'topk', k: 5, values: 'logits' } as const;

  test('labels are changed as they are made, and in two passes, by the folders', async () => {
    await cache('full', { augmentation: { mix: { kind: 'none' } } });
    const filter = { ...ferkd, threshold: 0.3 };
    await using full = await openArchive(temporary.path('full'));
    const rows = await Promise.all([0, 1, 2].map((epoch) => full.readRow(epoch)));
    const known = rows.map((row) => {
      const values = new Float32Array(50);
      float16ToFloat32(new Uint16Array(row.slice().buffer), values);
      return values;
    });
    let changed = 0;
    for (const passes of [1, 2] as const) {
      const views = { augmentation: { mix: { kind: 'none' } } };
      await cache(`pass-${passes}`, { ...views, codec, filter, passes });
      await expectLabels(temporary.path(`pass-${passes}`), (epoch, i) => {
        const own = [...known[epoch].subarray(5 * i, 5 * i + 5)];
        const p = softmax(own, 1)[i >> 1];
        if (p >= 0.3) return own;
        changed += 1;
        return own.map((_, c) => Math.log(c === i >> 1 ? 0.8 : 0.05));
      });
    }
    expect(changed).toBeGreaterThan(10);
    expect(changed).toBeLessThan(60);
    const checking = verifyLabels(temporary.path('pass-1'), {
      teacher: model,
      description,
      images,
    });
    await expect(checking).rejects.toMatchObject({
      ...{ code: 'UNSUPPORTED', field: 'manifest.json: request.filter' },
    });
  });

  test('without a codec, or without classes, the filter is refused', async () => {
    await expect(cache('no-codec', { filter: ferkd })).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field: 'filter', found: 'ferkd' },
    });
    const flat = join(images, 'a');
    await expect(cache('no-classes', { filter: ferkd, codec, images: flat })).rejects.toMatchObject(
      { code: 'INVALID_ARGUMENT', field: 'filter', found: flat },
    );
  });
});
