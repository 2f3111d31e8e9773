import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { appendArchive } from '#src/archive/append.js';
import { type LabelArchive, openArchive as openStored } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinImages } from '#src/images/joined.js';
import type { memoryImages } from '#src/images/memory.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { createLoader } from '#src/loader/loader.js';
import { appendLabels } from '#src/pipeline/append.js';
import { copyArchive } from '#src/pipeline/copy.js';
import { diffArchives } from '#src/pipeline/diff.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import type { PackOptions } from '#src/pipeline/pack-options.js';
import { repairArchive } from '#src/pipeline/repair.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { dataOffset, readTree } from '../archive/fixture.js';
import { softpack } from '../cli/softpack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { recordedArchive } from './recorded-archive.js';

const directory = await temporaryDirectory();
const CLASSES = 5;
let made = 0;
const fresh = () => directory.path(`archive-${made++}`);

/** Logits of samples [from, to) of the first epochs: rectangles of one large table. */
function logitsOf(epochs: number, [from, to]: readonly [number, number], first = 0) {
  const width = 64;
  const table = syntheticLogits(8 * width, CLASSES);
  const rows = Array.from({ length: epochs }, (_, e) => {
    const at = (first + e) * width;
    return table.subarray((at + from) * CLASSES, (at + to) * CLASSES);
  });
  return Float32Array.from(rows.flatMap((row) => [...row]));
}

function sourceOf(epochs: number, range: readonly [number, number], first = 0) {
  const shape = { epochs, samples: range[1] - range[0], classes: CLASSES };
  return memoryLabelSource(logitsOf(epochs, range, first), shape);
}

async function archive(
  epochs: number,
  range: readonly [number, number],
  change: Partial<PackOptions> = {},
  first = 0,
): Promise<string> {
  const out = fresh();
  const source = sourceOf(epochs, range, first);
  await packLogits({ source, out, codec: { name: 'none' }, ...change });
  return out;
}

async function row(from: string | LabelArchive, epoch: number, ids?: readonly number[]) {
  await using opened = typeof from === 'string' ? await openArchive(from) : undefined;
  const own = opened ?? (from as LabelArchive);
  const all = ids ?? Array.from({ length: own.samples }, (_, i) => i);
  return [...(await own.labels(epoch, Uint32Array.from(all)))];
}

