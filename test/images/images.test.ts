import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { readTensorFile } from '#src/container/tensor-file.js';
import { sizesOf } from '#src/images/fingerprint.js';
import { imageFolder } from '#src/images/folder.js';
import { imageList } from '#src/images/image-list.js';
import { openImages } from '#src/images/open.js';
import { type PackImagesOptions, packImages } from '#src/images/packed/pack.js';
import { openImageReader } from '#src/images/reader.js';
import type { ImageSource } from '#src/images/source.js';
import { temporaryDirectory } from '../temporary.js';
import { samplePixels, writeImage } from './fixture.js';

const temporary = await temporaryDirectory();
/** Name, seed and size of the images of the folder, in the order that it must be listed in. */
const FILES = [
  ['cat/a.png', 1, [5, 7]],
  ['cat/b.webp', 2, [6, 4]],
  ['cat/deep/a.png', 3, [3, 3]],
  ['dog/x.png', 4, [5, 7]],
] as const;
const root = temporary.path('folder');
for (const [name, seed, size] of FILES) await writeImage(root, name, seed, size);
await writeFile(join(root, 'cat', 'notes.txt'), 'not an image');
await mkdir(join(root, '.cache'));

async function readAll(source: ImageSource, ids?: readonly number[]) {
  using reader = await openImageReader(source.description, { concurrency: 2 });
  const wanted = Uint32Array.from(ids ?? Array.from({ length: source.count }, (_, i) => i));
  const pixels = await reader.read(wanted);
  return [...wanted].map((id) => ({ size: pixels.sizeOf(id), pixels: pixels.pixels(id).slice() }));
}

const expected = FILES.map(([, seed, [height, width]]) => ({
  size: [height, width],
  pixels: samplePixels(seed, height, width),
}));

test('sizes of files are the same however far away these are, and so are their errors', async () => {
  const paths = [...FILES.map(([name]) => join(root, name)), join(root, 'none.png')];
  const wanted = await Promise.all(
    paths.slice(0, 4).map(async (path) => (await readFile(path)).length),
  );
  for (const nearMs of [60_000, 0]) {
    const sizes = sizesOf((i) => paths[i], nearMs);
    // The fourth look and later ones are those of a file system that was slow.
    for (let i = 0; i < 5; i++) expect(await sizes([0, 1, 2, 3])).toEqual(wanted);
    await expect(sizes([3, 4])).rejects.toMatchObject({ code: 'NOT_FOUND', field: paths[4] });
  }
});

