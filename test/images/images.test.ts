import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { decodedPixels, decodeFolder } from '#src/images/decoded-images.js';
import { ImageFolder } from '#src/images/folder.js';
import { listImages } from '#src/images/list.js';
import { temporaryDirectory } from '../temporary.js';
import { gradient, png } from './png.js';

const temporary = await temporaryDirectory();
const dot = png([1, 1], Uint8Array.of(1, 2, 3));

/** A folder with these files in it. */
async function folderOf(name: string, files: Readonly<Record<string, Uint8Array | string>>) {
  const folder = temporary.path(name);
  await mkdir(folder, { recursive: true });
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
  return folder;
}

describe('listImages', () => {
  test('a flat folder: sorted by code units, other files set aside', async () => {
    const files = { 'b.PNG': dot, 'a.jpeg': '', 'Z.webp': '', 'notes.txt': '', '.hidden.png': dot };
    const list = await listImages(await folderOf('flat', files));
    expect(list).toMatchObject({ files: ['Z.webp', 'a.jpeg', 'b.PNG'], ignored: ['notes.txt'] });
    expect(list.classNames).toBeUndefined();
  });

  test('a folder a class, at any depth; empty ones are no classes', async () => {
    const files = { 'n02/1.JPEG': '', 'n01/deep/2.png': '', 'n01/z.png': '', 'docs/a.md': '' };
    const list = await listImages(await folderOf('classes', files));
    expect(list.files).toEqual(['n01/deep/2.png', 'n01/z.png', 'n02/1.JPEG']);
    expect(list.classNames).toEqual(['n01', 'n02']);
    expect([...(list.classes ?? [])]).toEqual([0, 0, 1]);
  });

  test('follows links', async () => {
    const folder = await folderOf('links', { 'a/1.png': dot });
    await symlink(join(folder, 'a'), join(folder, 'b'));
    expect((await listImages(folder)).files).toEqual(['a/1.png', 'b/1.png']);
  });

  test.each([
    ['no folder', undefined, 'NOT_FOUND'],
    ['no images', { 'a.txt': '' }, 'NOT_FOUND'],
    ['nothing', {}, 'NOT_FOUND'],
    ['images on two levels', { 'a.png': dot, 'b/c.png': dot }, 'INVALID_ARGUMENT'],
  ] as const)('refuses %s', async (name, files, code) => {
    const folder = files === undefined ? temporary.path(name) : await folderOf(name, files);
    await expect(listImages(folder)).rejects.toMatchObject({ code });
    await expect(listImages(folder)).rejects.toThrow(name);
  });
});

