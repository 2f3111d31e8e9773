import { cp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks } from '#src/core/blocks.js';
import { openImages, packImages, verifyArchive } from '#src/index.js';
import { localStore } from '#src/store/local.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { SMALL, smallRow, writeSmall } from './fixture.js';

const temporary = await temporaryDirectory();
const whole = temporary.path('whole');
let copies = 0;

beforeAll(() => writeSmall(whole));

async function copyOf(archive: string): Promise<string> {
  const directory = temporary.path(`copy-${copies++}`);
  await cp(archive, directory, { recursive: true });
  return directory;
}

/** Where the data of a safetensors file begin. */
async function dataOf(path: string): Promise<number> {
  return 8 + (await readFile(path)).readUInt32LE(0);
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  expect(at).toBeLessThan(bytes.length);
  bytes[at] ^= 4;
  await writeFile(path, bytes);
}

test('a sound archive has no damage, and every byte of it is read', async () => {
  const seen: number[] = [];
  const report = await verifyArchive(whole, { onProgress: (done) => seen.push(done) });
  await using archive = await openArchive(whole);
  // Headers and checksums of shards are not blocks.
  expect(report).toMatchObject({ kind: 'archive', id: archive.id, damage: [] });
  expect(report.files).toBe(4 + archive.shards.count);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
});

test('progress is told against all bytes, from its first report on', async () => {
  const [done, totals]: [number[], number[]] = [[], []];
  await verifyArchive(whole, {
    onProgress: (verified, total) => {
      done.push(verified);
      totals.push(total);
    },
  });
  expect(totals.length).toBeGreaterThan(1);
  expect(new Set(totals).size).toBe(1);
  expect(done.at(-1)).toBe(totals[0]);
});

test('all damage is in one report: kinds, files, and the labels that are hit', async () => {
  const directory = await copyOf(whole);
  const shard = (i: number) => join(directory, `codes-0000${i}.safetensors`);
  await using archive = await openArchive(whole);
  expect(archive.shards.count).toBe(3);
  await rm(shard(0));
  await truncate(shard(1), 4000);
  const { bytes } = archive.shards.at(2);
  await flip(shard(2), bytes - 1);
  await flip(join(directory, 'samples.safetensors'), 3);
  const { damage } = await verifyArchive(directory);
  expect(damage.map(({ file, kind }) => [file, kind])).toEqual([
    ['samples.safetensors', 'content'],
    ['codes-00000.safetensors', 'missing'],
    ['codes-00001.safetensors', 'size'],
    ['codes-00002.safetensors', 'structure'],
  ]);
  const all = { epochs: [0, 5], samples: [0, 11] };
  const last = { epochs: [4, 5], samples: [0, 11] };
  const labels = damage.map((one) => 'labels' in one && one.labels);
  expect(labels[0]).toEqual([
    { column: 'codes', ...all },
    { column: 'weight', ...all },
  ]);
  expect(labels[3]).toEqual([
    { column: 'codes', ...last },
    { column: 'weight', ...last },
  ]);
});

test('shards that changed places, and a changed table, are damage', async () => {
  const directory = await copyOf(whole);
  const names = [0, 1].map((i) => join(directory, `codes-0000${i}.safetensors`));
  await rename(names[0], join(directory, 'aside'));
  await rename(names[1], names[0]);
  await rename(join(directory, 'aside'), names[1]);
  await flip(join(directory, 'shards.safetensors'), 200);
  const { damage } = await verifyArchive(directory);
  expect(damage.map(({ file }) => file)).toEqual([
    'shards.safetensors',
    'codes-00000.safetensors',
    'codes-00001.safetensors',
  ]);
});

