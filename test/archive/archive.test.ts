import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LabelArchive, openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { loadXxh64 } from '#src/container/checksum.js';
import { SoftpackError } from '#src/errors.js';
import type { ByteStore } from '#src/store/byte-store.js';
import { localStore } from '#src/store/local.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, smallRow, writeSmall } from './fixture.js';

const directory = await temporaryDirectory();
const small = directory.path('small');
await writeSmall(small);

/** Rows of 300,007 bytes: blocks hold parts of several rows, rows parts of several blocks. */
const WIDE: ArchiveSpec = {
  ...SMALL,
  samples: 300_007,
  epochs: 9,
  layout: { kind: 'fixed', bitsPerLabel: 8 },
  codec: { ...SMALL.codec, sampleTensors: new Map() },
  columns: [{ name: 'huge', dtype: 'U8', rowBytes: 2_500_000 }],
  shardBytes: 15_000_000,
};

function fill(bytes: number, step: number, epoch: number): Uint8Array {
  const values = new Uint8Array(bytes);
  for (let i = 0; i < bytes; ++i) values[i] = i * step + (i >> 8) + epoch * 77;
  return values;
}

const wideRows = Array.from({ length: 9 }, (_, epoch) => ({
  codes: fill(300_007, 3, epoch),
  huge: fill(2_500_000, 5, epoch),
}));

const wide = directory.path('wide');
{
  await using writer = await createArchive(wide, WIDE);
  for (let epoch = 0; epoch < 9; ++epoch) await writer.writeRow(epoch, wideRows[epoch]);
  await writer.finish();
}

describe('openArchive', () => {
  test('hands out what was written', async () => {
    await using archive = await openArchive(small);
    const { classes, samples, epochs, codecParts, manifest } = archive;
    expect([classes, samples, epochs]).toEqual([3, 11, 5]);
    expect(codecParts).toEqual(SMALL.codec);
    expect(manifest).toMatchObject({
      format: 'softpack',
      version: 2,
      minReader: 2,
      features: { required: [], optional: [] },
      tau: 20,
      layout: SMALL.layout,
      augmentation: SMALL.augmentation,
      classNames: SMALL.classNames,
      teacher: SMALL.teacher,
    });
    for (let epoch = 0; epoch < 5; ++epoch) {
      expect(Buffer.from(await archive.readRow(epoch))).toEqual(Buffer.from(smallRow(epoch).codes));
      const weight = await archive.readRow(epoch, 'weight');
      expect(Buffer.from(weight)).toEqual(Buffer.from(smallRow(epoch).weight));
    }
  });

  test.each(['block', 'none'] as const)(
    'reads rows that cross blocks, verify %s',
    async (verify) => {
      await using archive = await openArchive(wide, { verify });
      expect(archive.shards.count).toBeGreaterThan(1);
      // All at once: reads do not disturb each other.
      const epochs = [8, 0, 3, 4, 3, 7];
      const rows = await Promise.all(
        epochs.flatMap((e) => [archive.readRow(e), archive.readRow(e, 'huge')]),
      );
      for (const [i, epoch] of epochs.entries()) {
        const { codes, huge } = wideRows[epoch];
        expect(rows[2 * i].buffer).toBeInstanceOf(SharedArrayBuffer);
        expect(Buffer.compare(rows[2 * i], codes)).toBe(0);
        expect(Buffer.compare(rows[2 * i + 1], huge)).toBe(0);
      }
    },
  );

  test('counts every byte on disk once', async () => {
    for (const path of [small, wide]) {
      await using archive = await openArchive(path);
      const { codes, codec, metadata, container, total } = archive.bytes();
      const names = await readdir(path);
      const sizes = await Promise.all(
        names.map(async (name) => (await stat(join(path, name))).size),
      );
      expect(total).toBe(sizes.reduce((a, b) => a + b, 0));
      expect(codes + codec + metadata + container).toBe(total);
      const { epochs, columns, samples, samplesFile } = archive.manifest;
      expect(codes).toBe(epochs * columns[0].rowBytes);
      expect(codec).toBe(4 * (7 + (samplesFile ? samples : 0)));
      const manifest = (await stat(join(path, 'manifest.json'))).size;
      expect(metadata).toBe(manifest + epochs * columns[1].rowBytes);
      expect(container).toBeGreaterThan(0);
    }
  });

  test('tells a missing directory from an unfinished archive', async () => {
    const missing = openArchive(directory.path('missing'));
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const unfinished = directory.path('unfinished');
    await writeSmall(unfinished, SMALL, { until: 4 });
    await expect(openArchive(unfinished)).rejects.toMatchObject({ code: 'INCOMPLETE' });
  });

  test('refuses rows that are not there, and work after closing', async () => {
    const archive = await openArchive(small);
    for (const epoch of [-1, 5, 0.5, Number.NaN]) {
      await expect(archive.readRow(epoch)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: 'epoch',
      });
    }
    await expect(archive.readRow(0, 'lambda')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'column',
      expected: 'codes, weight',
    });
    await archive.close();
    await expect(archive.readRow(0)).rejects.toMatchObject({ field: 'archive' });
    await expect(archive.verify()).rejects.toMatchObject({ field: 'archive' });
  });

  test('reads only headers and the blocks that a row lies in', async () => {
    const disk = localStore(wide);
    let bytesRead = 0;
    const counting: ByteStore = {
      ...disk,
      async open(key) {
        const file = await disk.open(key);
        return {
          ...file,
          async read(offset, into) {
            bytesRead += into.length;
            await file.read(offset, into);
          },
        };
      },
    };
    await using archive = await openArchive(counting);
    const opening = archive.manifest.codecFile.bytes + 10_000;
    expect(bytesRead).toBeLessThan(opening);
    await archive.readRow(5);
    expect(bytesRead).toBeLessThan(opening + 3 * 2 ** 20);
  });

  test('rejects short reads of a source', async () => {
    const disk = localStore(small);
    const lying: ByteStore = {
      ...disk,
      open: async (key) => ({ ...(await disk.open(key)), size: 1e9 }),
    };
    await expect(openArchive(lying)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });
});

