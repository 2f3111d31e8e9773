import { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import { expect, it } from 'vitest';
import { decodeImage } from '#src/images/decode.js';
import { loadLibvips } from '#src/images/libvips.js';

const pixels = { raw: { width: 3, height: 2, channels: 3 } } as const;
const png = await sharp(Buffer.alloc(18, 90), pixels).png().toBuffer();

it('lets sharp read the formats that the library names, and no other', async () => {
  await loadLibvips();
  const readable = Object.entries(sharp.format)
    .filter(([, { input }]) => input.buffer || input.file)
    .map(([name]) => name);
  // A sample of each other format that this build of libvips can read: a new one must be blocked and get one here.
  const others: Readonly<Record<string, Buffer>> = {
    svg: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'),
    gif: Buffer.from('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7', 'base64'),
    vips: Buffer.from('b6a6f208', 'hex'),
  };
  const allowed = ['jpeg', 'png', 'webp', 'tiff', 'heif', 'raw'];
  expect(readable.filter((name) => !allowed.includes(name)).sort()).toEqual(
    Object.keys(others).sort(),
  );
  for (const [name, bytes] of Object.entries(others)) {
    await expect(sharp(bytes).metadata(), name).rejects.toThrow(/unsupported image format/);
  }
});

it('decodes while other threads start', async () => {
  const module = new URL('../../dist/images/libvips.js', import.meta.url).href;
  // Each query is a module of its own, which sets up libvips as a new thread does.
  const code = `(async () => {
    for (let i = 0; i < 200; i++) await (await import('${module}?' + i)).loadLibvips();
  })()`;
  const threads = Array.from({ length: 2 }, () => new Worker(code, { eval: true }));
  const ended = Promise.all(
    threads.map((worker) => new Promise((end) => worker.once('exit', end))),
  );
  let running = true;
  ended.then(() => {
    running = false;
  });
  while (running) {
    const image = await decodeImage(png, 'x.png');
    expect(image.pixels.every((value) => value === 90)).toBe(true);
  }
});
