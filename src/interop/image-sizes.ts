import { openImageReader } from '../images/reader.js';
import type { ImageSource } from '../images/source.js';

/** Images decoded at a time. */
const CHUNK = 256;

/** [images, 2], height and width of every image; each is decoded once. */
export async function imageSizes(images: ImageSource): Promise<Uint32Array> {
  using reader = await openImageReader(images.description, { concurrency: 4 });
  const sizes = new Uint32Array(2 * images.count);
  for (let start = 0; start < images.count; start += CHUNK) {
    const count = Math.min(CHUNK, images.count - start);
    const samples = Uint32Array.from({ length: count }, (_, i) => start + i);
    const pixels = await reader.read(samples);
    for (const sample of samples) sizes.set(pixels.sizeOf(sample), 2 * sample);
  }
  return sizes;
}
