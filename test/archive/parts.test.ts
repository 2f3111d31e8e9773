import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { verifyArchiveFiles } from '#src/archive/verify-archive.js';
import { localStore } from '#src/store/local.js';
import { temporaryDirectory } from '../temporary.js';
import { forgeManifest, SMALL, smallRow, writeSmall } from './fixture.js';

/** Archives whose manifest lists parts, made by hand as docs/format.md has them, and such as no writer makes. */

const directory = await temporaryDirectory();
let made = 0;

interface Listed {
  readonly folder: string;
  readonly epochs: readonly unknown[];
  readonly bytes: number;
  readonly sha256: string;
}

async function listed(archive: string, folder: string, epochs: Listed['epochs']): Promise<Listed> {
  const bytes = await readFile(join(archive, folder, 'manifest.json'));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { folder, epochs, bytes: bytes.length, sha256 };
}

/** An archive of 5 epochs, and a part of 5 that it does not list yet. */
const base = directory.path('base');
await writeSmall(base);
await writeSmall(join(base, 'part-00001'), { ...SMALL, tau: 3 });

async function list(path: string, parts: readonly unknown[]): Promise<void> {
  const features = { required: ['parts'], optional: [] };
  await forgeManifest(path, { parts, features });
}

const first = await listed(base, 'part-00001', [5, 10]);

async function withParts(parts: readonly unknown[]): Promise<string> {
  const path = directory.path(`forged-${made++}`);
  await cp(base, path, { recursive: true });
  await list(path, parts);
  return path;
}

test('rows come from the part with their epoch', async () => {
  await using archive = await openArchive(await withParts([first]));
  expect(archive.epochs).toBe(10);
  for (let epoch = 0; epoch < 10; epoch++) {
    const { codes, weight } = smallRow(epoch % 5);
    expect([...(await archive.readRow(epoch))]).toEqual([...codes]);
    expect([...(await archive.readRow(epoch, 'weight'))]).toEqual([...weight]);
    expect(archive.temperatureOf(epoch)).toBe(epoch < 5 ? 20 : 3);
    expect(archive.partOf(epoch)).toMatchObject({ index: epoch < 5 ? 0 : 1, epoch: epoch % 5 });
    expect(archive.fileOf(epoch)).toContain(epoch < 5 ? 'forged' : 'part-00001');
  }
  for (const epoch of [-1, 10, 2.5, Number.NaN]) {
    await expect(archive.readRow(epoch)).rejects.toMatchObject({ field: 'epoch' });
    expect(() => archive.partOf(epoch)).toThrow(expect.objectContaining({ field: 'epoch' }));
  }
  await using plain = await openArchive(base);
  expect(plain.parts).toEqual([plain]);
  expect(plain.id).not.toBe(archive.id);
});

test('views of stored epochs may have other numbers', async () => {
  const path = directory.path('views');
  const spec = { ...SMALL, epochs: 12, storedEpochs: 5, views: { first: 8, of: 11 } };
  await writeSmall(path, spec, { until: 5 });
  await using writer = await createArchive(path, spec, { resume: true });
  await writer.finish();
  await using archive = await openArchive(path);
  expect(archive.manifest.features.required).toEqual(['views']);
  const views = Array.from({ length: 12 }, (_, epoch) => archive.storedEpoch(epoch));
  expect(views).toEqual(Array.from({ length: 12 }, (_, epoch) => (8 + (epoch % 5)) % 11));
  expect([...(await archive.readRow(6))]).toEqual([...smallRow(1).codes]);
});

