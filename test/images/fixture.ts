import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import sharp from 'sharp';

/** Smooth pixels that differ from image to image, so that JPEG keeps them apart: uint8 [height, width, 3]. */
export function samplePixels(seed: number, height: number, width: number): Uint8Array {
  const pixels = new Uint8Array(height * width * 3);
  for (let i = 0; i < pixels.length; i++) {
    const [y, x, channel] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3];
    pixels[i] = 128 + 120 * Math.sin(seed * (channel + 1) + y / 3 + (x * (channel + 2)) / 7);
  }
  return pixels;
}

/** Writes an image file, with its folders. PNG and WebP hold exactly {@link samplePixels}. */
export async function writeImage(
  root: string,
  name: string,
  seed: number,
  [height, width]: readonly [number, number],
): Promise<void> {
  const path = join(root, name);
  await mkdir(dirname(path), { recursive: true });
  const raw = { height, width, channels: 3 } as const;
  const image = sharp(samplePixels(seed, height, width), { raw });
  const format = name.slice(name.lastIndexOf('.') + 1);
  const encoded = {
    png: () => image.png(),
    webp: () => image.webp({ lossless: true }),
    jpg: () => image.jpeg({ quality: 90 }),
  }[format as 'png'];
  await writeFile(path, await encoded().toBuffer());
}
