// Data of the loader's benchmark: synthetic JPEG photographs, and an archive of labels at (50, 128). Speed depends on
// their sizes, not on their content.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { createArchive, loadKernels, openArchive, VqaeCodec } from 'softpack';

/** The paper's setting at 100x. */
export const SHAPE = { classes: 1000, dh: 1000, dc: 50, k: 128, tau: 20, eps: 1e-6 };
export const EPOCHS = 4;

/** A stream of numbers in [0, 1), the same on every run. */
export function randomStream(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** `count` JPEGs of quality 90 in one folder; returns their mean size in bytes. */
export async function writePhotographs(folder, count, side) {
  await mkdir(join(folder, 'class'), { recursive: true });
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const jpeg = await photograph(i, side);
    bytes += jpeg.length;
    await writeFile(join(folder, 'class', `${String(i).padStart(5, '0')}.jpg`), jpeg);
  }
  return bytes / count;
}

/** Coarse structure, finer structure and grain, so that a JPEG is about as large as one of a photograph. */
async function photograph(seed, side) {
  const random = randomStream(seed + 1);
  const noise = async (size, blur) => {
    const data = Uint8Array.from({ length: size * size * 3 }, () => 256 * random());
    const raw = { width: size, height: size, channels: 3 };
    const image = sharp(data, { raw }).resize(side, side, { kernel: 'cubic' });
    return (blur ? image.blur(blur) : image).removeAlpha().raw().toBuffer();
  };
  const layers = [await noise(6), await noise(28), await noise(side)];
  const weights = [0.7, 0.22, 0.08];
  const pixels = layers[0].map((_, i) =>
    layers.reduce((sum, layer, l) => sum + weights[l] * layer[i], 0),
  );
  const raw = { width: side, height: side, channels: 3 };
  return sharp(pixels, { raw }).jpeg({ quality: 90 }).toBuffer();
}

/** An archive whose codec and codes are random: every code decodes to a distribution. */
export async function writeLabels(path, samples, size, mix) {
  const random = randomStream(7);
  const floats = (length) => Float32Array.from({ length }, () => random() - 0.5);
  const { classes, dh, dc, k } = SHAPE;
  const weights = {
    projection: undefined,
    decoder: floats(dh * classes),
    codebook: floats(k * dc),
    bias: floats(classes),
  };
  const codec = new VqaeCodec(SHAPE, weights, loadKernels());
  const writer = await createArchive(path, {
    ...{ classes, samples, epochs: EPOCHS, tau: codec.tau, codec: codec.parts() },
    ...{ layout: codec.layout, decoding: codec.decoding },
    augmentation: {
      ...{ generator: 'philox4x32-10', seed: 3, size: [size, size] },
      crop: { scale: [0.08, 1], ratio: [0.75, 4 / 3] },
      ...{ flip: 0.5, mix },
    },
  });
  const bytes = Math.ceil((samples * codec.layout.bitsPerLabel) / 8);
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const codes = Uint8Array.from({ length: bytes }, () => 256 * random());
    const used = (samples * codec.layout.bitsPerLabel) % 8;
    if (used > 0) codes[bytes - 1] &= (1 << used) - 1;
    await writer.writeRow(epoch, { codes });
  }
  await writer.finish();
  await writer.close();
  codec.dispose();
  return openArchive(path);
}