test('every flipped bit of any file but the notes of the manifest is found in its file', async () => {
  const directory = await copyOf(whole);
  await using archive = await openArchive(whole);
  const shards = Array.from({ length: archive.shards.count }, (_, i) => archive.shards.at(i).file);
  const files = ['codec.safetensors', 'samples.safetensors', 'shards.safetensors', ...shards];
  for (const file of files) {
    const path = join(directory, file);
    const sound = await readFile(path);
    for (let at = 0; at < sound.length; at += 127) {
      const changed = Buffer.from(sound);
      changed[at] ^= 1 << (at % 8);
      await writeFile(path, changed);
      const { damage } = await verifyArchive(directory);
      expect(
        damage.map((one) => one.file),
        `${file}, byte ${at}`,
      ).toContain(file);
    }
    await writeFile(path, sound);
  }
  expect((await verifyArchive(directory)).damage).toEqual([]);
});

describe.each([
  ['fixed', { kind: 'fixed', bitsPerLabel: 13 }],
  ['blocks', { kind: 'blocks', labelsPerBlock: 48 }],
] as const)('damaged blocks of the layout %s', (name, layout) => {
  const samples = 400_000;
  const directory = temporary.path(`large-${name}`);
  const spec: ArchiveSpec = {
    ...SMALL,
    samples,
    epochs: 3,
    layout,
    codec: { ...SMALL.codec, sampleTensors: new Map() },
    columns: [{ name: 'weight', dtype: 'F16', rowBytes: 2 * samples }],
    grid: { epochs: 3, samples },
  };

  beforeAll(async () => {
    await using writer = await createArchive(directory, spec);
    const blocks = Array.from({ length: Math.ceil(samples / 48) }, (_, i) =>
      new Uint8Array(i % 7 === 0 ? 1 : 60 + (i % 50)).fill(i),
    );
    const codes =
      name === 'fixed' ? new Uint8Array((samples * 13) / 8).fill(85) : joinBlocks(blocks);
    const weight = new Uint8Array(2 * samples);
    for (let epoch = 0; epoch < 3; epoch++) await writer.writeRow(epoch, { codes, weight });
    await writer.finish();
  });

  it('hit exactly the labels that cannot be read any more', async () => {
    const path = join(directory, 'codes-00000.safetensors');
    const sound = await readFile(path);
    // 1 MiB blocks after a header of a page.
    for (const at of [4096 + 10, 4096 + 1.5 * 2 ** 20]) {
      const changed = Buffer.from(sound);
      changed[at] ^= 1;
      await writeFile(path, changed);
      const { damage } = await verifyArchive(directory);
      expect(damage).toMatchObject([{ kind: 'block', block: Math.floor((at - 4096) / 2 ** 20) }]);
      const [{ labels }] = damage as unknown as [{ labels: readonly Hit[] }];
      const hits = labels.filter(({ column }) => column === 'codes');
      expect(hits.length).toBeGreaterThan(0);
      await using archive = await openArchive(directory);
      const isReadable = (epoch: number, start: number) =>
        archive.readCodes(epoch, { start, count: 1 }).then(
          () => true,
          () => false,
        );
      for (let epoch = 0; epoch < 3; epoch++) {
        const edges = hits
          .flatMap((hit) => hit.samples)
          .flatMap((edge) => [edge - 49, edge - 1, edge, edge + 48]);
        for (const sample of edges) {
          if (sample < 0 || sample >= samples) continue;
          const isHit = hits.some(
            (hit) => inside(epoch, hit.epochs) && inside(sample, hit.samples),
          );
          // Labels are read with those that share their bytes: 8 of 13 bits.
          const first = Math.floor(sample / 8) * 8;
          const near = hits.some(
            (hit) =>
              inside(epoch, hit.epochs) &&
              Array.from({ length: 8 }, (_, i) => first + i).some((other) =>
                inside(other, hit.samples),
              ),
          );
          const found = !(await isReadable(epoch, sample));
          expect(found, `epoch ${epoch}, sample ${sample}`).toBe(name === 'fixed' ? near : isHit);
        }
      }
    }
    await writeFile(path, sound);
  });
});

