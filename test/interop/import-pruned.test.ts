import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import type { Augmentations } from '#src/augment/record.js';
import { renderViews } from '#src/augment/replay.js';
import { PIL_RENDERING } from '#src/augment/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import { float16ToFloat32 } from '#src/core/half.js';
import { openImages } from '#src/images/open.js';
import { openImageReader } from '#src/images/reader.js';
import { type ImportOptions, importLabels } from '#src/interop/import.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { temporaryDirectory } from '../temporary.js';
import { expectedOf, sample } from './fixture.js';

const temporary = await temporaryDirectory();
const [CLASSES, SIDE, BATCH] = [7, 20, 4];
const NORMALISATION = { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] } as const;
let made = 0;

async function imported(source: string, options: Partial<ImportOptions> = {}) {
  const out = temporary.path(`archive-${made++}`);
  const images = sample('images');
  const given = { source, images, classes: CLASSES, size: [12, 12], out } as const;
  return { result: await importLabels({ ...given, ...options }), out };
}

interface Batch {
  readonly ids: readonly number[];
  readonly coords: readonly (readonly number[])[];
  readonly flip: readonly boolean[];
  readonly mix_index: readonly number[];
  readonly mix_bbox: readonly [number, number, number, number];
  readonly logits?: readonly (readonly number[])[];
  readonly values?: readonly (readonly number[])[];
  readonly classes?: readonly (readonly number[])[];
}

const batchesOf = (name: string): readonly Batch[] => expectedOf(name).batches;

/** Logits of a label of a batch as the files hold it. */
function logitsOf({ logits, values, classes }: Batch, i: number): readonly number[] {
  if (logits !== undefined) return logits[i];
  const all = Array(CLASSES).fill(-65504);
  for (const [j, c] of (classes?.[i] ?? []).entries()) all[c] = values?.[i][j];
  return all;
}

/** Views of a batch from the known values alone, by position. */
function viewsOf({ coords, flip, mix_index, mix_bbox }: Batch): Augmentations {
  const [top, left, bottom, right] = mix_bbox;
  const box = [top, left, bottom - top, right - left] as const;
  return {
    size: [12, 12],
    rendering: PIL_RENDERING,
    cropOf: (_, i) => {
      const [t, l, h, w] = coords[i].map((share) => Math.round(share * SIDE));
      return [t, l, h, w];
    },
    flip: (_, i) => (flip[i] ? 1 : 0),
    mix: (_, i) =>
      box[2] * box[3] === 0
        ? { partner: i, box: [0, 0, 0, 0], weight: 1 }
        : { partner: mix_index[i], box, weight: 1 },
  };
}

async function renderedOf(batch: Batch): Promise<Float32Array> {
  const { description } = await openImages(sample('images'));
  using reader = await openImageReader(description);
  const pixels = await reader.read(Uint32Array.from(batch.ids));
  const own = {
    count: BATCH,
    sizeOf: (i: number) => pixels.sizeOf(batch.ids[i]),
    pixels: (i: number) => pixels.pixels(batch.ids[i]),
  };
  const xs = new Float32Array(BATCH * 12 * 12 * 3);
  renderViews(viewsOf(batch), own, 0, { start: 0, count: BATCH }, NORMALISATION, xs);
  return xs;
}

function softmax(logits: readonly number[], tau: number): number[] {
  const e = logits.map((z) => Math.exp((z - Math.max(...logits)) / tau));
  return e.map((x) => x / e.reduce((a, b) => a + b, 0));
}

describe.each(['lpld', 'lpqld', 'lpqld-full'])('%s: rows are batches of listed images', (name) => {
  const batches = batchesOf(name);

  test('labels and images are the known ones, bit by bit', async () => {
    const { result, out } = await imported(sample(name));
    expect(result).toMatchObject({
      ...{ labels: 16, epochs: 2, images: 10, batches: { count: 4, size: BATCH } },
      ...{ views: 'recorded', agreement: { share: 1 } },
    });
    await using archive = await openArchive(out);
    expect(archive.manifest).toMatchObject({
      ...{ epochs: 4, samples: BATCH, pruning: { samples: 10, epochs: 2 } },
      features: { required: ['pruned', 'listed', 'rendering'] },
    });
    for (const [row, batch] of batches.entries()) {
      const ids = await archive.readRow(row, 'sample');
      expect([...new Uint32Array(ids.slice().buffer)]).toEqual(batch.ids);
      const codes = await archive.readRow(row);
      const values = new Float32Array(BATCH * CLASSES);
      float16ToFloat32(new Uint16Array(codes.slice().buffer), values);
      expect([...values]).toEqual(batch.ids.flatMap((_, i) => logitsOf(batch, i)));
    }
  });

  test('training draws them with the views that they were made of, packed or not', async () => {
    const { out } = await imported(sample(name), { epochs: 20 });
    const packed = `${out}-packed`;
    const codec = { name: 'topk', k: 7, values: 'logits' } as const;
    const { ratio, labels } = await packLogits({ source: out, out: packed, codec });
    expect(labels).toBe(200);
    expect(ratio.codes).toBeCloseTo((2 * 200 * CLASSES) / (4 * Math.ceil((BATCH * 7 * 19) / 8)), 6);
    const images = await openImages(sample('images'));
    const expected = await Promise.all(batches.map(renderedOf));
    const { out: pixels } = await imported(sample(name), { epochs: 20, crops: 'pixels' });
    for (const path of [out, packed, pixels]) {
      await using archive = await openArchive(path);
      const drawn = new Set<number>();
      let count = 0;
      for await (const batch of prunedBatches({ archive, images, normalisation: NORMALISATION })) {
        const known = batches[batch.row];
        expect([...batch.sampleIds]).toEqual(known.ids);
        expect(batch.xs).toEqual(expected[batch.row]);
        const labels = known.ids.flatMap((_, i) => softmax(logitsOf(known, i), 20));
        for (const [i, p] of batch.ys.entries()) expect(Math.abs(p - labels[i])).toBeLessThan(2e-3);
        drawn.add(batch.row);
        count += 1;
      }
      expect(count).toBe(40);
      expect(drawn.size).toBe(4);
    }
  });
});

