import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import type { ImageFit } from '#src/images/decode.js';
import { imagesFingerprint } from '#src/images/fingerprint.js';
import { imageFolder } from '#src/images/folder.js';
import { packImages } from '#src/images/packed/pack.js';
import { openImageReader } from '#src/images/reader.js';
import { loadKernels } from '#src/kernels/load.js';
import { openImagesOf } from '#src/loader/images-of.js';
import { createLoader } from '#src/loader/loader.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { archiveSource } from '#src/pipeline/archive-source.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import type { CacheLabelsOptions, CacheLabelsResult } from '#src/pipeline/cache-options.js';
import { packLogits } from '#src/pipeline/pack.js';
import { TeacherSource } from '#src/pipeline/teacher-source.js';
import { drawTrainingLabels } from '#src/pipeline/training-labels.js';
import { withoutProvenance } from '../archive/fixture.js';
import { samplePixels } from '../images/fixture.js';
import { INSTALL_TIMEOUT, nativeTensorflow } from '../nn/native.js';
import { temporaryDirectory } from '../temporary.js';

/** One network in five files of other tools, of 8 x 8 pixels and 5 classes: test/nn/models. */
const models = fileURLToPath(new URL('../nn/models/', import.meta.url));
const ONNX = join(models, 'onnx-nchw/model.onnx');
const description = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
const FOLDERS = ['ant', 'bee', 'cat', 'dog', 'elk'];
const [EPOCHS, IMAGES, CLASSES] = [3, 15, 5];

const temporary = await temporaryDirectory();
const images = temporary.path('images');
for (const [i, folder] of FOLDERS.entries()) {
  await mkdir(join(images, folder), { recursive: true });
  for (let j = 0; j < 3; j++) {
    const [height, width] = [9 + 4 * j, 11 + 2 * i];
    // A colour of its own for each folder, so that the teacher sees more than one class.
    const base = [60 * (i % 4), 45 * i, 180 - 60 * (i % 3)];
    const pixels = samplePixels(3 * i + j, height, width).map((v, at) => base[at % 3] + v / 4);
    const raw = { height, width, channels: 3 } as const;
    await sharp(pixels, { raw }).toFile(join(images, folder, `${j}.png`));
  }
}

function cache(name: string, change: Partial<CacheLabelsOptions> = {}) {
  const options = { teacher: ONNX, description, images, epochs: EPOCHS, tau: 4, workers: 1 };
  return cacheLabels({ ...options, out: temporary.path(name), ...change });
}

async function logitsOf(name: string): Promise<Float32Array[]> {
  await using archive = await openArchive(temporary.path(name));
  await using source = archiveSource(archive, loadKernels());
  const epochs = Array.from({ length: archive.epochs }, (_, epoch) => epoch);
  return await Promise.all(epochs.map((epoch) => source.read(epoch, 0, archive.samples)));
}

/** Class with the highest logit, epoch by epoch. */
async function topClasses(name: string): Promise<number[]> {
  return (await logitsOf(name)).flatMap((row) =>
    Array.from({ length: IMAGES }, (_, i) => {
      const label = [...row.subarray(i * CLASSES, (i + 1) * CLASSES)];
      return label.indexOf(Math.max(...label));
    }),
  );
}

async function filesOf(name: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(temporary.path(name))).sort();
  const files = names.map(
    async (f) => [f, await readFile(temporary.path(`${name}/${f}`))] as const,
  );
  return new Map(await Promise.all(files));
}

function requireClose(found: readonly Float32Array[], wanted: readonly Float32Array[]): void {
  expect(found.length).toBe(wanted.length);
  for (const [epoch, row] of found.entries()) {
    expect(row).toHaveLength(wanted[epoch].length);
    for (const [i, value] of row.entries()) {
      // Half floats keep 11 bits; the networks differ by float32 sums in another order.
      const bound = Math.abs(wanted[epoch][i]) * 2 ** -10 + 1e-4;
      expect(Math.abs(value - wanted[epoch][i])).toBeLessThan(bound);
    }
  }
}

beforeAll(() => cache('onnx'));

