import { copyFile, cp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { WriterLock } from '#src/container/lock.js';
import { RandomSequence } from '#src/core/random.js';
import { openImages, packImages, repairArchive, verifyArchive } from '#src/index.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, smallRow, writeSmall } from './fixture.js';

const temporary = await temporaryDirectory();
const whole = temporary.path('whole');
const wide = temporary.path('wide');
let copies = 0;

/** 120 shards of a page or two each. */
const WIDE: ArchiveSpec = {
  ...SMALL,
  epochs: 120,
  grid: { epochs: 1, samples: 11 },
};

beforeAll(async () => {
  await writeSmall(whole);
  await using writer = await createArchive(wide, WIDE);
  for (let epoch = 0; epoch < 120; epoch++) await writer.writeRow(epoch, smallRow(epoch));
  await writer.finish();
});

async function copyOf(archive: string): Promise<string> {
  const directory = temporary.path(`copy-${copies++}`);
  await cp(archive, directory, { recursive: true });
  return directory;
}

test('20 random damages are repaired to equal bytes', async () => {
  const random = new RandomSequence(7, 1);
  const below = (count: number) => Math.floor(random.uniform() * count);
  const directory = await copyOf(wide);
  const names = (await readdir(directory)).filter((name) => name !== 'manifest.json').sort();
  const damages = [
    async (path: string) => {
      const bytes = await readFile(path);
      bytes[below(bytes.length)] ^= 1 << below(8);
      await writeFile(path, bytes);
    },
    async (path: string) => truncate(path, below((await readFile(path)).length)),
    (path: string) => rm(path),
    async (path: string) => {
      const other = join(directory, names[below(names.length)]);
      await rename(path, `${path}.aside`);
      await copyFile(other, path).catch(() => undefined);
      await rename(`${path}.aside`, other);
    },
    async (path: string) => writeFile(path, Buffer.concat([await readFile(path), Buffer.alloc(9)])),
  ];
  for (let i = 0; i < 20; i++) {
    const path = join(directory, names[below(names.length)]);
    await damages[i % damages.length](path).catch(() => undefined);
  }
  expect((await verifyArchive(directory)).damage.length).toBeGreaterThanOrEqual(12);
  const report = await repairArchive(directory, wide);
  expect(report.repaired.length).toBeGreaterThanOrEqual(12);
  expect(report.unrepaired).toEqual([]);
  expect(await readTree(directory)).toEqual(await readTree(wide));
  expect(await repairArchive(directory, wide)).toMatchObject({ repaired: [] });
});

test('of flipped bits only their blocks are fetched', async () => {
  const samples = 2 ** 20;
  const spec: ArchiveSpec = {
    ...{ ...SMALL, samples, epochs: 4, columns: [] },
    codec: { ...SMALL.codec, sampleTensors: new Map() },
    layout: { kind: 'fixed', bitsPerLabel: 128 },
    grid: { epochs: 4, samples },
  };
  const sound = temporary.path('large');
  await using writer = await createArchive(sound, spec);
  for (let epoch = 0; epoch < 4; epoch++) {
    const codes = Buffer.alloc(16 * samples, `epoch ${epoch} `);
    await writer.writeRow(epoch, { codes });
  }
  await writer.finish();
  const directory = await copyOf(sound);
  const path = join(directory, 'codes-00000.safetensors');
  const bytes = await readFile(path);
  bytes[33_333_333] ^= 1;
  await writeFile(path, bytes);
  const { repaired, fetched } = await repairArchive(directory, sound);
  expect(repaired).toEqual([{ file: 'codes-00000.safetensors', fetched: 2 ** 20 }]);
  expect(fetched).toBeLessThan(0.02 * bytes.length);
  expect(
    (await readFile(path)).equals(await readFile(join(sound, 'codes-00000.safetensors'))),
  ).toBe(true);
});

test('two copies that are damaged in different places repair each other', async () => {
  const [a, b] = [await copyOf(whole), await copyOf(whole)];
  await rm(join(a, 'codes-00000.safetensors'));
  await rm(join(b, 'codes-00001.safetensors'));
  await rm(join(b, 'codec.safetensors'));
  expect(await repairArchive(a, b)).toMatchObject({ unrepaired: [] });
  expect(await repairArchive(b, a)).toMatchObject({ unrepaired: [] });
  for (const directory of [a, b]) expect(await readTree(directory)).toEqual(await readTree(whole));
});

test('damage that the copy has too is told, the rest repaired, and nothing worsened', async () => {
  const [a, b] = [await copyOf(whole), await copyOf(whole)];
  for (const directory of [a, b]) {
    const path = join(directory, 'codes-00000.safetensors');
    const bytes = await readFile(path);
    bytes[8 + bytes.readUInt32LE(0)] ^= 1;
    await writeFile(path, bytes);
  }
  await rm(join(a, 'codes-00002.safetensors'));
  const before = await readFile(join(a, 'codes-00000.safetensors'));
  const report = await repairArchive(a, b);
  expect(report.repaired.map(({ file }) => file)).toEqual(['codes-00002.safetensors']);
  expect(report.unrepaired).toMatchObject([
    { file: 'codes-00000.safetensors', problem: expect.stringContaining('damaged there too') },
  ]);
  expect(await readFile(join(a, 'codes-00000.safetensors'))).toEqual(before);
  expect((await readdir(a)).filter((name) => name.includes('tmp'))).toEqual([]);
});

test('other archives, a damaged manifest and a writer at work are refused', async () => {
  const directory = await copyOf(whole);
  await expect(repairArchive(directory, wide)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    expected: expect.stringMatching(/^id [0-9a-f]{64}$/),
    found: expect.stringMatching(/^id [0-9a-f]{64}$/),
  });
  {
    await using _lock = await WriterLock.acquire(directory);
    await expect(repairArchive(directory, whole)).rejects.toMatchObject({ code: 'LOCKED' });
  }
  await writeFile(join(directory, 'manifest.json'), '{}');
  await expect(repairArchive(directory, whole)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  expect(await readdir(directory)).not.toContain('writer.lock');
});

test('packed images are repaired from a copy, by their damaged blocks', async () => {
  const photos = temporary.path('photos');
  for (let i = 0; i < 6; i++) await writeImage(photos, `${i}.png`, i, [320, 320]);
  const sound = temporary.path('packed');
  await packImages({ images: await openImages(photos), out: sound, shardBytes: 2 ** 20 });
  const files = (await readdir(sound)).filter((name) => name !== 'manifest.json').sort();
  expect(files.length).toBeGreaterThan(1);
  const directory = await copyOf(sound);
  const bytes = await readFile(join(directory, files[0]));
  bytes[bytes.length - 50_000] ^= 4;
  await writeFile(join(directory, files[0]), bytes);
  await rm(join(directory, files[1]));
  expect((await verifyArchive(directory)).damage.length).toBe(2);
  const seen: number[] = [];
  const report = await repairArchive(directory, sound, { onProgress: (done) => seen.push(done) });
  const of = (i: number) => report.repaired[i];
  expect(report.unrepaired).toEqual([]);
  expect([of(0).file, of(1).file]).toEqual(files.slice(0, 2));
  // The one block, at most; the other file whole but for what is padding between them.
  expect(of(0).fetched).toBeLessThanOrEqual(2 ** 20);
  expect(await readTree(directory)).toEqual(await readTree(sound));
  expect(seen.length).toBe(files.length);
  expect((await verifyArchive(directory)).damage).toEqual([]);

  const others = temporary.path('other-packed');
  await rm(join(photos, '0.png'));
  await packImages({ images: await openImages(photos), out: others });
  const wrong = repairArchive(directory, others);
  await expect(wrong).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: others });
  await expect(repairArchive(directory, whole)).rejects.toMatchObject({ code: 'INVALID_FILE' });
});