test.each([
  ['lpld-21k', 2],
  ['lpqld-randaug', 4],
])('%s: labels of views that cannot be rendered come alone, by name', async (name, count) => {
  await expect(imported(sample(name))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  const { result, out } = await imported(sample(name), { views: false });
  expect(result).toMatchObject({ views: 'none', batches: { count, size: BATCH } });
  await using archive = await openArchive(out);
  for (const [row, batch] of batchesOf(name).entries()) {
    const ids = await archive.readRow(row, 'sample');
    expect([...new Uint32Array(ids.slice().buffer)]).toEqual(batch.ids);
    const values = new Float32Array(BATCH * CLASSES);
    float16ToFloat32(new Uint16Array((await archive.readRow(row)).slice().buffer), values);
    expect([...values]).toEqual(batch.ids.flatMap((_, i) => logitsOf(batch, i)));
  }
});

test('labels of single positions are those of their row', async () => {
  const { out } = await imported(sample('lpld'));
  await using archive = await openArchive(out);
  const [, batch] = batchesOf('lpld');
  const labels = await archive.labels(1, Uint32Array.of(2, 0));
  const expected = [2, 0].flatMap((i) => softmax(logitsOf(batch, i), 20));
  for (const [i, p] of labels.entries()) expect(Math.abs(p - expected[i])).toBeLessThan(1e-6);
  expect(() => createLoader({ archive, batchSize: 2 })).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', expected: 'prunedBatches, which draws them' }),
  );
});

test('more epochs than the batches make up may be asked for, fewer are refused', async () => {
  await expect(imported(sample('lpld'), { epochs: 1 })).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'epochs', expected: '2 or more', found: 1 },
  });
  await expect(imported(sample('sre2l-plain'), { epochs: 3 })).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'epochs' },
  });
});

test('codecs of labels per sample, pruning and keep are refused for rows that are batches', async () => {
  const { out: source } = await imported(sample('lpld'));
  const pack = (options: object) =>
    packLogits({ source, out: temporary.path('refused'), codec: { name: 'none' }, ...options });
  const groups = Uint32Array.of(0, 0, 1, 1);
  await expect(pack({ codec: { name: 'mean', groups } })).rejects.toMatchObject({
    ...{ code: 'UNSUPPORTED', field: 'codec' },
  });
  await expect(pack({ keep: 2 })).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'keep', expected: 'nothing' },
  });
  await expect(pack({ prune: { ratio: 2, batchSize: 2 } })).rejects.toMatchObject({
    ...{ code: 'UNSUPPORTED', field: 'prune' },
  });
});

test('batches of several sizes that are not epochs are refused', async () => {
  const source = temporary.path('several-sizes');
  await cp(sample('lpqld'), source, { recursive: true });
  const index = join(source, 'sampler_indices_batch.json');
  const lists = JSON.parse(await readFile(index, 'utf8'));
  await writeFile(index, JSON.stringify({ ...lists, 3: [0, 3, 1] }));
  await expect(imported(source)).rejects.toMatchObject({
    ...{ code: 'UNSUPPORTED', field: `${index}: batch 3`, found: '3 images' },
  });
});

describe('an archive of listed rows', () => {
  const codec = new NoneCodec({ classes: 3, tau: 1, store: 'logits' });
  const spec = {
    ...{ classes: 3, samples: 2, epochs: 1, tau: 1, codec: codec.parts(), layout: codec.layout },
    ...{ decoding: codec.decoding, augmentation: null, pruning: { samples: 5, epochs: 1 } },
  };

  test('needs a column of them, or a seed', async () => {
    for (const columns of [[], [{ name: 'sample', dtype: 'U16', rowBytes: 8 } as const]]) {
      const creating = createArchive(temporary.path('no-list'), { ...spec, columns });
      await expect(creating).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        expected: 'sample, U32, 8 bytes per row, or a seed in pruning',
      });
    }
  });

  test('names the row and position of an image that does not exist', async () => {
    const out = temporary.path('no-such-image');
    const columns = [{ name: 'sample', dtype: 'U32', rowBytes: 8 } as const];
    await using writer = await createArchive(out, { ...spec, columns });
    const sample = new Uint8Array(Uint32Array.of(4, 5).buffer);
    await writer.writeRow(0, { codes: new Uint8Array(12), sample });
    await writer.finish();
    await using archive = await openArchive(out);
    await expect(prunedBatches({ archive }).next()).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringMatching(/codes-00000.safetensors: column sample: row 0, position 1$/),
      ...{ expected: 'below 5', found: 5 },
    });
  });
});
