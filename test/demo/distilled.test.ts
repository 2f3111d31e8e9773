import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import { distil } from '#apps/demo/distilled.js';
import type { EmojiImages } from '#apps/demo/emoji.js';
import { IMAGE_SIZE, NORMALISATION } from '#apps/demo/recipe.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { saveConvNet } from '#src/nn/weights.js';
import { temporaryDirectory } from '../temporary.js';

const CLASSES = 3;
const SIZE = 32;
const temporary = await temporaryDirectory();
const teacher = temporary.path('teacher.safetensors');

/** Every pixel of class i of set s is 60 i + 5 s: crops of a class have its level, whatever was cropped. */
function emoji(): EmojiImages {
  const sets = ['a', 'b', 'c', 'held out'];
  const stride = SIZE * SIZE * 3;
  const pixels = new Uint8Array(sets.length * CLASSES * stride);
  for (let i = 0; i < sets.length * CLASSES; i++) {
    pixels.fill(60 * (i % CLASSES) + 5 * Math.floor(i / CLASSES), i * stride, (i + 1) * stride);
  }
  const classes = ['x', 'y', 'z'].map((code) => ({ code, name: code, category: 'Objects' }));
  return { sets, classes, size: SIZE, pixels, hash: 'ab'.repeat(32) };
}

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
  const config = { inputSize: IMAGE_SIZE, widths: [4], blocks: [0], classes: CLASSES };
  using network = ConvNet.create(config, 1);
  await saveConvNet(network, teacher, { normalisation: JSON.stringify(NORMALISATION) });
});

test.for(['rded', 'lpld'] as const)('%s: images of a class in turn, as on disk', async (method) => {
  const dir = temporary.path(method);
  const common = { method, teacher, ipc: 2, backend: 'wasm', seed: 3, iterations: 2 } as const;
  const { images, result, folder } = await distil({ emoji: emoji(), dir, ...common });
  expect(result).toMatchObject({ images: 6, classes: CLASSES });
  expect(images).toMatchObject({ count: 6, height: IMAGE_SIZE, width: IMAGE_SIZE });
  const folders = (await readdir(folder)).filter((name) => /^0000/.test(name)).sort();
  for (let sample = 0; sample < 6; sample++) {
    const [target, index] = [sample % CLASSES, Math.floor(sample / CLASSES)];
    const file = join(folder, folders[target], `class0000${target}_id0000${index}.png`);
    const pixels = await sharp(file).raw().toBuffer();
    expect(Buffer.from(images.pixels(sample)).equals(pixels)).toBe(true);
    if (method === 'rded') expect(Math.floor(pixels[0] / 60)).toBe(target);
  }
});