describe('cacheLabels', () => {
  test("keeps the teacher's logits of the views that the archive describes", async () => {
    await using archive = await openArchive(temporary.path('onnx'));
    const { augmentation, teacher: fingerprint, ...rest } = archive.manifest;
    expect(augmentation).toMatchObject({ size: [8, 8], crop: { scale: [0.08, 1] }, flip: 0.5 });
    expect(rest).toMatchObject({ epochs: EPOCHS, samples: IMAGES, tau: 4, classNames: FOLDERS });
    // Made again here, from the manifest and the files alone.
    const fit = { kind: 'short-side', pixels: 16 } as const;
    const source = await imageFolder(images, { fit });
    const content = await imagesFingerprint(source);
    expect(rest.images).toEqual({ id: source.id, count: IMAGES, fit, fingerprint: content });
    using reader = await openImageReader(source.description);
    const pixels = await reader.read(Uint32Array.from({ length: IMAGES }, (_, i) => i));
    const augmenter = new Augmenter(augmentation as unknown as AugmentationSpec, pixels);
    using teacher = await loadTeacher(ONNX, { description });
    expect(fingerprint).toEqual(teacher.fingerprint);
    const wanted: Float32Array[] = [];
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const views = new Float32Array(IMAGES * 8 * 8 * 3);
      const all = { start: 0, count: IMAGES };
      renderViews(augmenter, pixels, epoch, all, teacher.normalisation, views);
      wanted.push(await teacher.logits(views));
    }
    requireClose(await logitsOf('onnx'), wanted);
  });

  let lacking: string | undefined;
  beforeAll(async () => {
    lacking = await nativeTensorflow();
  }, INSTALL_TIMEOUT);

  test.for([
    ['a layers model', 'layers-model', 'wasm'],
    ['a graph model', 'graph-model', 'wasm'],
    ['a SavedModel', 'saved-model', 'tensorflow'],
  ] as const)('gives the same labels by %s', async ([name, folder, backend], context) => {
    if (backend === 'tensorflow' && lacking !== undefined) return context.skip(lacking);
    await cache(name, { teacher: join(models, folder), backend });
    requireClose(await logitsOf(name), await logitsOf('onnx'));
  });

  test('does not depend on batches, threads or how images are kept', async () => {
    await cache('pairs', { batch: 2, workers: 2 });
    requireClose(await logitsOf('pairs'), await logitsOf('onnx'));
    const fit = { kind: 'short-side', pixels: 16 } as const;
    const packed = temporary.path('packed-images');
    await packImages({ images: await imageFolder(images, { fit }), out: packed });
    await cache('packed', { images: packed });
    const list = await temporary.file(
      'list.txt',
      FOLDERS.flatMap((folder) => [0, 1, 2].map((j) => `images/${folder}/${j}.png`)).join('\n'),
    );
    await cache('listed', { images: list });
    expect(await logitsOf('packed')).toEqual(await logitsOf('onnx'));
    expect(await logitsOf('listed')).toEqual(await logitsOf('onnx'));
  });

  test('says how often the teacher sees the class of the folder', async () => {
    const plain = {
      flip: 0,
      mix: { kind: 'none' },
      crop: { scale: [1, 1], ratio: [1, 1] },
    } as const;
    // Strong contrasts, so that this teacher of random weights sees more than one class.
    const strong = { mean: [0.5, 0.5, 0.5], std: [0.03, 0.02, 0.04] } as const;
    const result = await cache('plain', { augmentation: plain, description: strong });
    const seen = await topClasses('plain');
    expect(new Set(seen).size).toBeGreaterThan(1);
    const hits = seen.filter((top, i) => top === Math.floor((i % IMAGES) / 3));
    expect(result.agreement).toBeCloseTo(hits.length / seen.length, 10);
    // By name, where the teacher has names.
    const classNames = ['dog', 'bee', 'ant', 'elk', 'cat'];
    const named = { ...strong, classNames };
    const other = await cache('named', { augmentation: plain, description: named });
    const namedHits = seen.filter(
      (top, i) => classNames[top] === FOLDERS[Math.floor((i % IMAGES) / 3)],
    );
    expect(other.agreement).toBeCloseTo(namedHits.length / seen.length, 10);
    expect(other.agreement).not.toBe(result.agreement);
  });

  test('goes on where it was interrupted, in the middle of an epoch too, to the same bytes', async () => {
    const wanted = await cache('by five', { batch: 5 });
    expect(wanted.made).toBe(EPOCHS * IMAGES);
    for (const stop of [5, 2 * IMAGES, 2 * IMAGES + 10]) {
      const controller = new AbortController();
      const stopped = cache('resumed', {
        batch: 5,
        signal: controller.signal,
        onProgress: ({ done }) => done === stop && controller.abort(),
      });
      await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    }
    const made = IMAGES - 10;
    expect(await cache('resumed', { batch: 5 })).toMatchObject({ made, labels: EPOCHS * IMAGES });
    expect(await filesOf('resumed')).toEqual(await filesOf('by five'));
    await expect(cache('resumed')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  });

  test('goes on only with the same images, teacher and views', async () => {
    for (const [field, change] of [
      ['seed', { augmentation: { seed: 1 } }],
      ['spec.images', { fit: { kind: 'short-side', pixels: 9 } }],
      ['teacher.preprocessing', { description: { ...description, mean: [0, 0, 0] } }],
    ] as const) {
      const controller = new AbortController();
      const out = temporary.path(`other ${field}`);
      const onProgress = ({ done }: { done: number }) => done === IMAGES && controller.abort();
      const begun = cache('', { out, signal: controller.signal, onProgress });
      await expect(begun).rejects.toMatchObject({ code: 'ABORTED' });
      const call = cache('', { out, ...change });
      await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await expect(call).rejects.toThrow(field);
    }
  });
});

