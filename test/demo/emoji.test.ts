import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EMOJI_SETS, emojiSamples, loadEmoji } from '#apps/demo/emoji.js';

/** Colours drawn by set and emoji; each is one filled rectangle, off centre, on a transparent ground. */
const EMOJI = [
  { unified: '1F41D', name: 'bee', category: 'Animals & Nature', order: 2, colour: [250, 200, 0] },
  { unified: '1F35E', name: 'bread', category: 'Food & Drink', order: 1, colour: [150, 90, 30] },
  { unified: '2699-FE0F', name: 'gear', category: 'Objects', order: 3, colour: [10, 20, 200] },
  { unified: '1F600', name: 'grin', category: 'Smileys & Emotion', order: 4, colour: [1, 2, 3] },
  { unified: '1F511', name: 'key', category: 'Objects', order: 5, colour: [200, 0, 0], rare: true },
] as const;

let dir: string;

async function drawing(colour: readonly number[], extension: string): Promise<Buffer> {
  const [r, g, b] = colour;
  if (extension === '.svg') {
    const fill = `rgb(${r},${g},${b})`;
    return Buffer.from(
      `<svg xmlns="http://www.w3.org/2000/svg" width="36" height="36"><rect x="2" y="20" width="12" height="12" fill="${fill}"/></svg>`,
    );
  }
  const square = sharp({ create: { width: 24, height: 24, channels: 3, background: { r, g, b } } });
  const background = { r: 0, g: 0, b: 0, alpha: 0 };
  const framed = square.extend({ top: 4, left: 30, bottom: 36, right: 10, background });
  return extension === '.png'
    ? framed.png().toBuffer()
    : framed.webp({ lossless: true }).toBuffer();
}

/** The four packages as npm would lay them out, with five tiny emoji; `rare` ones are missing from one set. */
async function installFakes(): Promise<void> {
  for (const [index, set] of EMOJI_SETS.entries()) {
    const folder = join(dir, 'emoji', 'node_modules', set.package);
    await mkdir(join(folder, set.folder), { recursive: true });
    await writeFile(join(folder, 'package.json'), JSON.stringify({ version: set.version }));
    for (const emoji of EMOJI) {
      if ('rare' in emoji && index === 1) continue;
      // Sets differ in case and in whether they write the variation selector.
      const code =
        index % 2 === 0 ? emoji.unified.toLowerCase() : emoji.unified.replace('-FE0F', '');
      const file = join(folder, set.folder, `${code}${set.extension}`);
      await writeFile(file, await drawing(emoji.colour, set.extension));
    }
  }
  const catalogue = EMOJI.map(({ unified, name, category, order }) => ({
    unified,
    name: name.toUpperCase(),
    short_name: name,
    category,
    sort_order: order,
  }));
  const file = join(dir, 'emoji', 'node_modules', 'emoji-datasource-google', 'emoji.json');
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify(catalogue));
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-emoji-'));
  await installFakes();
});
afterEach(() => rm(dir, { recursive: true }));

describe('loadEmoji', () => {
  it('takes the emoji of the chosen categories that all sets draw, in order', async () => {
    const images = await loadEmoji({ dir, size: 8 });
    expect(images.classes).toEqual([
      { code: '1f35e', name: 'bread', category: 'Food & Drink' },
      { code: '1f41d', name: 'bee', category: 'Animals & Nature' },
      { code: '2699', name: 'gear', category: 'Objects' },
    ]);
    expect(images.sets).toEqual(EMOJI_SETS.map(({ name }) => name));
    expect(images.pixels).toHaveLength(4 * 3 * 8 * 8 * 3);
  });

  it('cuts each drawing to its extent: a filled square fills the image, in every format', async () => {
    const images = await loadEmoji({ dir, size: 8 });
    const source = emojiSamples(images, [0, 1, 2, 3]);
    expect(source.count).toBe(12);
    const expected = [EMOJI[1].colour, EMOJI[0].colour, EMOJI[2].colour];
    for (let sample = 0; sample < source.count; sample++) {
      const pixels = source.pixels(sample);
      for (let y = 2; y < 6; y++) {
        for (let x = 2; x < 6; x++) {
          const at = (y * 8 + x) * 3;
          expected[sample % 3].forEach((value, channel) => {
            expect(Math.abs(pixels[at + channel] - value)).toBeLessThan(6);
          });
        }
      }
    }
  });

  it('orders samples set by set, as asked', async () => {
    const images = await loadEmoji({ dir, size: 8 });
    const [all, some] = [emojiSamples(images, [0, 1, 2, 3]), emojiSamples(images, [3, 1])];
    expect(some.count).toBe(6);
    for (let index = 0; index < 3; index++) {
      expect(some.pixels(index)).toEqual(all.pixels(9 + index));
      expect(some.pixels(3 + index)).toEqual(all.pixels(3 + index));
    }
  });

  it('decodes once, then reads the packed file, and notices damage', async () => {
    const progress: string[] = [];
    const onProgress = ({ phase }: { phase: string }): number => progress.push(phase);
    const first = await loadEmoji({ dir, size: 8, onProgress });
    expect(progress).toEqual(Array(12).fill('decode'));
    const again = await loadEmoji({ dir, size: 8, onProgress });
    expect(progress).toHaveLength(12);
    expect(again).toEqual(first);
    const [name] = (await readdir(dir)).filter((file) => file.endsWith('.safetensors'));
    const bytes = await readFile(join(dir, name));
    bytes[bytes.length - 1] ^= 1;
    await writeFile(join(dir, name), bytes);
    await expect(loadEmoji({ dir, size: 8 })).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
  });

  it('stops decoding at an abort and leaves no packed file', async () => {
    const controller = new AbortController();
    const loading = loadEmoji({
      dir,
      size: 8,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(loading).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readdir(dir)).toEqual(['emoji']);
  });
});
