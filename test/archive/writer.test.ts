import { copyFile, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, smallRow, tensor, writeSmall } from './fixture.js';

const directory = await temporaryDirectory();
const reference = directory.path('reference');
await writeSmall(reference);
const SHARDS = ['codes-00000.safetensors', 'codes-00001.safetensors', 'codes-00002.safetensors'];

describe('createArchive', () => {
  test('writes plain safetensors files, equal for equal input', async () => {
    const again = directory.path('again');
    await writeSmall(again);
    const tree = await readTree(again);
    expect([...tree.keys()]).toEqual([
      'codec.safetensors',
      ...SHARDS,
      'manifest.json',
      'samples.safetensors',
      'shards.safetensors',
    ]);
    expect(tree).toEqual(await readTree(reference));
  });

  test('writes shards that need no code of ours to be read', async () => {
    // 5 epochs in 3 shards: rectangles of 2, 2 and 1 epochs.
    const file = await readFile(join(reference, SHARDS[1]));
    const headerBytes = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.subarray(8, 8 + headerBytes).toString());
    const rectangle = 'e00002-00004.s00000000-00000011';
    expect(Object.keys(header)).toEqual([
      '__metadata__',
      `codes.${rectangle}`,
      `weight.${rectangle}`,
      `block_xxh64.${rectangle}`,
    ]);
    expect((8 + headerBytes) % 8).toBe(0);
    const codes = header[`codes.${rectangle}`];
    expect(codes).toEqual({ dtype: 'U8', shape: [2, 18], data_offsets: [0, 36] });
    const data = file.subarray(8 + headerBytes);
    expect(data.subarray(0, 36)).toEqual(Buffer.concat([smallRow(2).codes, smallRow(3).codes]));
    expect(header[`weight.${rectangle}`]).toMatchObject({ dtype: 'F16', shape: [2, 11] });
    expect(data.subarray(36, 80)).toEqual(Buffer.concat([smallRow(2).weight, smallRow(3).weight]));
    const codec = await readFile(join(reference, 'codec.safetensors'), 'latin1');
    expect(codec).toContain('a label is the sum of its codewords');
    expect(codec).toMatch(/13 bits a label.*\(row\[b >> 3\] >> \(b & 7\)\) & 1/);
  });

  test.each([
    ['classes', { classes: 0 }, 'classes'],
    ['samples', { samples: 1.5 }, 'samples'],
    ['epochs', { epochs: -1 }, 'epochs'],
    ['tau', { tau: 0 }, 'tau'],
    ['NaN', { tau: Number.NaN }, 'tau'],
    ['class names', { classNames: ['a'] }, 'classNames'],
    ['a decoding', { decoding: '' }, 'decoding'],
    ['bits', { layout: { kind: 'fixed', bitsPerLabel: -1 } as const }, 'layout.bitsPerLabel'],
    ['augmentation', { augmentation: { seed: 1n } }, 'augmentation.seed'],
    ['teacher', { teacher: new Float32Array(1) }, 'teacher'],
    [
      'a second codes column',
      { columns: [{ name: 'codes', dtype: 'U8', rowBytes: 1 } as const] },
      'columns',
    ],
    [
      'half an element',
      { columns: [{ name: 'x', dtype: 'F32', rowBytes: 6 } as const] },
      'columns',
    ],
    [
      'a column name',
      { columns: [{ name: 'a.b', dtype: 'U8', rowBytes: 1 } as const] },
      'columns[1].name',
    ],
    ['shard size', { shardBytes: 0 }, 'shardBytes'],
  ])('refuses a spec with wrong %s', async (_, change, field) => {
    const path = directory.path('refused');
    await expect(createArchive(path, { ...SMALL, ...change })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: expect.stringMatching(new RegExp(`${field.replace(/[[\].]/g, '\\$&')}$`)),
    });
    await expect(readTree(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('refuses codec tensors that are not what they say', async () => {
    const tensors = new Map([['codebook', tensor([1, 2, 3], [2, 2])]]);
    const spec = { ...SMALL, codec: { ...SMALL.codec, tensors } };
    await expect(createArchive(directory.path('refused'), spec)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'codec.safetensors: tensor codebook',
      found: 12,
    });
  });

  test('refuses layouts and sizes that shards cannot hold', async () => {
    const path = directory.path('refused');
    const layout = { kind: 'blocks', labelsPerBlock: 0 } as const;
    await expect(createArchive(path, { ...SMALL, layout })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'archive spec: layout.labelsPerBlock',
    });
    // A column that is not cut by samples, of two bytes each.
    const columns = [{ name: 'weight', dtype: 'F16', rowBytes: 2 ** 31 }] as const;
    await expect(createArchive(path, { ...SMALL, columns })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'columns',
    });
    const grid = { epochs: 1, samples: 4 };
    await expect(createArchive(path, { ...SMALL, grid })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'grid.samples',
      expected: 'a multiple of 8',
    });
  });

  test('leaves a directory that holds something else alone', async () => {
    const path = directory.path('occupied');
    await mkdir(path);
    await writeFile(join(path, 'photo.jpg'), 'x');
    for (const resume of [false, true]) {
      await expect(createArchive(path, SMALL, { resume })).rejects.toMatchObject({
        code: 'ALREADY_EXISTS',
        found: 'photo.jpg',
      });
    }
    await expect(createArchive(reference, SMALL)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect([...(await readTree(path)).keys()]).toEqual(['photo.jpg']);
  });
});