describe('labels encoded as they come', () => {
  const codec = { name: 'topk', k: 2 } as const;
  const labelsOf = async (name: string) => {
    await using archive = await openArchive(temporary.path(name));
    return Promise.all([0, 1, 2].map(async (epoch) => Buffer.from(await archive.readRow(epoch))));
  };

  test('are those of two passes, and none of them lies on disk uncompressed', async () => {
    const two = await cache('two passes', { codec, passes: 2 });
    let seen = 0;
    const one = await cache('one pass', {
      ...{ codec, passes: 1, batch: 4, workers: 2 },
      onProgress: () => {
        seen += 1;
        expect(existsSync(temporary.path('one pass.softpack-tmp'))).toBe(false);
      },
    });
    expect(seen).toBeGreaterThan(0);
    expect(await labelsOf('one pass')).toEqual(await labelsOf('two passes'));
    expect(one.packed?.divergence).toEqual(two.packed?.divergence);
    expect([one.labels, one.agreement !== undefined]).toEqual([two.labels, true]);
    const again = await cache('one pass', { codec, passes: 1, acceptFinished: true });
    expect(again.made).toBe(0);
  });

  test('go on where they were interrupted, to the same bytes', async () => {
    const vqae = { name: 'vqae', dh: 4, dc: 2, k: 4 } as const;
    const options = { codec: vqae, passes: 1, training: { steps: 20 } } as const;
    await cache('straight', options);
    for (const phase of ['read', 'train', 'encode']) {
      const controller = new AbortController();
      const stopped = cache('halted', {
        ...options,
        signal: controller.signal,
        onProgress: (progress) => progress.phase === phase && controller.abort(),
      });
      await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    }
    await cache('halted', options);
    expect(await filesOf('halted')).toEqual(await filesOf('straight'));
  });

  test('are drawn for the codec as from labels on disk', async () => {
    await cache('drawn', { batch: 4 });
    await using archive = await openArchive(temporary.path('drawn'));
    await using stored = archiveSource(archive, loadKernels());
    const { augmentation, classes } = archive.manifest;
    await using source = new TeacherSource({
      ...{ teacher: ONNX, backend: 'auto', description, classes, epochs: EPOCHS, batch: 4 },
      images: await imageFolder(images, { fit: { kind: 'short-side', pixels: 16 } }),
      augmentation: augmentation as unknown as AugmentationSpec,
      fingerprint: {},
    });
    const draw = { tau: 4, limit: 17, seed: 5 };
    expect(await drawTrainingLabels(source, draw)).toEqual(await drawTrainingLabels(stored, draw));
    expect(source.made.labels).toBe(17);
    for (const [epoch, start, count] of [
      [0, 0, 8],
      [0, 8, 7],
      [2, 3, 1],
    ]) {
      const wanted = await stored.read(epoch, start, count);
      expect(await source.read(epoch, start, count)).toEqual(wanted);
    }
  });
});