describe('a hostile list of parts', () => {
  const digest = 'a'.repeat(64);
  const part = (change: object) => ({ ...first, ...change });
  test.each<[string, readonly unknown[] | unknown, string]>([
    ['none', [], 'parts'],
    ['no list', { 0: first }, 'parts'],
    ['an overlap', [part({ epochs: [4, 9] })], 'parts[0].epochs'],
    ['a gap', [part({ epochs: [6, 11] })], 'parts[0].epochs'],
    ['an empty range', [part({ epochs: [5, 5] })], 'parts[0].epochs'],
    ['a range backwards', [part({ epochs: [10, 5] })], 'parts[0].epochs'],
    ['half epochs', [part({ epochs: [5, 7.5] })], 'parts[0].epochs'],
    ['too many epochs', [part({ epochs: [5, 2 ** 33] })], 'parts[0].epochs'],
    ['one folder twice', [first, part({ epochs: [10, 15] })], 'parts[1].folder'],
    ['another order', [part({ epochs: [10, 15] }), first], 'parts[0].epochs'],
    ['the folder above', [part({ folder: '..' })], 'parts[0].folder'],
    ['a path that leaves', [part({ folder: 'part-00001/../..' })], 'parts[0].folder'],
    ['a path', [part({ folder: '/etc' })], 'parts[0].folder'],
    ['its own folder', [part({ folder: '.' })], 'parts[0].folder'],
    ['an address', [part({ folder: 'https://host/part-00001' })], 'parts[0].folder'],
    ['a line break', [part({ folder: 'part-00001\n' })], 'parts[0].folder'],
    ['no size', [part({ bytes: 0 })], 'parts[0].bytes'],
    ['a size beyond all manifests', [part({ bytes: 2 ** 40 })], 'parts[0].bytes'],
    ['no hash', [part({ sha256: 'none' })], 'parts[0].sha256'],
    ['another hash', [part({ sha256: digest })], 'part-00001/manifest.json: sha256'],
    ['another size', [part({ bytes: first.bytes + 1 })], 'part-00001/manifest.json: sha256'],
    ['fewer epochs than the part has', [part({ epochs: [5, 9] })], 'epochs'],
    ['more epochs than the part has', [part({ epochs: [5, 11] })], 'epochs'],
    ['a million', Array(1e6).fill(0), 'parts'],
    ['a thousand and one', Array(1001).fill(first), 'parts'],
  ])('is refused: %s', async (_, parts, field) => {
    const path = await withParts(parts as readonly unknown[]);
    await expect(openArchive(path)).rejects.toMatchObject({
      code: expect.stringMatching(/^(INVALID_FILE|CORRUPT_DATA)$/),
      field: expect.stringContaining(field),
    });
    const bytes = await readFile(join(path, 'manifest.json'));
    expect((await verifyArchiveFiles(localStore(path), bytes)).damage.length).toBeGreaterThan(0);
  });

  test('is refused: a part that is not there', async () => {
    const path = await withParts([part({ folder: 'part-00007' })]);
    await expect(openArchive(path)).rejects.toMatchObject({
      code: 'INCOMPLETE',
      field: expect.stringContaining('part-00007'),
    });
  });

  test('is refused: a part inside a part', async () => {
    const path = await withParts([first]);
    const inner = join(path, 'part-00001', 'part-00001');
    await mkdir(inner);
    await cp(join(base, 'part-00001'), inner, { recursive: true });
    await list(join(path, 'part-00001'), [
      await listed(join(path, 'part-00001'), 'part-00001', [5, 10]),
    ]);
    await list(path, [await listed(path, 'part-00001', [5, 15])]);
    await expect(openArchive(path)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      message: expect.stringContaining('not a part of this archive'),
    });
  });

  test('is refused: a part that is the archive itself', async () => {
    const path = await withParts([first]);
    await symlink('.', join(path, 'part-00003'));
    await list(path, [await listed(path, 'part-00003', [5, 10])]);
    await expect(openArchive(path)).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
  });

  test.each<[keyof ArchiveSpec, Partial<ArchiveSpec>]>([
    ['samples', { samples: 12, columns: [], codec: { ...SMALL.codec, sampleTensors: new Map() } }],
    ['classes', { classes: 4, classNames: ['a', 'b', 'c', 'd'] }],
    ['classNames', { classNames: ['a', 'c', 'b'] }],
    ['teacher', { teacher: { name: 'another' } }],
    ['images', { images: { id: 'others' } }],
  ])('is refused: a part with other %s', async (field, change) => {
    const path = await withParts([first]);
    const other = { ...SMALL, ...change };
    const codes = Math.ceil((13 * other.samples) / 8);
    await using writer = await createArchive(join(path, 'part-00004'), other);
    for (let epoch = 0; epoch < 5; epoch++) {
      const { weight } = smallRow(epoch);
      const own = { codes: new Uint8Array(codes) };
      await writer.writeRow(epoch, other.columns?.length === 0 ? own : { ...own, weight });
    }
    await writer.finish();
    await list(path, [await listed(path, 'part-00004', [5, 10])]);
    await expect(openArchive(path)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(`part-00004/manifest.json: ${field}`),
    });
  });

  test('is refused: one that the features do not name', async () => {
    const path = await withParts([first]);
    await forgeManifest(path, { features: { required: [], optional: [] } });
    const details = { code: 'INVALID_FILE', field: expect.stringContaining('features.required') };
    await expect(openArchive(path)).rejects.toMatchObject(details);
  });

  test.each([
    [{ first: 0, of: 0 }],
    [{ first: 3, of: 3 }],
    [{ first: -1, of: 3 }],
    [{ of: 3 }],
    [5],
  ])('views %j are refused', async (views) => {
    const path = directory.path(`views-${made++}`);
    await writeSmall(path, { ...SMALL, views: { first: 0, of: 5 } });
    await forgeManifest(path, { views });
    await expect(openArchive(path)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('views'),
    });
  });

  test('a flipped bit anywhere in the manifest of a part is found', async () => {
    const path = await withParts([first]);
    const file = join(path, 'part-00001', 'manifest.json');
    const bytes = await readFile(file);
    for (let at = 0; at < bytes.length; at += 97) {
      const wrong = Buffer.from(bytes);
      wrong[at] ^= 1 << (at % 8);
      await writeFile(file, wrong);
      await expect(openArchive(path)).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
    }
  });
});

