import { afterAll, describe, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import { type RecordedKinds, recordedColumns } from '#src/augment/recorded.js';
import type { MixSpec } from '#src/augment/spec.js';
import { imageFolder } from '#src/images/folder.js';
import { memoryImages } from '#src/images/memory.js';
import { openImages } from '#src/images/open.js';
import { packImages } from '#src/images/packed/pack.js';
import { openImagesOf } from '#src/loader/images-of.js';
import { createLoader } from '#src/loader/loader.js';
import { samplePixels, writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import {
  augmentation,
  collect as collectAll,
  digest,
  images,
  normalisation,
  SAMPLES,
  trainCodec,
  writeArchive,
} from './fixture.js';

const temporary = await temporaryDirectory();
const codec = await trainCodec();
const archive = await writeArchive(temporary.path('vqae'), codec);
afterAll(() => archive.close());
const common = { normalisation, batchSize: 8, seed: 3 };
const collect = (change: object) => collectAll({ archive, ...common, workers: 0, ...change });

describe('images', () => {
  test('are the same from memory, a folder, a list and packed pixels, by any threads', async () => {
    const [height, width] = [10, 9];
    const folder = temporary.path('folder');
    const pixels = new Uint8Array(SAMPLES * height * width * 3);
    const lines: string[] = [];
    for (let i = 0; i < SAMPLES; i++) {
      const name = `${i % 2 === 0 ? 'a' : 'b'}/${String(i).padStart(3, '0')}.png`;
      await writeImage(folder, name, i, [height, width]);
      lines.push(name);
    }
    for (const [i, name] of lines.sort().entries()) {
      const seed = Number(name.slice(2, 5));
      pixels.set(samplePixels(seed, height, width), i * height * width * 3);
    }
    const list = await temporary.file('list.txt', lines.join('\n'));
    const expected = digest(await collect({ images: memoryImages(pixels, height, width) }));
    await packImages({
      images: await imageFolder(folder),
      out: temporary.path('raw'),
      shardBytes: 3000,
    });
    const { imageList } = await import('#src/images/image-list.js');
    const sources = [
      await imageFolder(folder),
      await imageList(list, { root: folder }),
      await openImages(temporary.path('raw')),
    ];
    for (const source of sources) {
      for (const workers of [0, 2]) {
        expect(digest(await collect({ images: source, workers }))).toBe(expected);
      }
    }
  });

  test('of different sizes, as JPEG files and packed as they are, are the same', async () => {
    const folder = temporary.path('jpeg');
    for (let i = 0; i < SAMPLES; i++) {
      await writeImage(folder, `a/${String(i).padStart(3, '0')}.jpg`, i, [
        9 + (i % 4),
        12 - (i % 3),
      ]);
    }
    const files = await imageFolder(folder);
    await packImages({ images: files, out: temporary.path('jpegs'), encoding: 'jpeg' });
    const packed = await openImages(temporary.path('jpegs'));
    expect(packed.id).toBe(files.id);
    const expected = digest(await collect({ images: files }));
    expect(digest(await collect({ images: packed }))).toBe(expected);
    expect(digest(await collect({ images: packed, workers: 2 }))).toBe(expected);
  });

  test('are refused if the labels belong to others, with both ids', async () => {
    const folder = temporary.path('mine');
    for (let i = 0; i < SAMPLES; i++) await writeImage(folder, `a/${i + 10}.png`, i, [9, 9]);
    const fit = { kind: 'short-side', pixels: 8 } as const;
    const mine = await imageFolder(folder, { fit });
    const spec = { images: { id: mine.id, fit } };
    await using labelled = await writeArchive(temporary.path('labelled'), codec, { spec });
    expect(() => createLoader({ archive: labelled, images: mine, ...common })).not.toThrow();
    const whole = await imageFolder(folder);
    expect(() => createLoader({ archive: labelled, images: whole, ...common })).toThrow(
      expect.objectContaining({
        field: 'images',
        expected: expect.stringContaining(mine.id),
        found: expect.stringContaining(whole.id),
      }),
    );
    // Opened for the archive, they are decoded as it says; packed, they keep their id.
    expect((await openImagesOf(labelled, folder)).id).toBe(mine.id);
    await packImages({ images: mine, out: temporary.path('mine-raw') });
    expect((await openImagesOf(labelled, temporary.path('mine-raw'))).id).toBe(mine.id);
    await packImages({ images: mine, out: temporary.path('mine-jpeg'), encoding: 'jpeg' });
    await expect(openImagesOf(labelled, temporary.path('mine-jpeg'))).rejects.toMatchObject({
      field: 'images',
    });
  });
});

describe('recorded views', () => {
  /** The columns that record what softpack's own generator draws. */
  function recording(mix: MixSpec, kinds: RecordedKinds) {
    const augmenter = new Augmenter({ ...augmentation, mix }, images);
    const rows = (epoch: number) => {
      const columns = recordedColumns(SAMPLES, kinds);
      const row = new Map(
        columns.map(({ name, rowBytes }) => [name, new DataView(new ArrayBuffer(rowBytes))]),
      );
      for (let sample = 0; sample < SAMPLES; sample++) {
        const crop = augmenter.crop(epoch, sample);
        const { partner, box, weight } = augmenter.mix(epoch, sample);
        for (let i = 0; i < 4; i++) {
          if (kinds.crop === 'pixels')
            row.get('crop')?.setUint16(8 * sample + 2 * i, crop[i], true);
          else row.get('crop')?.setFloat32(16 * sample + 4 * i, crop[i] / [8, 7][i % 2], true);
          row.get('box')?.setUint16(8 * sample + 2 * i, box[i], true);
        }
        row.get('flip')?.setUint8(sample, augmenter.flip(epoch, sample));
        row.get('partner')?.setUint32(4 * sample, partner, true);
        row.get('weight')?.setFloat32(4 * sample, weight, true);
      }
      return Object.fromEntries(
        [...row].map(([name, view]) => [name, new Uint8Array(view.buffer)]),
      );
    };
    const spec = {
      augmentation: { generator: 'recorded', size: augmentation.size },
      columns: recordedColumns(SAMPLES, kinds),
    };
    return { spec, rows };
  }

  test.each([
    ['pixels', 'cutmix'],
    ['shares', 'cutmix'],
    ['shares', 'mixup'],
    ['pixels', 'both'],
  ] as const)('give what the generator gives: crops in %s, %s', async (crop, mix) => {
    const kind = mix === 'both' ? 'cutmix' : mix;
    const drawn = { kind, alpha: 1, probability: 0.5 } as const;
    const name = `${crop}-${mix}`;
    await using seeded = await writeArchive(temporary.path(`seed-${name}`), codec, {
      spec: { augmentation: { ...augmentation, mix: drawn } },
    });
    const { spec, rows } = recording(drawn, { crop, flip: true, mix });
    await using recorded = await writeArchive(temporary.path(name), codec, { spec, rows });
    const expected = digest(await collect({ archive: seeded, images }));
    for (const workers of [0, 2]) {
      expect(digest(await collect({ archive: recorded, images, workers }))).toBe(expected);
    }
  });

  test('that lead out of the images name column, sample and both values', async () => {
    const kinds = { crop: 'pixels', flip: true, mix: 'cutmix' } as const;
    const { spec, rows } = recording({ kind: 'none' }, kinds);
    const wrong = [
      ['crop', 5 * 8 + 4, 9],
      ['flip', 5, 2],
      ['partner', 5 * 4 + 1, 1],
      ['box', 5 * 8 + 4, 200],
    ] as const;
    for (const [name, at, value] of wrong) {
      const spoiled = (epoch: number) => {
        const row = rows(epoch);
        row[name][at] = value;
        return row;
      };
      const path = temporary.path(`wrong-${name}`);
      await using archive = await writeArchive(path, codec, { spec, rows: spoiled });
      await expect(collect({ archive, images })).rejects.toMatchObject({
        code: 'INVALID_FILE',
        field: `column ${name}: sample 5`,
      });
    }
  });

  test('need their columns', async () => {
    const spec = { augmentation: { generator: 'recorded', size: [6, 5] } };
    await using archive = await writeArchive(temporary.path('none'), codec, { spec });
    expect(() => createLoader({ archive, images, ...common })).toThrow(
      expect.objectContaining({ code: 'INVALID_FILE', found: 'none' }),
    );
  });
});
