import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { beforeEach, expect, test } from 'vitest';
import { openImages } from '#src/images/open.js';
import { packImages } from '#src/images/packed/pack.js';
import { openImageReader } from '#src/images/reader.js';
import { importLabels } from '#src/interop/import.js';
import { sample } from '../interop/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { hasModule, python, runJobs } from './python.js';

const missing = !hasModule('numpy');
const reason = `${python} has no numpy; name a Python that has by SOFTPACK_PYTHON`;
beforeEach((context) => context.skip(missing, reason));
const temporary = await temporaryDirectory();
let made = 0;

/** Packs a folder of images, some of them in a shard of their own. */
async function packed(folder: string, encoding: 'raw' | 'jpeg', shardBytes = 3000) {
  const out = temporary.path(`${encoding}-${made++}`);
  await packImages({ images: await openImages(folder), out, encoding, shardBytes });
  return out;
}

async function pixelsOf(folder: string, ids: readonly number[]): Promise<Buffer> {
  const { description } = await openImages(folder);
  using reader = await openImageReader(description);
  const found = await reader.read(Uint32Array.from(ids));
  return Buffer.concat(ids.map((id) => found.pixels(id)));
}

/** Pictures of several sizes, as JPEG files: those are packed as they are. */
async function jpegFolder(): Promise<string> {
  const folder = temporary.path(`jpegs-${made++}`);
  for (const [i, name] of ['a/1.jpg', 'a/2.jpg', 'b/1.jpg'].entries()) {
    const [width, height] = [17 + i, 23 - i];
    const raw = Uint8Array.from({ length: 3 * width * height }, (_, at) => (at * (i + 3)) % 251);
    const image = sharp(raw, { raw: { width, height, channels: 3 } });
    const file = join(folder, name);
    await mkdir(dirname(file), { recursive: true });
    await image.jpeg({ quality: 90 }).toFile(file);
  }
  return folder;
}

test('raw images are those of softpack, and of their archive', async () => {
  const folder = sample('images');
  const images = await packed(folder, 'raw');
  const archive = temporary.path('archive');
  await importLabels({
    source: sample('sre2l-plain'),
    images: folder,
    size: [12, 12],
    out: archive,
  });
  const ids = [9, 0, 4];
  const [all, some] = runJobs([
    { kind: 'packed', images, archive },
    { kind: 'packed', images, samples: ids },
  ]);
  const source = await openImages(images);
  expect(all).toMatchObject({ id: source.id, classes: source.classNames });
  const everyone = await pixelsOf(folder, [...Array(10).keys()]);
  expect(Buffer.from(String(all.pixels), 'base64').equals(everyone)).toBe(true);
  const chosen = await pixelsOf(folder, ids);
  expect(Buffer.from(String(some.pixels), 'base64').equals(chosen)).toBe(true);
});

test('JPEGs are decoded by Pillow to the pixels of softpack, give or take the decoder', async (context) => {
  context.skip(!hasModule('PIL'), `${python} has no Pillow`);
  const folder = await jpegFolder();
  const images = await packed(folder, 'jpeg');
  const [found] = runJobs([{ kind: 'packed', images }]);
  expect(found.sizes).toEqual([
    [23, 17],
    [22, 18],
    [21, 19],
  ]);
  const expected = await pixelsOf(folder, [0, 1, 2]);
  const own = Buffer.from(String(found.pixels), 'base64');
  expect(own).toHaveLength(expected.length);
  const worst = own.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
  expect(worst).toBeLessThanOrEqual(2);
});

test('a flipped bit is found when its image is read, and other images are refused', async () => {
  const images = await packed(sample('images'), 'raw');
  const damaged = temporary.path('damaged');
  await cp(images, damaged, { recursive: true });
  const shard = join(damaged, 'images-00001.safetensors');
  const bytes = await readFile(shard);
  // The last bytes are checksums; before them are pixels.
  bytes[bytes.length - 500] ^= 1;
  await writeFile(shard, bytes);
  const archive = temporary.path('other');
  const jpegs = await jpegFolder();
  await importLabels({
    ...{ source: sample('sre2l-plain'), images: sample('images'), size: [12, 12], out: archive },
  });
  expect(
    runJobs([
      { kind: 'packed', images: damaged, samples: [0] },
      { kind: 'packed', images: damaged },
      { kind: 'packed', images: await packed(jpegs, 'jpeg'), archive },
    ]),
  ).toMatchObject([
    { sizes: [[20, 20]] },
    { code: 'CORRUPT_DATA', field: `${shard}: block 0` },
    { code: 'INVALID_ARGUMENT', field: 'images', found: '3' },
  ]);
});

test('damaged images give a SoftpackError, or the same pixels', async () => {
  const archive = await packed(sample('images'), 'raw');
  const [found] = runJobs([{ kind: 'fuzz-packed', archive, seed: 3, count: 60 }]);
  expect(found.wrong).toEqual([]);
  expect(found.refused).toBeGreaterThan(60);
});
