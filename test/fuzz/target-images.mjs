// Packed images and encoded ones.

import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { decodeImage } from '#src/images/decode.js';
import { openImages } from '#src/images/open.js';
import { openImageReader } from '#src/images/reader.js';
import { corpus, MOST_IMAGES } from './target-inputs.mjs';

export function addImages(add, work) {
  for (const name of readdirSync(path.join(corpus, 'images'))) {
    const folder = path.join(work, `images-${name}`);
    cpSync(path.join(corpus, 'images', name), folder, { recursive: true });
    for (const file of readdirSync(folder)) {
      const original = readFileSync(path.join(folder, file));
      const kind = file.endsWith('.json') ? 'json' : 'safetensors';
      add(
        `${name} images, ${file}`,
        kind,
        [original],
        async (bytes) => {
          writeFileSync(path.join(folder, file), bytes);
          try {
            const { description, count } = await openImages(folder);
            if (count > MOST_IMAGES) return;
            const reader = await openImageReader(description);
            try {
              await reader.read(Uint32Array.of(0, count - 1));
            } finally {
              reader[Symbol.dispose]();
            }
          } finally {
            writeFileSync(path.join(folder, file), original);
          }
        },
        0.03,
      );
    }
  }
}

/** Encoded images by format; those that declare many pixels are left to the tests of sizes. */
export function addImageFiles(add) {
  const file = new URL('../images/pil-kinds.json', import.meta.url);
  const { kinds } = JSON.parse(readFileSync(file, 'utf8'));
  for (const extension of ['bmp', 'gif', 'pgm', 'ppm', 'tif', 'png', 'jpg', 'webp']) {
    const names = Object.keys(kinds).filter((name) => name.endsWith(`.${extension}`));
    const seeds = names.map((name) => Buffer.from(kinds[name].file, 'base64'));
    add(
      `image.${extension}`,
      'bytes',
      seeds.filter(({ length }) => length < 4096),
      async (bytes) => {
        await decodeImage(bytes, `image.${extension}`);
      },
      0.1,
    );
  }
}
