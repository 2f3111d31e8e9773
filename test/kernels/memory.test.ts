import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import type { Addon } from '#src/kernels/addon.js';
import { kernelStatus } from '#src/kernels/load.js';

const addon = createRequire(import.meta.url)('../../build/Release/softpack.node') as Addon;

const MEBIBYTE = 1 << 20;
const CLASSES = 1024;
const LATENT = 512;

const projection = new Float32Array(CLASSES * LATENT).fill(0.01);

function encoder() {
  return new addon.Encoder(projection, new Float32Array(4 * 16), CLASSES, LATENT, 16, 2);
}

function decoder() {
  const sizes = [CLASSES, LATENT, 32, 4, 16, 0, 16, 2] as const;
  return new addon.Decoder(new Float32Array(64), projection, null, ...sizes, 2, 1, 1, 0, null, 0);
}

it.each([
  ['encoders', encoder],
  ['decoders', decoder],
] as const)('lets the garbage collector free %s that were forgotten', async (_, create) => {
  let most = 0;
  for (let made = 0; made < 256; made++) {
    create();
    // Finalizers run between turns of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, addon.info().memoryBytes);
  }
  // 512 MiB and more would be held if it did not know.
  expect(most).toBeGreaterThan(2 * MEBIBYTE);
  expect(most).toBeLessThan(256 * MEBIBYTE);
});

it('counts working memory that is kept between calls', () => {
  const object = decoder();
  const [tables, all] = [object.bytes(), addon.info().memoryBytes];
  const labels = 256;
  const out = new Float32Array(labels * CLASSES);
  expect(object.decode(new Uint8Array(labels * 8), null, 0, labels, null, null, out, 0, 1)).toBe(0);
  const kept = object.bytes() - tables;
  expect(kept).toBeGreaterThan(0);
  expect(addon.info().memoryBytes - all).toBe(kept);
  object.dispose();
  expect(object.bytes()).toBe(0);
  expect(addon.info().memoryBytes).toBe(all - tables);
});

it('tells what the backend holds in the status', () => {
  const held = () => kernelStatus().find(({ name }) => name === 'cpu')?.memoryBytes ?? -1;
  const before = held();
  const object = encoder();
  expect(held() - before).toBeGreaterThan(2 * MEBIBYTE);
  object.dispose();
  expect(held()).toBe(before);
});