describe('ArchiveWriter', () => {
  test('takes whole rows, one at a time', async () => {
    await using writer = await createArchive(directory.path('rows'), SMALL);
    const row = smallRow(0);
    const refused = async (epoch: number, wrong: Record<string, Uint8Array>, field: string) => {
      await expect(writer.writeRow(epoch, wrong)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field,
      });
    };
    await refused(5, row, 'epoch');
    await refused(0, { codes: row.codes }, 'row.weight');
    await refused(0, { ...row, codes: row.codes.subarray(1) }, 'row.codes');
    await refused(0, { ...row, lambda: row.weight }, 'row.lambda');
    await refused(0, { ...row, codes: row.codes.with(17, 0x80) }, 'row.codes');
    await expect(writer.finish()).rejects.toMatchObject({
      code: 'INCOMPLETE',
      expected: 5,
      found: 0,
    });
    const first = writer.writeRow(0, row);
    await refused(0, row, 'writer');
    await first;
    expect(writer.nextEpoch).toBe(1);
    // The same row again is nothing new, another one is refused.
    await writer.writeRow(0, row);
    await expect(writer.writeRow(0, smallRow(1))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'epoch 0, samples 0 to 10',
    });
  });

  test('writes rows that are views into shared buffers', async () => {
    const path = directory.path('shared');
    await using writer = await createArchive(path, SMALL);
    for (let epoch = 0; epoch < 5; ++epoch) {
      const memory = new Uint8Array(new SharedArrayBuffer(64)).fill(0xaa);
      const { codes, weight } = smallRow(epoch);
      memory.set(codes, 3);
      memory.set(weight, 33);
      await writer.writeRow(epoch, {
        codes: memory.subarray(3, 21),
        weight: memory.subarray(33, 55),
      });
    }
    await writer.finish();
    expect(await readTree(path)).toEqual(await readTree(reference));
  });

  test.each([0, 1, 2, 3, 4, 5])('goes on after %i epochs to the same bytes', async (until) => {
    const path = directory.path(`resumed-${until}`);
    await writeSmall(path, { ...SMALL, epochs: 5 }, { until: Math.min(until, 4) });
    if (until === 5) await writeSmall(path, SMALL, { resume: true });
    await expect(createArchive(path, SMALL)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    const writer = await createArchive(path, SMALL, { resume: true });
    expect(writer.nextEpoch).toBe(until);
    await writer.close();
    await writeSmall(path, SMALL, { resume: true });
    expect(await readTree(path)).toEqual(await readTree(reference));
  });

  test.each([
    ['spec.tau', { tau: 10 }, '20', '10'],
    ['spec.epochs', { epochs: 6 }, '5', '6'],
    [
      'spec.augmentation.seed',
      { augmentation: { generator: 'test', seed: 8, mix: { kind: 'none' } } },
      '7',
      '8',
    ],
    ['spec.classNames.1', { classNames: ['a', 'x', 'c'] }, '"b"', '"x"'],
    ['spec.teacher', { teacher: undefined }, '{"name":"teacher","sha256":"ab"}', 'nothing'],
    ['spec.grid.epochs', { shardBytes: 1000 }, '2', '5'],
    [
      'spec.codecFile.sha256',
      { decoding: 'a label is the mean of its codeword' },
      undefined,
      undefined,
    ],
  ])('tells how a resumed spec differs: %s', async (field, change, expected, found) => {
    for (const until of [3, 5]) {
      const path = directory.path(`differs-${field}-${until}`);
      await writeSmall(path, SMALL, { until });
      const resumed = createArchive(path, { ...SMALL, ...change }, { resume: true });
      await expect(resumed).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field,
        ...(expected === undefined ? {} : { expected, found }),
      });
    }
  });

  test('starts again from a row whose bytes are not those that were written', async () => {
    const path = directory.path('damaged-row');
    await writeSmall(path, SMALL, { until: 3 });
    const partial = join(path, `${SHARDS[1]}.partial`);
    const bytes = await readFile(partial);
    bytes[100] ^= 1;
    await writeFile(partial, bytes);
    const writer = await createArchive(path, SMALL, { resume: true });
    expect(writer.nextEpoch).toBe(2);
    await writer.close();
    await writeSmall(path, SMALL, { resume: true });
    expect(await readTree(path)).toEqual(await readTree(reference));
  });

  test.each([
    ['a torn record', `${SHARDS[1]}.partial`, (size: number) => size - 5, 2],
    ['a short shard', `${SHARDS[1]}.partial`, () => 50, 2],
    ['an empty shard', `${SHARDS[1]}.partial`, () => 0, 2],
    ['a damaged finished shard', SHARDS[0], () => 4200, 0],
    ['a damaged codec', 'codec.safetensors', () => 100, 3],
  ])('survives %s', async (name, file, size, nextEpoch) => {
    const path = directory.path(`survives-${name}`);
    await writeSmall(path, SMALL, { until: 3 });
    const before = (await readTree(path)).get(file)?.length ?? 0;
    await truncate(join(path, file), size(before));
    const writer = await createArchive(path, SMALL, { resume: true });
    expect(writer.nextEpoch).toBe(nextEpoch);
    await writer.close();
    await writeSmall(path, SMALL, { resume: true });
    expect(await readTree(path)).toEqual(await readTree(reference));
  });

  test('keeps a valid shard that is in place already, and replaces an invalid one', async () => {
    const path = directory.path('first-wins');
    await writeSmall(path, SMALL, { until: 0 });
    // As if others had written shard 1 well and shard 2 badly.
    await copyFile(join(reference, SHARDS[1]), join(path, SHARDS[1]));
    await writeFile(join(path, SHARDS[2]), 'junk');
    await using writer = await createArchive(path, SMALL, { resume: true });
    for (let epoch = 0; epoch < 5; ++epoch) {
      const row = smallRow(epoch);
      // These rows lose to the shard that came first.
      if (epoch === 2) row.codes.fill(0);
      await writer.writeRow(epoch, row);
    }
    await writer.finish();
    expect(await readTree(path)).toEqual(await readTree(reference));
  });

  test('writes archives without side data, without codec tensors, with labels of no bits', async () => {
    const path = directory.path('least');
    const { columns, classNames, teacher, ...rest } = SMALL;
    const codec = { name: 'none', config: {}, tensors: new Map(), sampleTensors: new Map() };
    const layout = { kind: 'fixed', bitsPerLabel: 0 } as const;
    const spec = { ...rest, codec, layout, augmentation: null };
    await using writer = await createArchive(path, spec);
    for (let epoch = 0; epoch < 5; ++epoch)
      await writer.writeRow(epoch, { codes: new Uint8Array() });
    const manifest = await writer.finish();
    expect(manifest.columns).toEqual([{ name: 'codes', dtype: 'U8', rowBytes: 0 }]);
    expect(manifest).not.toHaveProperty('samplesFile');
    await rm(path, { recursive: true });
  });
});