describe('a hostile list of parts of samples', () => {
  const plain = { ...SMALL, augmentation: null };
  const at = directory.path('samples');

  /** 5 epochs x 11 samples, and a part that has as many. */
  async function forged(change: object, others: readonly object[] = [], required?: string[]) {
    const path = directory.path(`forged-${made++}`);
    await cp(at, path, { recursive: true });
    const first = await listed(path, 'part-00001', [0, 5]);
    const parts = [{ ...first, samples: [11, 22], ...change }, ...others];
    const features = { required: required ?? ['parts', 'sample-parts'], optional: [] };
    await forgeManifest(path, { parts, features });
    return path;
  }

  test('is made of archives', async () => {
    await writeSmall(at, plain);
    await writeSmall(join(at, 'part-00001'), plain);
    await writeSmall(join(at, 'part-00002'), { ...plain, tau: 3 });
    await writeSmall(join(at, 'part-00003'));
    await using archive = await openArchive(await forged({}));
    expect([archive.epochs, archive.samples]).toEqual([5, 22]);
    expect((await archive.readRow(1, 'weight')).length).toBe(44);
  });

  test.each<[string, object, string, string[]?]>([
    ['an overlap', { samples: [10, 21] }, 'parts[0].samples'],
    ['the own labels', { samples: [0, 11] }, 'parts[0].samples'],
    ['a hole', { samples: [12, 23] }, 'parts'],
    ['an empty range', { samples: [11, 11] }, 'parts[0].samples'],
    ['a range backwards', { samples: [22, 11] }, 'parts[0].samples'],
    ['half samples', { samples: [11, 21.5] }, 'parts[0].samples'],
    ['too many samples', { samples: [11, 2 ** 33] }, 'parts[0].samples'],
    ['no range', { samples: 11 }, 'parts[0].samples'],
    ['more samples than the part has', { samples: [11, 23] }, 'samples'],
    ['other epochs', { epochs: [0, 4] }, 'parts'],
    ['epochs after a hole', { epochs: [5, 10] }, 'parts'],
    ['no feature', {}, 'features.required', ['parts']],
    ['a feature without samples', { samples: undefined, epochs: [5, 10] }, 'features.required'],
  ])('is refused: %s', async (_, change, field, required) => {
    const path = await forged(change, [], required);
    await expect(openArchive(path)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(field),
    });
  });

  test('is refused: the same labels twice, another temperature, drawn views', async () => {
    const twice = await listed(at, 'part-00002', [0, 5]);
    await expect(
      openArchive(await forged({}, [{ ...twice, samples: [11, 22] }])),
    ).rejects.toMatchObject({ field: expect.stringContaining('parts[1].samples') });
    const hot = { ...twice, samples: [22, 33] };
    await expect(openArchive(await forged({}, [hot]))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('tau'),
    });
    const drawn = { ...(await listed(at, 'part-00003', [0, 5])), samples: [22, 33] };
    await expect(openArchive(await forged({}, [drawn]))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('part-00003/manifest.json: augmentation.generator'),
    });
  });
});