/** A copy of an archive with some files replaced. */
async function copyWith(name: string, files: ReadonlyMap<string, string>): Promise<string> {
  const path = directory.path(name);
  await rm(path, { recursive: true, force: true });
  await mkdir(path);
  for (const [file, bytes] of files) await writeFile(join(path, file), bytes, 'latin1');
  return path;
}

async function readAll(archive: LabelArchive): Promise<string[]> {
  const rows: string[] = [];
  for (let epoch = 0; epoch < archive.epochs; ++epoch) {
    for (const { name } of archive.manifest.columns) {
      rows.push(Buffer.from(await archive.readRow(epoch, name)).toString('hex'));
    }
  }
  return rows;
}

describe('verification', () => {
  test('names file and block of a changed byte, in reading and in verify()', async () => {
    const file = 'codes-00000.safetensors';
    const bytes = await readFile(join(wide, file));
    const tree = await readTree(wide);
    // Row 2 of the codes lies in block 0; this byte is in block 3, in the other column.
    bytes[4096 + 3 * 2 ** 20 + 5] ^= 0x10;
    const path = await copyWith('changed', tree.set(file, bytes.toString('latin1')));
    const corrupt = { code: 'CORRUPT_DATA', field: `${join(path, file)}: block 3` };
    await using archive = await openArchive(path);
    expect(Buffer.compare(await archive.readRow(2), wideRows[2].codes)).toBe(0);
    await expect(readAll(archive)).rejects.toMatchObject(corrupt);
    await expect(archive.verify()).rejects.toMatchObject(corrupt);
    await using trusting = await openArchive(path, { verify: 'none' });
    await readAll(trusting);
  });

  test('passes what is intact', async () => {
    for (const path of [small, wide]) {
      await using archive = await openArchive(path);
      await archive.verify();
    }
  });

  test('finds any flipped bit of any file, or the archive says the same', async () => {
    const tree = await readTree(small);
    await using intact = await openArchive(small);
    const rows = await readAll(intact);
    const place = fc.constantFrom(...tree.keys()).chain((file) =>
      fc.record({
        file: fc.constant(file),
        at: fc.nat((tree.get(file)?.length ?? 1) - 1),
        bit: fc.nat(7),
      }),
    );
    const path = await copyWith('flipped', tree);
    await fc.assert(
      fc.asyncProperty(place, async ({ file, at, bit }) => {
        const bytes = Buffer.from(tree.get(file) ?? '', 'latin1');
        bytes[at] ^= 1 << bit;
        await writeFile(join(path, file), bytes);
        try {
          await using archive = await openArchive(path);
          const found = await readAll(archive);
          await archive.verify();
          // Only what says nothing about the labels may change unnoticed: the version that wrote it.
          expect(found).toEqual(rows);
          expect({ ...archive.manifest, version: 2 }).toEqual(intact.manifest);
        } catch (error) {
          if (!(error instanceof SoftpackError)) throw error;
          expect(error.message).toContain(path);
        }
        await writeFile(join(path, file), tree.get(file) ?? '', 'latin1');
      }),
      { numRuns: 300 },
    );
  });

  test('refuses shards that are swapped, of another archive, cut or missing', async () => {
    const tree = await readTree(small);
    const [, first, second, third] = [...tree.keys()];
    const other = directory.path('other');
    await writeSmall(other, { ...SMALL, tau: 10 });
    const foreign = (await readTree(other)).get(second) ?? '';
    const cases: [Map<string, string>, string][] = [
      [new Map(tree).set(second, tree.get(third) ?? ''), 'INVALID_FILE'],
      [new Map(tree).set(second, foreign), 'INVALID_FILE'],
      [new Map(tree).set(second, (tree.get(second) ?? '').slice(0, -1)), 'INVALID_FILE'],
      [new Map(tree).set(second, `${tree.get(second)}x`), 'INVALID_FILE'],
      [new Map([...tree].filter(([name]) => name !== second)), 'NOT_FOUND'],
    ];
    for (const [files, code] of cases) {
      const path = await copyWith('shards', files);
      await using archive = await openArchive(path);
      await archive.readRow(0);
      const error = await archive.readRow(2).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code, message: expect.stringContaining(join(path, second)) });
      await expect(archive.verify()).rejects.toMatchObject({ code });
    }
    expect(first).toMatch(/^codes-00000/);
  });

  test('reads a shard again once it has been repaired', async () => {
    const tree = await readTree(small);
    const [, , second] = [...tree.keys()];
    const path = await copyWith('repaired', new Map(tree).set(second, 'x'));
    await using archive = await openArchive(path);
    await expect(archive.readRow(2)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await writeFile(join(path, second), tree.get(second) ?? '', 'latin1');
    expect(Buffer.compare(await archive.readRow(2), smallRow(2).codes)).toBe(0);
  });

  test('hashes as xxh64 is defined', async () => {
    const { hash, stream } = await loadXxh64();
    expect(hash(new Uint8Array())).toBe(0xef46db3751d8e999n);
    expect(hash(Buffer.from('abc'))).toBe(0x44bc2cf5ad770999n);
    const pieces = stream();
    pieces.update(Buffer.from('a'));
    pieces.update(Buffer.from('bc'));
    expect(pieces.digest()).toBe(0x44bc2cf5ad770999n);
  });
});