describe('appendArchive of samples', () => {
  test('gives the labels of one archive of all: samples after epochs, epochs after samples', async () => {
    const path = await archive(2, [0, 13]);
    await appendArchive(path, await archive(2, [0, 13], {}, 2));
    const before = await readTree(path);
    await using reader = await openArchive(path);
    const old = await row(reader, 3);
    await appendArchive(path, await archive(4, [13, 20]), { add: 'samples' });
    // Of one archive of two parts in both directions.
    const more = await archive(1, [20, 33]);
    await appendArchive(more, await archive(3, [20, 33], {}, 1));
    await appendArchive(path, more, { add: 'samples' });
    await appendArchive(path, await archive(2, [0, 33], {}, 4));
    await using opened = await openArchive(path);
    expect([opened.epochs, opened.samples, opened.parts.length]).toEqual([6, 33, 6]);
    const whole = await archive(6, [0, 33]);
    for (let epoch = 0; epoch < 6; epoch++) {
      expect(await row(opened, epoch)).toEqual(await row(whole, epoch));
    }
    const ids = [32, 0, 19, 13, 12, 20, 20, 5];
    expect(await row(opened, 1, ids)).toEqual(await row(whole, 1, ids));
    // Who had it open goes on; nothing that was there changed.
    expect(reader.samples).toBe(13);
    expect(await row(reader, 3)).toEqual(old);
    const after = await readTree(path);
    for (const [name, bytes] of before) {
      if (name !== 'manifest.json') expect(after.get(name)).toBe(bytes);
    }
    expect(opened.manifest.features.required).toEqual(['parts', 'sample-parts']);
    expect((await verifyArchive(path)).damage).toEqual([]);
    expect(await diffArchives(path, whole)).toMatchObject({
      labels: { kind: 'decoded', divergence: { kl: 0, top1: 1 } },
    });
    // Codes of one part are read, of several not.
    expect((await opened.readCodes(0, { start: 14, count: 3 })).first).toBe(14);
    for (const read of [opened.readCodes(0, { start: 12, count: 2 }), opened.readRow(0)]) {
      await expect(read).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    }
    expect(opened.partOf(0, 12)).toMatchObject({ index: 0, samples: [0, 13] });
    expect(opened.partOf(3, 13)).toMatchObject({ index: 2, epoch: 3, samples: [13, 20] });
    expect(opened.fileOf(3, 14)).toContain('part-00002');
    for (const sample of [-1, 33, 0.5]) {
      expect(() => opened.partOf(0, sample)).toThrow(expect.objectContaining({ field: 'sample' }));
    }
    await expect(row(opened, 0, [33])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    // Packed again into one, the labels are the same but for rounding twice.
    const again = fresh();
    await packLogits({ source: path, out: again, codec: { name: 'none' } });
    const { labels } = await diffArchives(again, whole);
    expect(labels.kind === 'decoded' ? labels.divergence.kl : 0).toBeLessThan(1e-6);
    await using one = await openArchive(again);
    expect([one.parts.length, one.samples, one.epochs]).toEqual([1, 33, 6]);
  });

  test('of several codecs, loaded in batches', async () => {
    const codec = { name: 'vqae', dh: 4, dc: 2, k: 4 } as const;
    const path = await archive(2, [0, 13], { codec, tau: 6, training: { steps: 2 } });
    const parts = [
      path,
      await archive(2, [13, 30], { codec: { name: 'topk', k: 2 }, tau: 6 }),
      await archive(2, [30, 37], { codec: { name: 'transform', rate: 80, bases: true }, tau: 6 }),
      await archive(2, [37, 40], { tau: 6 }),
    ];
    const rows = await Promise.all(
      [0, 1].map(async (epoch) => (await Promise.all(parts.map((one) => row(one, epoch)))).flat()),
    );
    for (const part of parts.slice(1)) await appendArchive(path, part, { add: 'samples' });
    await using opened = await openArchive(path);
    for (const workers of [0, 1]) {
      await using loader = createLoader({ archive: opened, batchSize: 11, workers, seed: 3 });
      let batches = 0;
      for await (const { epoch, sampleIds, ys, tau } of loader) {
        const wanted = [...sampleIds].flatMap((id) =>
          rows[epoch].slice(id * CLASSES, (id + 1) * CLASSES),
        );
        expect([...ys]).toEqual(wanted);
        expect(tau).toBe(6);
        batches++;
      }
      expect(batches).toBe(8);
    }
    const codes = () => createLoader({ archive: opened, batchSize: 4, labels: 'codes' });
    expect(codes).toThrow(expect.objectContaining({ code: 'UNSUPPORTED', field: 'labels' }));
  });

  const drawn = {
    ...{ generator: 'philox4x32-10', seed: 1, size: [6, 6], flip: 0.5 },
    ...{ crop: { scale: [0.3, 1], ratio: [3 / 4, 4 / 3] }, mix: { kind: 'none' } },
  };
  test.each<[string, Partial<PackOptions>, Partial<PackOptions>, object]>([
    [
      'drawn views',
      { augmentation: drawn },
      {},
      { code: 'UNSUPPORTED', field: 'augmentation.generator' },
    ],
    [
      'drawn views',
      {},
      { augmentation: drawn },
      { code: 'UNSUPPORTED', field: 'augmentation.generator' },
    ],
    [
      'other temperatures',
      { codec: { name: 'topk', k: 2 } },
      { tau: 3 },
      { code: 'INVALID_ARGUMENT' },
    ],
    [
      'other schedules',
      { tauSchedule: [5, 4] },
      { tauSchedule: [5, 3] },
      { code: 'INVALID_ARGUMENT' },
    ],
    ['another teacher', {}, { teacher: { name: 'b' } }, { code: 'INVALID_ARGUMENT' }],
    ['batches', {}, { prune: { ratio: 2, batchSize: 4 } }, { code: 'UNSUPPORTED' }],
  ])('refuses labels of %s', async (_, own, other, error) => {
    const path = await archive(2, [0, 8], own);
    const before = await readTree(path);
    const more = await archive(2, [8, 16], other);
    await expect(appendArchive(path, more, { add: 'samples' })).rejects.toMatchObject(error);
    expect(await readTree(path)).toEqual(before);
  });

  test('refuses other epochs, and says that samples are no epochs', async () => {
    const path = await archive(2, [0, 8]);
    await expect(
      appendArchive(path, await archive(1, [8, 16]), { add: 'samples' }),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: expect.stringContaining(': epochs'),
      found: 1,
    });
    await expect(appendArchive(path, await archive(2, [8, 15]))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: expect.stringContaining(': samples'),
      found: 7,
    });
    const add = 'classes' as 'samples';
    await expect(appendArchive(path, path, { add })).rejects.toMatchObject({ field: 'add' });
  });

  test('damage is told by samples of the archive, and repaired of a copy', async () => {
    const path = await archive(2, [0, 8]);
    await appendArchive(path, await archive(2, [8, 20]), { add: 'samples' });
    const copy = fresh();
    const { id, files } = await copyArchive(path, copy);
    await using opened = await openArchive(copy);
    expect(opened.id).toBe(id);
    expect(files).toBe(8);
    const file = join(path, 'part-00001', 'codes-00000.safetensors');
    const good = await readFile(file);
    const bad = Buffer.from(good);
    bad[dataOffset(bad)] ^= 1;
    await writeFile(file, bad);
    expect((await verifyArchive(path)).damage).toMatchObject([
      {
        file: 'part-00001/codes-00000.safetensors',
        block: 0,
        labels: [{ column: 'codes', epochs: [0, 2], samples: [8, 20] }],
      },
    ]);
    await expect(row(path, 0, [9])).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
    expect(await row(path, 0, [7])).toHaveLength(CLASSES);
    await repairArchive(path, copy);
    expect(await readFile(file)).toEqual(good);
    await writeFile(join(path, 'part-00001', 'manifest.json'), '{}');
    expect((await verifyArchive(path)).damage).toMatchObject([
      { labels: [{ epochs: [0, 2], samples: [8, 20] }] },
    ]);
  });

  test('by the command line, and what it tells of the archive', async () => {
    const path = await archive(2, [0, 8]);
    const more = await archive(2, [8, 20]);
    expect(await softpack(['append', path, more, '--samples'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('2 epochs x 20 samples in 2 parts'),
    });
    const logits = directory.path('more.npy');
    const values = logitsOf(2, [20, 24]);
    const head = `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4, ${CLASSES}), }`;
    const padded = `${head.padEnd(117)}\n`;
    const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, padded.length, 0]);
    await writeFile(
      logits,
      Buffer.concat([prefix, Buffer.from(padded), Buffer.from(values.buffer)]),
    );
    expect(await softpack(['append', path, logits, '--samples'])).toMatchObject({ code: 0 });
    const shown = await softpack(['inspect', path]);
    expect(shown.out).toContain('2 epochs x 24 samples = 48');
    expect(shown.out).toMatch(/part-00002 +epochs 0 to 1, samples 20 to 23, none/);
    const facts = JSON.parse((await softpack(['inspect', path, '--json'])).out);
    expect(facts).toMatchObject({ labels: 48, samples: 24, parts: [{ samples: [8, 20] }, {}] });
  });
});

