// Collages of photographs, as RDED makes its images: four crops side by side, each of a photograph drawn at random.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';

/** Side of a crop in the collage, pixels. */
const CELL = 112;
/** Shares of a photograph's area that a crop covers. */
const AREAS = [0.1, 0.6];
/** Larger photographs are made smaller: their shorter side has this many pixels at most. */
const SHORTER = 640;

export async function writeCollages(photographs, count, seed, out) {
  const random = new RandomSequence(seed, STREAM.codec);
  const sources = [];
  for (const file of photographs) {
    const image = sharp(file).resize(SHORTER, SHORTER, {
      fit: 'outside',
      withoutEnlargement: true,
    });
    const options = { resolveWithObject: true };
    sources.push(await image.removeAlpha().toColourspace('srgb').raw().toBuffer(options));
  }
  await mkdir(out, { recursive: true });
  for (let i = 0; i < count; i++) {
    const cells = [];
    for (const [left, top] of [0, 1, 2, 3].map((cell) => [CELL * (cell % 2), CELL * (cell >> 1)])) {
      cells.push({ input: await cropOf(sources[random.below(sources.length)], random), left, top });
    }
    const canvas = { width: 2 * CELL, height: 2 * CELL, channels: 3, background: 'black' };
    const name = `${String(i).padStart(5, '0')}.png`;
    await sharp({ create: canvas }).composite(cells).png().toFile(path.join(out, name));
  }
}

function cropOf({ data, info }, random) {
  const { width, height, channels } = info;
  const area = AREAS[0] + random.uniform() * (AREAS[1] - AREAS[0]);
  const side = Math.floor(Math.min(width, height, Math.sqrt(area * width * height)));
  const left = random.below(width - side + 1);
  const top = random.below(height - side + 1);
  return sharp(data, { raw: { width, height, channels } })
    .extract({ left, top, width: side, height: side })
    .resize(CELL, CELL)
    .png()
    .toBuffer();
}