describe('decoding', () => {
  const size = [5, 7] as const;
  const colours = gradient(size, 9);

  async function decoded(name: string, bytes: Uint8Array, rule = {}) {
    const folder = await ImageFolder.open(await folderOf(name, { 'a.png': bytes }), { rule });
    const pixels = decodedPixels(await decodeFolder(folder));
    return { size: folder.sizeOf(0), pixels: pixels.pixels(0) };
  }

  test('gives the pixels of a lossless file, unchanged', async () => {
    const found = await decoded('plain', png(size, colours));
    expect(found.size).toEqual(size);
    expect(Buffer.from(found.pixels)).toEqual(Buffer.from(colours));
  });

  test('makes colours of grey', async () => {
    const grey = Uint8Array.from({ length: 35 }, (_, i) => 7 * i);
    const { pixels } = await decoded('grey', png(size, grey, 1));
    expect([...pixels]).toEqual([...grey].flatMap((value) => [value, value, value]));
  });

  test('lays transparent images on the background', async () => {
    const rgba = Uint8Array.of(10, 20, 30, 255, 10, 20, 30, 0);
    const white = await decoded('white', png([1, 2], rgba, 4));
    expect([...white.pixels]).toEqual([10, 20, 30, 255, 255, 255]);
    const red = await decoded('red', png([1, 2], rgba, 4), { background: [200, 0, 1] });
    expect([...red.pixels]).toEqual([10, 20, 30, 200, 0, 1]);
  });

  test('turns images upright', async () => {
    const stored = sharp(Buffer.from(colours), { raw: { width: 7, height: 5, channels: 3 } });
    // Orientation 6: the stored image's left edge is the top.
    const turned = await decoded(
      'turned',
      await stored.withMetadata({ orientation: 6 }).png().toBuffer(),
    );
    expect(turned.size).toEqual([7, 5]);
    const at = (y: number, x: number) => [...turned.pixels.subarray((y * 5 + x) * 3)].slice(0, 3);
    for (const [y, x] of [
      [0, 0],
      [6, 4],
      [2, 1],
    ]) {
      const source = ((4 - x) * 7 + y) * 3;
      expect(at(y, x)).toEqual([...colours.subarray(source, source + 3)]);
    }
  });

  test('makes large images smaller by their shorter side, and leaves small ones', async () => {
    const large = png([40, 101], gradient([40, 101]));
    expect((await decoded('large', large, { shorterSide: 20 })).size).toEqual([20, 51]);
    const small = await decoded('small', png(size, colours), { shorterSide: 20 });
    expect(small.size).toEqual(size);
    const { pixels } = await decoded('large', large, { shorterSide: 20 });
    const wanted = gradient([20, 51]);
    for (const [i, value] of pixels.entries()) {
      expect(Math.abs(value - wanted[i])).toBeLessThan(16);
    }
  });

  test('finds images of any sizes behind each other', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 30 }, (_, i) => {
        const name = `${String(i).padStart(2, '0')}.png`;
        return [name, png([1 + (i % 4), 1 + (i % 7)], gradient([1 + (i % 4), 1 + (i % 7)], i))];
      }),
    );
    const folder = await ImageFolder.open(await folderOf('many', files));
    const images = decodedPixels(await decodeFolder(folder));
    expect(images.count).toBe(30);
    for (let i = 0; i < 30; i++) {
      const own = [1 + (i % 4), 1 + (i % 7)] as const;
      expect(images.sizeOf(i)).toEqual(own);
      expect(Buffer.from(images.pixels(i))).toEqual(Buffer.from(gradient(own, i)));
    }
  });

  test.each([
    ['text', Buffer.from('no image')],
    ['half a header', png(size, colours).subarray(0, 20)],
  ])('refuses %s when the folder is opened, by name', async (name, bytes) => {
    const folder = await folderOf(`bad-${name}`, { 'a.png': dot, 'b.png': bytes });
    const opening = ImageFolder.open(folder);
    await expect(opening).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await expect(opening).rejects.toThrow('b.png');
  });

  test('refuses an image cut short when it is decoded', async () => {
    const raw = { width: 200, height: 100, channels: 3 } as const;
    const whole = await sharp(Buffer.from(gradient([100, 200])), { raw })
      .jpeg()
      .toBuffer();
    const folder = await folderOf('cut', { 'a.jpg': whole.subarray(0, whole.length / 2) });
    const decoding = decodeFolder(await ImageFolder.open(folder));
    await expect(decoding).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await expect(decoding).rejects.toThrow('a.jpg');
  });
});

test('the record follows names, files and the rule', async () => {
  const open = async (name: string, files: Record<string, Uint8Array>, rule = {}) =>
    (await ImageFolder.open(await folderOf(name, files), { rule })).record;
  const first = await open('first', { 'a.png': dot });
  expect(await open('again', { 'a.png': dot })).toEqual(first);
  expect((await open('renamed', { 'b.png': dot })).sha256).not.toBe(first.sha256);
  const other = png([1, 2], Uint8Array.of(1, 2, 3, 4, 5, 6));
  expect((await open('other', { 'a.png': other })).sha256).not.toBe(first.sha256);
  expect(await open('ruled', { 'a.png': dot }, { shorterSide: 9 })).not.toEqual(first);
});