test.each([1, 2] as const)(
  'damaged images are named in one error, with a way to leave them out: %i passes',
  async (passes) => {
    const damaged = temporary.path(`damaged ${passes}`);
    await cp(images, damaged, { recursive: true });
    for (const name of ['bee/1.png', 'elk/2.png']) await writeFile(join(damaged, name), 'no image');
    const codec = { name: 'topk', k: 2 } as const;
    const call = cache(`of damaged ${passes}`, { images: damaged, codec, passes });
    const error = await call.catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'INVALID_FILE', field: join(damaged, 'bee/1.png') });
    const { message } = error as Error;
    for (const name of ['bee/1.png', 'elk/2.png', 'pack-images --skip-damaged']) {
      expect(message).toContain(name);
    }
    // Packed first, the labels belong to the images that are trained on.
    const sound = temporary.path(`sound ${passes}`);
    await packImages({ images: await imageFolder(damaged), out: sound, damaged: 'skip' });
    const { images: count } = await cache(`of sound ${passes}`, { images: sound, codec, passes });
    expect(count).toBe(IMAGES - 2);
    await using archive = await openArchive(temporary.path(`of sound ${passes}`));
    expect((await openImagesOf(archive, sound)).count).toBe(count);
  },
);

describe('other pixels under the same names', () => {
  const copy = temporary.path('copy');
  /** Exchanges two images of one size: names and sizes of the set stay as they are. */
  const exchange = async () => {
    const paths = ['ant/0.png', 'ant/1.png'].map((name) => join(copy, name));
    const [one, other] = await Promise.all(paths.map((path) => readFile(path)));
    await Promise.all([writeFile(paths[0], other), writeFile(paths[1], one)]);
  };

  test('do not go on with an interrupted run, nor train with its labels', async () => {
    await cp(images, copy, { recursive: true });
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => done === IMAGES && controller.abort();
    const begun = cache('exchanged', { images: copy, signal: controller.signal, onProgress });
    await expect(begun).rejects.toMatchObject({ code: 'ABORTED' });
    await exchange();
    const call = cache('exchanged', { images: copy });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(call).rejects.toThrow('spec.images');
    await exchange();
    await cache('exchanged', { images: copy });
    expect(withoutProvenance(await filesOf('exchanged'))).toEqual(
      withoutProvenance(await filesOf('onnx')),
    );

    await using archive = await openArchive(temporary.path('exchanged'));
    const normalisation = description;
    const open = () => openImagesOf(archive, copy);
    const first = await open();
    await exchange();
    await expect(open()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'images' });
    const { fit } = archive.manifest.images as { readonly fit: ImageFit };
    const unchecked = await imageFolder(copy, { fit });
    const loader = createLoader({
      archive,
      images: unchecked,
      normalisation,
      batchSize: 5,
      workers: 0,
    });
    await expect(loader[Symbol.asyncIterator]().next()).rejects.toMatchObject({ field: 'images' });
    await exchange();
    const good = createLoader({ archive, images: first, normalisation, batchSize: 5, workers: 0 });
    expect((await good[Symbol.asyncIterator]().next()).value?.sampleIds).toHaveLength(5);
    await Promise.all([loader.close(), good.close()]);
  });

  test('folders of numbers in another order than that of their names are refused', async () => {
    const numbered = temporary.path('numbered');
    for (const [i, name] of ['0', '1', '10', '2', '3'].entries()) {
      await cp(join(images, FOLDERS[i]), join(numbered, name), { recursive: true });
    }
    const call = cache('by number', { images: numbered, epochs: 1 });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'images' });
    await expect(call).rejects.toThrow('folder 2 before 10');
    const classNames = ['0', '1', '2', '3', '10'];
    await cache('by name', {
      images: numbered,
      epochs: 1,
      description: { ...description, classNames },
    });
    await rename(join(numbered, '10'), join(numbered, '4'));
    await cache('in order', { images: numbered, epochs: 1 });
  });

  test('an output folder inside the images is refused at the start', async () => {
    for (const change of [{ out: join(copy, 'labels') }, { full: join(copy, 'ant/full') }]) {
      const call = cache('inside', { images: copy, teacher: 'nowhere', ...change });
      await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    expect((await readdir(copy)).sort()).toEqual(FOLDERS);
  });
});