interface Hit {
  readonly column: string;
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

const inside = (value: number, [from, to]: readonly [number, number]) =>
  value >= from && value < to;

test('an unfinished archive: what is there and valid, and records that are not', async () => {
  const directory = temporary.path('unfinished');
  await writeSmall(directory, SMALL, { until: 3 });
  const report = await verifyArchive(directory);
  expect(report).toMatchObject({
    kind: 'unfinished archive',
    labels: { present: 33, total: 55 },
    shards: { sealed: 1, begun: 1, total: 3 },
    damage: [],
  });
  const log = join(directory, 'codes-00001.safetensors.partial');
  const sound = await readFile(log);
  // Cut short as by a kill: no damage, labels fewer.
  await truncate(log, sound.length - 3);
  expect(await verifyArchive(directory)).toMatchObject({ labels: { present: 22 }, damage: [] });
  await writeFile(log, sound);
  await flip(log, sound.length - 3);
  expect(await verifyArchive(directory)).toMatchObject({
    labels: { present: 22 },
    damage: [{ file: 'codes-00001.safetensors.partial', bytes: [48, sound.length] }],
  });
  // A writer that resumes takes as much.
  await using writer = await createArchive(directory, SMALL, { resume: true });
  expect(writer.next).toEqual({ epoch: 2, sample: 0 });
});

test('shards that are missing cost no look-ups of their own', async () => {
  const directory = temporary.path('many-shards');
  const grid = { epochs: 1, samples: 11 };
  const spec = { ...SMALL, epochs: 100_000, grid };
  await writeSmall(directory, spec, { until: 2 });
  const store = localStore(directory);
  let opened = 0;
  const open = (key: string) => {
    opened += 1;
    return store.open(key);
  };
  const report = await verifyArchive({ ...store, open });
  expect(report).toMatchObject({ shards: { sealed: 2, begun: 0, total: 100_000 }, damage: [] });
  expect(opened).toBeLessThan(10);
});

test('a lost manifest is damage; a folder of something else is not an archive', async () => {
  const directory = await copyOf(whole);
  await rm(join(directory, 'manifest.json'));
  expect(await verifyArchive(directory)).toMatchObject({
    kind: 'archive',
    damage: [{ file: 'manifest.json', kind: 'missing' }],
  });
  await writeFile(join(directory, 'manifest.json'), '{');
  expect(await verifyArchive(directory)).toMatchObject({ damage: [{ file: 'manifest.json' }] });
  await expect(
    verifyArchive(fileURLToPath(import.meta.url.replace(/[^/]+$/, ''))),
  ).rejects.toMatchObject({
    code: 'INCOMPLETE',
  });
});

it.each(['vqae', 'pruned', 'topk'])('verifies archives of version 1: %s', async (name) => {
  const golden = fileURLToPath(new URL(`../golden/archives/${name}`, import.meta.url));
  expect(await verifyArchive(golden)).toMatchObject({ damage: [] });
  const directory = await copyOf(golden);
  const shard = join(directory, 'codes-00000-of-00001.safetensors');
  await flip(shard, await dataOf(shard));
  const { damage } = await verifyArchive(directory);
  expect(damage).toMatchObject([{ kind: 'block', block: 0 }]);
});

test('packed images: damage names the images it hits', async () => {
  const directory = temporary.path('images');
  const folder = temporary.path('folder');
  for (let i = 0; i < 6; i++) await writeImage(folder, `a/${i}.png`, i, [4, 4]);
  await packImages({ images: await openImages(folder), out: directory });
  expect(await verifyArchive(directory)).toMatchObject({ kind: 'packed images', damage: [] });
  const shard = join(directory, 'images-00000.safetensors');
  await flip(shard, await dataOf(shard));
  expect(await verifyArchive(directory)).toMatchObject({
    damage: [{ file: 'images-00000.safetensors', kind: 'block', samples: [0, 6] }],
  });
});

test('rows of the fixture differ, so that a shard in another place is another shard', () => {
  expect(smallRow(0)).not.toEqual(smallRow(1));
});