describe('appendLabels of samples', () => {
  test.each<PackOptions['codec']>([
    { name: 'none' },
    { name: 'topk', k: 4 },
    { name: 'pca', k: 3 },
    { name: 'scalar', levels: 16 },
  ])('encodes with the codec that is there: %j', async (codec) => {
    const path = await archive(3, [0, 13], { codec, tau: 6 });
    await appendLabels({ archive: path, source: sourceOf(3, [13, 20]), add: 'samples' });
    await using opened = await openArchive(path);
    const [own, part] = opened.parts;
    expect(part.codecParts).toEqual(own.codecParts);
    // As the codec encodes any labels: those of the first samples again, as new ones.
    await appendLabels({ archive: path, source: sourceOf(3, [0, 13]), add: 'samples' });
    await using again = await openArchive(path);
    const ids = Array.from({ length: 13 }, (_, i) => i);
    const shifted = ids.map((id) => 20 + id);
    expect(await row(again, 2, shifted)).toEqual(await row(again, 2, ids));
  });

  test('takes the temperatures of the archive, and as many epochs as it stores', async () => {
    const tauSchedule = [9, 3];
    const path = await archive(6, [0, 13], { tauSchedule, keep: 2 });
    const source = sourceOf(2, [13, 20]);
    await appendLabels({ archive: path, source, add: 'samples' });
    await using opened = await openArchive(path);
    expect([opened.epochs, opened.samples]).toEqual([6, 20]);
    expect(opened.parts[1].manifest).toMatchObject({ epochs: 6, storedEpochs: 2 });
    const whole = await archive(6, [0, 20], { tauSchedule, keep: 2 });
    for (let epoch = 0; epoch < 6; epoch++) {
      expect(await row(opened, epoch)).toEqual(await row(whole, epoch));
    }
    const wrong = (change: object) =>
      appendLabels({ archive: path, source, add: 'samples', ...change });
    await expect(wrong({ tau: 3 })).rejects.toMatchObject({ field: 'tau' });
    await expect(wrong({ tauSchedule })).rejects.toMatchObject({ field: 'tauSchedule' });
    await expect(wrong({ codec: { name: 'topk', k: 2 } })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'tauSchedule',
    });
    await expect(wrong({ source: sourceOf(3, [13, 20]) })).rejects.toMatchObject({
      field: 'source: epochs',
      expected: 6,
    });
  });

  test('side data of samples need a codec of their own', async () => {
    const codec = { name: 'transform', rate: 30, bases: true } as const;
    const path = await archive(3, [0, 24], { codec });
    const more = { archive: path, source: sourceOf(3, [24, 40]), add: 'samples' } as const;
    await expect(appendLabels(more)).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'codec' });
    await appendLabels({ ...more, codec });
    await using opened = await openArchive(path);
    expect(await row(opened, 2)).toHaveLength(40 * CLASSES);
  });

  test('an interrupted run is resumed to the same bytes', async () => {
    const options = { source: sourceOf(3, [13, 20]), add: 'samples' } as const;
    const whole = await archive(3, [0, 13]);
    const broken = fresh();
    await cp(whole, broken, { recursive: true });
    await appendLabels({ ...options, archive: whole });
    const controller = new AbortController();
    const stopped = appendLabels({
      ...{ ...options, archive: broken, signal: controller.signal },
      onProgress: ({ phase }) => phase === 'encode' && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    await using opened = await openArchive(broken);
    expect(opened.samples).toBe(13);
    await appendLabels({ ...options, archive: broken });
    expect(await readTree(broken)).toEqual(await readTree(whole));
  });
});