describe('a folder', () => {
  test('lists classes by name, then files by path, as torchvision does', async () => {
    const source = await imageFolder(root);
    expect(source.count).toBe(4);
    expect(source.classNames).toEqual(['cat', 'dog']);
    expect([...(source.targets ?? [])]).toEqual([0, 0, 0, 1]);
    expect((await readAll(source)).map(({ size }) => size)).toEqual(
      expected.map(({ size }) => size),
    );
    expect(await readAll(source)).toEqual(
      expected.map(({ size, pixels }) => ({ size, pixels: Buffer.from(pixels) })),
    );
  });

  test('has another id when it has other images, or decodes them otherwise', async () => {
    const { id } = await imageFolder(root);
    expect((await imageFolder(root)).id).toBe(id);
    const fit = { kind: 'short-side', pixels: 3 } as const;
    expect((await imageFolder(root, { fit })).id).not.toBe(id);
    expect((await imageList(await temporary.file('one.txt', 'folder/cat/a.png\n'))).id).not.toBe(
      id,
    );
  });

  test('is found as a split of an ImageNet-style tree, and never taken for one', async () => {
    for (const split of ['train', 'val']) {
      await writeImage(temporary.path('plain'), `${split}/n01440764/a.png`, 1, [2, 2]);
      await writeImage(temporary.path('ilsvrc'), `Data/CLS-LOC/${split}/n01/a.png`, 1, [2, 2]);
    }
    const plain = await imageFolder(temporary.path('plain'), { split: 'val' });
    expect(plain.classNames).toEqual(['n01440764']);
    expect((await imageFolder(temporary.path('ilsvrc'), { split: 'train' })).count).toBe(1);
    await expect(imageFolder(temporary.path('plain'))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'split',
    });
    await expect(imageFolder(root, { split: 'test' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('fits images while it decodes them', async () => {
    await writeImage(temporary.path('wide'), 'a/a.png', 1, [40, 90]);
    const shrunk = await imageFolder(temporary.path('wide'), {
      fit: { kind: 'short-side', pixels: 20 },
    });
    expect((await readAll(shrunk))[0].size).toEqual([20, 45]);
    const grown = await imageFolder(temporary.path('wide'), {
      fit: { kind: 'short-side', pixels: 200 },
    });
    expect((await readAll(grown))[0].size).toEqual([40, 90]);
    const exact = await imageFolder(temporary.path('wide'), {
      fit: { kind: 'exact', size: [16, 24] },
    });
    expect((await readAll(exact))[0].size).toEqual([16, 24]);
  });

  test('gives RGB whatever the file holds', async () => {
    const folder = temporary.path('kinds/a');
    await mkdir(folder, { recursive: true });
    const create = { width: 3, height: 2, channels: 4, background: '#204060' } as const;
    const grey = sharp({ create }).removeAlpha().toColourspace('b-w');
    await writeFile(join(folder, 'alpha.png'), await sharp({ create }).png().toBuffer());
    await writeFile(join(folder, 'grey.png'), await grey.png().toBuffer());
    const [alpha, greyscale] = await readAll(await imageFolder(temporary.path('kinds')));
    expect([...alpha.pixels.subarray(0, 3)]).toEqual([0x20, 0x40, 0x60]);
    expect(greyscale.pixels.length).toBe(18);
    expect(new Set(greyscale.pixels).size).toBe(1);
  });

  test('of images alone has them by name and no classes', async () => {
    const flat = await imageFolder(join(root, 'cat', 'deep'));
    expect(flat).toMatchObject({ count: 1 });
    expect(flat).not.toHaveProperty('classNames');
    expect(flat).not.toHaveProperty('targets');
    expect((await readAll(flat))[0].size).toEqual(expected[2].size);
  });

  test.each([
    ['nothing there', 'absent', 'NOT_FOUND'],
    ['no image', 'empty', 'INVALID_FILE'],
    ['images beside folders of images', 'folder/cat', 'INVALID_FILE'],
  ])('is refused: %s', async (_, path, code) => {
    await mkdir(temporary.path('empty'), { recursive: true });
    await expect(imageFolder(temporary.path(path))).rejects.toMatchObject({ code });
  });

  test('names the file that is no image, and the one that is gone', async () => {
    await writeImage(temporary.path('bad'), 'a/a.png', 1, [4, 4]);
    const whole = await readFile(join(temporary.path('bad'), 'a/a.png'));
    await writeFile(join(temporary.path('bad'), 'a/b.png'), whole.subarray(0, whole.length / 2));
    await writeFile(join(temporary.path('bad'), 'a/c.png'), whole);
    const source = await imageFolder(temporary.path('bad'));
    await rm(join(temporary.path('bad'), 'a/c.png'));
    await expect(readAll(source, [1])).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('b.png'),
    });
    await expect(readAll(source, [2])).rejects.toMatchObject({
      code: 'NOT_FOUND',
      field: expect.stringContaining('c.png'),
    });
    await expect(readAll(source, [3])).rejects.toMatchObject({ field: 'samples', found: 3 });
  });
});

describe('a list', () => {
  const list = async (text: string) => imageList(await temporary.file('list.txt', text), { root });

  test('keeps its order, with class names, class indices or neither', async () => {
    const named = await list('# mine\ndog/x.png\tdog\r\n\ncat/a.png\tcat\n');
    expect(named.classNames).toEqual(['cat', 'dog']);
    expect([...(named.targets ?? [])]).toEqual([1, 0]);
    expect((await readAll(named))[1].pixels).toEqual(Buffer.from(expected[0].pixels));
    const numbered = await list('dog/x.png 7\ncat/a.png 0\n');
    expect([...(numbered.targets ?? [])]).toEqual([7, 0]);
    expect((await list('cat/a.png\n')).targets).toBeUndefined();
  });

  test.each([
    ['no image', 'cat/a.png\ncat/notes.txt\n', 'line 2'],
    ['lines of two kinds', 'cat/a.png 1\n# x\ndog/x.png\n', 'line 3'],
    ['no lines', '\n', 'list.txt'],
  ])('is refused: %s', async (_, text, field) => {
    const error = { code: 'INVALID_FILE', field: expect.stringContaining(field) };
    await expect(list(text)).rejects.toMatchObject(error);
  });
});

describe('packed images', () => {
  const pack = async (name: string, change: Partial<PackImagesOptions> = {}) => {
    const out = temporary.path(name);
    const result = await packImages({ images: await imageFolder(root), out, ...change });
    return { out, result };
  };

  test('are the pixels of their files, in shards of any size', async () => {
    for (const shardBytes of [1, 150, 2 ** 20]) {
      const { out, result } = await pack(`raw-${shardBytes}`, { shardBytes });
      const source = await openImages(out);
      expect(result).toMatchObject({ count: 4, id: source.id });
      expect(source.classNames).toEqual(['cat', 'dog']);
      expect([...(source.targets ?? [])]).toEqual([0, 0, 0, 1]);
      const order = [3, 0, 2, 2, 1];
      expect(await readAll(source, order)).toEqual(order.map((id) => expected[id]));
    }
    expect((await readdir(temporary.path('raw-1'))).length).toBe(5);
  });

  test('are plain safetensors', async () => {
    const { out } = await pack('plain-raw');
    const { tensors, metadata } = await readTensorFile(join(out, 'images-00000.safetensors'));
    const range = 's00000000-00000004';
    const offsets = new BigUint64Array(tensors.get(`offsets.${range}`)?.data.slice().buffer ?? []);
    const data = tensors.get(`data.${range}`)?.data ?? new Uint8Array();
    expect(data.subarray(Number(offsets[1]), Number(offsets[2]))).toEqual(expected[1].pixels);
    expect(metadata.get('layout')).toContain('uint8 [height, width, 3]');
  });

  test('keep JPEG files as they are, and decode to the same pixels', async () => {
    const folder = temporary.path('jpegs');
    for (let i = 0; i < 3; i++) await writeImage(folder, `a/${i}.jpg`, i, [20, 30]);
    await writeImage(folder, 'a/z.png', 9, [20, 30]);
    const files = await imageFolder(folder);
    const out = temporary.path('jpeg');
    await packImages({ images: files, out, encoding: 'jpeg' });
    const packed = await openImages(out);
    const [direct, through] = [await readAll(files), await readAll(packed)];
    expect(through.slice(0, 3)).toEqual(direct.slice(0, 3));
    const worst = through[3].pixels.map((value, i) => Math.abs(value - direct[3].pixels[i]));
    expect(Math.max(...worst)).toBeLessThan(30);
  });

  test('interrupted at any shard go on to equal bytes', async () => {
    const { out: whole } = await pack('uninterrupted', { shardBytes: 1 });
    const contents = async (dir: string) =>
      Promise.all((await readdir(dir)).sort().map((name) => readFile(join(dir, name), 'hex')));
    for (const stopAfter of [2, 3, 4]) {
      const name = `interrupted-${stopAfter}`;
      const stop = new AbortController();
      const onProgress = (done: number) => done === stopAfter && stop.abort();
      const change = { shardBytes: 1, onProgress, signal: stop.signal };
      await expect(pack(name, change)).rejects.toMatchObject({ code: 'ABORTED' });
      await expect(openImages(temporary.path(name))).rejects.toMatchObject({ code: 'INCOMPLETE' });
      const { out } = await pack(name, { shardBytes: 1 });
      expect(await contents(out)).toEqual(await contents(whole));
    }
    // The remains of a run with other options are not resumed.
    const stop = new AbortController();
    const onProgress = (done: number) => done === 3 && stop.abort();
    const other = { encoding: 'jpeg', shardBytes: 1, onProgress, signal: stop.signal } as const;
    await expect(pack('other', other)).rejects.toMatchObject({ code: 'ABORTED' });
    const { out } = await pack('other', { shardBytes: 1 });
    expect(await contents(out)).toEqual(await contents(whole));
  });

  test('refuse a directory of something else', async () => {
    await expect(pack('folder')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await pack('twice');
    await expect(pack('twice')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    const images = await openImages(temporary.path('twice'));
    await expect(pack('again', { images })).rejects.toMatchObject({ field: 'images' });
  });

  test('with any byte of a shard changed are refused, by file', async () => {
    const { out } = await pack('flipped', { shardBytes: 150 });
    const path = join(out, 'images-00001.safetensors');
    const whole = await readFile(path);
    for (let at = 0; at < whole.length; at += at < 1000 ? 29 : 5) {
      const changed = Buffer.from(whole);
      changed[at] ^= 0x10;
      await writeFile(path, changed);
      const error = await openImages(out)
        .then((source) => readAll(source))
        .then(
          () => undefined,
          (cause: unknown) => cause as { code: string; field: string },
        );
      expect(error?.code, `byte ${at}`).toMatch(/^(CORRUPT_DATA|INVALID_FILE)$/);
      expect(error?.field).toContain('images-00001');
    }
    await writeFile(path, whole.subarray(0, -1));
    await expect(openImages(out)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });

  test('name the field of a manifest that was changed', async () => {
    const { out } = await pack('manifest');
    const path = join(out, 'manifest.json');
    const manifest = JSON.parse(await readFile(path, 'utf8'));
    const attempt = async (change: object) => {
      await writeFile(path, JSON.stringify({ ...manifest, ...change }));
      return openImages(out);
    };
    const wrong = [
      [{ count: 5 }, 'INVALID_FILE', 'shards'],
      [{ minReader: 2 }, 'UNSUPPORTED', 'minReader'],
      [{ encoding: 'png' }, 'INVALID_FILE', 'encoding'],
      [{ size: [5, 5] }, 'CORRUPT_DATA', 'imagesId'],
      [{ shards: [{ ...manifest.shards[0], file: '../x' }] }, 'INVALID_FILE', 'shards[0].file'],
    ] as const;
    for (const [change, code, field] of wrong) {
      const error = { code, field: expect.stringContaining(field) };
      await expect(attempt(change)).rejects.toMatchObject(error);
    }
  });
});
