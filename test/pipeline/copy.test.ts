import { cp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { copyArchive, openImages, packImages, packLogits, verifyArchive } from '#src/index.js';
import { readTree, writeSmall } from '../archive/fixture.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const whole = temporary.path('whole');

beforeAll(async () => {
  await writeSmall(whole);
  await writeFile(join(whole, 'manifest.json.sig'), Buffer.alloc(64, 3));
  await writeFile(join(whole, 'notes.txt'), 'not of the archive');
});

async function archiveTree(): Promise<Map<string, string>> {
  const tree = await readTree(whole);
  tree.delete('notes.txt');
  return tree;
}

test('an archive is copied with its signature, and nothing else', async () => {
  const to = temporary.path('a/copy');
  const seen: [number, number][] = [];
  const onProgress = (done: number, total: number) => seen.push([done, total]);
  const result = await copyArchive(whole, to, { onProgress });
  expect(await readTree(to)).toEqual(await archiveTree());
  expect(seen.at(-1)).toEqual([result.bytes, result.bytes]);
  expect(result).toMatchObject({
    copied: result.bytes,
    id: ((await verifyArchive(whole)) as { id: string }).id,
  });
});

test('an interrupted copy is resumed, and damage of what it wrote is mended', async () => {
  const to = temporary.path('resumed');
  const controller = new AbortController();
  const stopped = copyArchive(whole, to, {
    signal: controller.signal,
    onProgress: () => controller.abort(),
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  const begun = await readTree(to);
  expect(begun.has('manifest.json')).toBe(false);
  expect(begun.size).toBeGreaterThan(0);
  await copyArchive(whole, to);
  await rm(join(to, 'codes-00001.safetensors'));
  const path = join(to, 'codec.safetensors');
  const bytes = await readFile(path);
  bytes[9] ^= 1;
  await writeFile(path, bytes);
  const again = await copyArchive(whole, to);
  // Nothing but these, and the manifest that comes last.
  const mended = ['codec.safetensors', 'codes-00001.safetensors', 'manifest.json'];
  const sizes = await Promise.all(mended.map(async (name) => (await stat(join(whole, name))).size));
  expect(again.copied).toBe(sizes.reduce((sum, size) => sum + size, 0));
  expect(again.copied).toBeLessThan(again.bytes);
  expect(await readTree(to)).toEqual(await archiveTree());
});

test('a damaged source is told and not copied', async () => {
  const damaged = temporary.path('damaged');
  await cp(whole, damaged, { recursive: true });
  const path = join(damaged, 'codes-00000.safetensors');
  const bytes = await readFile(path);
  bytes[bytes.length - 9] ^= 1;
  await writeFile(path, bytes);
  const to = temporary.path('of-damaged');
  const field = expect.stringContaining(path);
  await expect(copyArchive(damaged, to)).rejects.toMatchObject({ code: 'CORRUPT_DATA', field });
  const files = await readTree(to);
  expect([files.has('manifest.json'), files.has('codes-00000.safetensors')]).toEqual([
    false,
    false,
  ]);
});

test('what is there already is not touched', async () => {
  const to = temporary.path('occupied');
  await writeSmall(to, undefined, { until: 2 });
  const before = await readTree(to);
  await expect(copyArchive(whole, to)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  expect(await readTree(to)).toEqual(before);
  await expect(copyArchive(whole, 'http://host/x')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  const codec = { name: 'none', store: 'logits' } as const;
  const pack = packLogits({ source: whole, out: 's3://bucket/labels', codec });
  await expect(pack).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'out' });
});

test('packed images are copied as well', async () => {
  const photos = temporary.path('photos');
  await writeImage(photos, 'one.png', 1, [16, 16]);
  const packed = temporary.path('packed');
  await packImages({ images: await openImages(photos), out: packed });
  const to = temporary.path('packed-copy');
  await copyArchive(packed, to);
  expect(await readTree(to)).toEqual(await readTree(packed));
});