describe('with a codec', () => {
  const codec = { dh: 4, dc: 2, k: 2 } as const;
  const training = { steps: 30, batch: 32 };

  let result: CacheLabelsResult;
  beforeAll(async () => {
    result = await cache('small', { codec, training });
  });

  test('gives what pack makes of the uncompressed labels, and leaves nothing else', async () => {
    const source = temporary.path('onnx');
    await packLogits({ source, out: temporary.path('wanted'), codec, training });
    expect(withoutProvenance(await filesOf('small'))).toEqual(
      withoutProvenance(await filesOf('wanted')),
    );
    expect(result.packed?.divergence.kl).toBeGreaterThan(0);
    expect(existsSync(temporary.path('small.softpack-tmp'))).toBe(false);
  });

  test('accepts a finished archive of the same labels and codec if asked to, and no other', async () => {
    await cache('again', { codec, training });
    const files = await filesOf('again');
    const accept = { codec, training, acceptFinished: true };
    const again = await cache('again', accept);
    expect(again).toMatchObject({ made: 0, packed: { divergence: result.packed?.divergence } });
    for (const [field, change] of [
      ['augmentation.seed', { augmentation: { seed: 1 } }],
      ['epochs', { epochs: 2 }],
      ['pack.codec.k', { codec: { ...codec, k: 4 } }],
      ['teacher.preprocessing', { description: { ...description, mean: [0, 0, 0] } }],
      ['images.fit', { fit: { kind: 'short-side', pixels: 9 } }],
    ] as const) {
      const call = cache('again', { ...accept, ...(change as Partial<CacheLabelsOptions>) });
      await expect(call).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
      await expect(call).rejects.toThrow(field);
    }
    await expect(cache('again', { codec, training })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    expect(await filesOf('again')).toEqual(files);
    expect(await cache('onnx', { acceptFinished: true })).toMatchObject({ made: 0 });
    expect(existsSync(temporary.path('again.softpack-tmp'))).toBe(false);
  });

  test('killed before its temporary labels are removed, it removes them', async () => {
    await cache('full of late', {});
    await cache('late', { codec, training });
    const left = temporary.path('late.softpack-tmp');
    await mkdir(left);
    const marker = { format: 'softpack temporary labels', version: 1, archive: 'late' };
    await writeFile(join(left, 'softpack-temporary.json'), `${JSON.stringify(marker)}\n`);
    await cp(temporary.path('full of late'), join(left, 'labels'), { recursive: true });
    // Its writer could not remove its lock.
    await writeFile(join(left, 'labels', 'writer.lock'), 'stale');
    expect(await cache('late', { codec, training })).toMatchObject({ made: 0 });
    expect(existsSync(left)).toBe(false);
    expect(await filesOf('late')).toEqual(await filesOf('small'));
  });

  test("leaves a user's folders next to the archive alone", async () => {
    await cp(temporary.path('onnx'), temporary.path('mine.full'), { recursive: true });
    await cache('mine', { codec, training });
    expect(withoutProvenance(await filesOf('mine.full'))).toEqual(
      withoutProvenance(await filesOf('onnx')),
    );
    expect(await filesOf('mine')).toEqual(await filesOf('small'));
  });

  test.each<[string, (folder: string) => Promise<unknown>]>([
    ['an archive', (folder) => cp(temporary.path('onnx'), folder, { recursive: true })],
    [
      'an archive below it',
      (folder) => cp(temporary.path('onnx'), `${folder}/labels`, { recursive: true }),
    ],
    ['a file', (folder) => writeFile(folder, 'mine')],
    [
      'the marker of another archive',
      async (folder) => {
        await mkdir(folder);
        await writeFile(
          `${folder}/softpack-temporary.json`,
          '{"format":"softpack temporary labels","version":1,"archive":"another"}\n',
        );
      },
    ],
  ])('refuses a temporary folder that is %s', async (name, make) => {
    const folder = temporary.path(`taken by ${name}.softpack-tmp`);
    await make(folder);
    const names = async () => ((await stat(folder)).isFile() ? folder : await readdir(folder));
    const before = await names();
    const call = cache(`taken by ${name}`, { codec, training });
    await expect(call).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await names()).toEqual(before);
  });

  test('keeps files of others that appear in the temporary folder', async () => {
    const theirs = temporary.path('shared.softpack-tmp/labels/notes.txt');
    let placed = Promise.resolve();
    const onProgress: CacheLabelsOptions['onProgress'] = ({ phase, done }) => {
      if (phase === 'label' && done === IMAGES) placed = writeFile(theirs, 'mine');
    };
    await cache('shared', { codec, training, onProgress });
    await placed;
    expect(await readdir(temporary.path('shared.softpack-tmp/labels'))).toEqual(['notes.txt']);
    expect(await filesOf('shared')).toEqual(await filesOf('small'));
  });

  test('keeps the uncompressed labels where they are asked for', async () => {
    await cache('both', { codec, training, full: temporary.path('kept') });
    expect(withoutProvenance(await filesOf('kept'))).toEqual(
      withoutProvenance(await filesOf('onnx')),
    );
  });

  test('interrupted while it compresses, it does not ask the teacher again', async () => {
    const controller = new AbortController();
    const stopped = cache('cut', {
      ...{ codec, training, signal: controller.signal },
      onProgress: ({ phase }) => phase === 'train' && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    expect(existsSync(temporary.path('cut.softpack-tmp/labels/manifest.json'))).toBe(true);
    expect(await cache('cut', { codec, training })).toMatchObject({ made: 0 });
    expect(await filesOf('cut')).toEqual(await filesOf('small'));
    expect(existsSync(temporary.path('cut.softpack-tmp'))).toBe(false);
  });
});

describe('is refused before any label is made', () => {
  test.each<[string, Partial<CacheLabelsOptions>, string, string]>([
    ['no teacher', { teacher: 'none.onnx' }, 'NOT_FOUND', 'none.onnx'],
    ['a Keras file', { teacher: temporary.path('model.keras') }, 'INVALID_FILE', 'model.export'],
    ['no images', { images: temporary.path('nowhere') }, 'NOT_FOUND', 'nowhere'],
    ['an empty folder', { images: temporary.path('empty') }, 'INVALID_FILE', 'empty'],
    ['no preprocessing', { description: {} }, 'INVALID_ARGUMENT', 'preprocessing'],
    [
      'a list of other classes',
      { description: { ...description, classNames: ['a', 'b'] } },
      'INVALID_ARGUMENT',
      '5 names',
    ],
    ['a backend for others', { backend: 'wasm' }, 'INVALID_ARGUMENT', 'backend'],
    ['labels larger than the disk', { epochs: 1e13 }, 'NO_SPACE', 'MB'],
    ['a folder in use', { out: images }, 'ALREADY_EXISTS', 'images'],
    ['output in the images', { out: join(images, 'labels') }, 'INVALID_ARGUMENT', 'the images'],
    [
      'uncompressed labels in the output',
      {
        codec: { name: 'topk', k: 2 },
        full: temporary.path('refused x/full'),
        out: temporary.path('refused x'),
      },
      'INVALID_ARGUMENT',
      'inside the archive',
    ],
    [
      'output in the uncompressed labels',
      {
        codec: { name: 'topk', k: 2 },
        full: temporary.path('refused x'),
        out: temporary.path('refused x/out'),
      },
      'INVALID_ARGUMENT',
      'inside the uncompressed labels',
    ],
    ['a codec beyond the classes', { codec: { name: 'topk', k: 6 } }, 'INVALID_ARGUMENT', 'k: '],
    ['a ratio out of reach', { codec: { totalRatio: 500 } }, 'INVALID_ARGUMENT', 'ratio'],
    [
      'several problems',
      { codec: { name: 'topk', k: 6 }, out: join(images, 'labels') },
      'INVALID_ARGUMENT',
      '2 problems',
    ],
  ])('%s', async (name, change, code, words) => {
    await temporary.file('model.keras', 'PK');
    await mkdir(temporary.path('empty'), { recursive: true });
    const phases: string[] = [];
    const out = temporary.path(`refused ${name}`);
    const call = cache('', { out, ...change, onProgress: ({ phase }) => phases.push(phase) });
    await expect(call).rejects.toMatchObject({ code });
    await expect(call).rejects.toThrow(words);
    expect(phases).toEqual([]);
    expect(existsSync(out)).toBe(false);
  });

  test('an image that cannot be decoded is named', async () => {
    const broken = temporary.path('broken');
    await cp(join(images, 'ant'), broken, { recursive: true });
    await writeFile(join(broken, '1.png'), (await readFile(join(broken, '1.png'))).subarray(0, 60));
    const call = cache('of broken', { images: broken });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await expect(call).rejects.toThrow('1.png');
  });
});
