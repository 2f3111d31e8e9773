import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { samplePixels } from '../images/fixture.js';
import type { TemporaryDirectory } from '../temporary.js';

/** Images of five classes, and a teacher that knows them. */

export const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
export const description = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
export const FOLDERS = ['ant', 'bee', 'cat', 'dog', 'elk'];
export const PER_CLASS = 4;

/** Their folder. */
export async function writeClasses(temporary: TemporaryDirectory): Promise<string> {
  const images = temporary.path('images');
  for (const [i, folder] of FOLDERS.entries()) {
    await mkdir(join(images, folder), { recursive: true });
    for (let j = 0; j < PER_CLASS; j++) {
      const [height, width] = [12 + 3 * j, 15 + i];
      const raw = { height, width, channels: 3 } as const;
      const pixels = samplePixels(PER_CLASS * i + j, height, width);
      await sharp(pixels, { raw }).toFile(join(images, folder, `${j}.png`));
    }
  }
  return images;
}