describe('recorded views', () => {
  const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;

  const recorded = (samples: number, seed: number, images?: ArchiveSpec['images']) =>
    recordedArchive(fresh(), { samples, seed, images });

  async function imagesOf(
    archive: LabelArchive,
    images: ReturnType<typeof joinImages> | ReturnType<typeof memoryImages>,
  ): Promise<Map<string, Float32Array>> {
    await using loader = createLoader({ archive, images, normalisation, batchSize: 7, workers: 0 });
    const found = new Map<string, Float32Array>();
    for await (const { epoch, sampleIds, xs } of loader) {
      const each = xs.length / sampleIds.length;
      for (const [i, id] of sampleIds.entries()) {
        found.set(`${epoch}:${id}`, xs.slice(i * each, (i + 1) * each));
      }
    }
    return found;
  }

  test('are those of the samples that they were recorded with', async () => {
    const [a, b] = [await recorded(9, 0), await recorded(5, 100)];
    const wanted = new Map<string, Float32Array>();
    for (const [first, { path, images }] of [
      [0, a],
      [9, b],
    ] as const) {
      await using own = await openArchive(path);
      for (const [key, xs] of await imagesOf(own, images)) {
        const [epoch, id] = key.split(':').map(Number);
        wanted.set(`${epoch}:${first + id}`, xs);
      }
    }
    await appendArchive(a.path, b.path, { add: 'samples' });
    await using opened = await openArchive(a.path);
    const found = await imagesOf(opened, joinImages([a.images, b.images]));
    expect(new Map([...found].sort())).toEqual(new Map([...wanted].sort()));
    // Rows of a column are those of all samples; partners have the numbers of the archive.
    const partners = new Uint32Array((await opened.readRow(1, 'partner')).buffer);
    expect([...partners]).toEqual([2, 3, 4, 5, 6, 7, 8, 0, 1, 11, 12, 13, 9, 10]);
    const packed = fresh();
    await packLogits({ source: a.path, out: packed, codec: { name: 'topk', k: 2 } });
    await using one = await openArchive(packed);
    expect(one.parts).toHaveLength(1);
    expect(await imagesOf(one, joinImages([a.images, b.images]))).toEqual(found);
  });

  test('refuse images of others, each by the part that knows them', async () => {
    const [a, b] = [
      await recorded(9, 0, { id: 'a', count: 9 }),
      await recorded(5, 100, { id: 'b', count: 5 }),
    ];
    await appendArchive(a.path, b.path, { add: 'samples' });
    await using opened = await openArchive(a.path);
    const named = (one: typeof a, id: string) => ({
      ...{ id, count: one.images.count },
      description: joinImages([one.images]).description,
    });
    const loaderOf = (images: Parameters<typeof imagesOf>[1]) => () =>
      createLoader({ archive: opened, images, normalisation, batchSize: 7 });
    expect(loaderOf(joinImages([named(a, 'a'), named(b, 'b')]))).not.toThrow();
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'images' });
    expect(loaderOf(joinImages([named(a, 'a'), named(b, 'c')]))).toThrow(refused);
    expect(loaderOf(joinImages([named(b, 'b'), named(a, 'a')]))).toThrow(refused);
    expect(loaderOf(a.images)).toThrow(refused);
    const whole = joinImages([a.images, b.images]);
    expect(loaderOf({ ...whole, sections: undefined })).toThrow(refused);
  });

  test('a partner beyond the samples of its part is no sample of another', async () => {
    const [a, b] = [await recorded(9, 0), await recorded(5, 100)];
    await using stored = await openStored(b.path);
    const bad = fresh();
    const { columns, codec: _, ...rest } = stored.manifest;
    const spec = {
      ...{ ...rest, grid: undefined, codec: stored.codecParts, columns: columns.slice(1) },
      ...{ decoding: 'as logits', request: undefined },
    };
    await using writer = await createArchive(bad, spec as ArchiveSpec);
    for (let epoch = 0; epoch < 2; epoch++) {
      const rows = await Promise.all(
        columns.map(async ({ name }) => [name, await stored.readRow(epoch, name)] as const),
      );
      const partner = new Uint8Array(Uint32Array.from([0, 1, 5, 3, 2 ** 32 - 3]).buffer);
      await writer.writeRow(epoch, { ...Object.fromEntries(rows), partner });
    }
    await writer.finish();
    await appendArchive(a.path, bad, { add: 'samples' });
    await using opened = await openArchive(a.path);
    await expect(opened.readRow(0, 'partner')).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('column partner: sample 2'),
    });
  });
});
