import { execFileSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import { encodeShardTable, SHARD_TABLE_FILE } from '#src/archive/shards.js';
import { UNFINISHED_FILE } from '#src/archive/unfinished.js';
import { sha256 } from '#src/container/checksum.js';
import { writeTensorFile } from '#src/container/tensor-file.js';
import { temporaryDirectory } from '../temporary.js';
import { forgeManifest, SMALL, tensor, writeSmall } from './fixture.js';

const temporary = await temporaryDirectory();
const whole = temporary.path('whole');
const begun = temporary.path('begun');
let copies = 0;

beforeAll(async () => {
  await writeSmall(whole);
  await writeSmall(begun, SMALL, { until: 3 });
});

async function copyOf(archive: string): Promise<string> {
  const directory = temporary.path(`copy-${copies++}`);
  await cp(archive, directory, { recursive: true });
  return directory;
}

/** Opens the archive and reads everything in it. */
async function readAll(directory: string): Promise<void> {
  await using archive = await openArchive(directory);
  for (let epoch = 0; epoch < archive.epochs; epoch++) await archive.readRow(epoch);
}

/** Things that may be found in place of a file. */
const STRANGERS: Readonly<Record<string, (path: string) => Promise<unknown> | unknown>> = {
  'a FIFO': (path) => execFileSync('mkfifo', [path]),
  'a folder': (path) => mkdir(path),
  'a link to a device': (path) => symlink('/dev/zero', path),
};

describe.each(Object.entries(STRANGERS))('%s', (_, make) => {
  test.each([
    'manifest.json',
    'codec.safetensors',
    'samples.safetensors',
    'shards.safetensors',
    'codes-00000.safetensors',
  ])('in place of %s is named by the reader', async (file) => {
    const directory = await copyOf(whole);
    await rm(join(directory, file));
    await make(join(directory, file));
    await expect(readAll(directory)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `${join(directory, file)}: type`,
    });
  });

  test.each([UNFINISHED_FILE, 'codec.safetensors', 'manifest.json'])(
    'in place of %s is named by the writer that resumes',
    async (name) => {
      const directory = await copyOf(begun);
      await rm(join(directory, name), { force: true });
      await make(join(directory, name));
      await expect(createArchive(directory, SMALL, { resume: true })).rejects.toMatchObject({
        code: 'INVALID_FILE',
        field: `${join(directory, name)}: type`,
      });
    },
  );
});

test('a FIFO in place of the labels written so far is named', async () => {
  const directory = await copyOf(begun);
  const writer = await createArchive(directory, SMALL, { resume: true });
  await writer.close();
  const [first] = await partialFiles(directory);
  await rm(join(directory, first));
  execFileSync('mkfifo', [join(directory, first)]);
  await expect(createArchive(directory, SMALL, { resume: true })).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${join(directory, first)}: type`,
  });
});

async function partialFiles(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.partial'));
}

describe('a sparse file of a terabyte', () => {
  const TERABYTE = 2 ** 40;

  test('is no manifest, and no mark of an unfinished archive', async () => {
    const directory = await copyOf(whole);
    await truncate(join(directory, 'manifest.json'), TERABYTE);
    await expect(openArchive(directory)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      found: TERABYTE,
    });
    const unfinished = await copyOf(begun);
    await truncate(join(unfinished, UNFINISHED_FILE), TERABYTE);
    await expect(createArchive(unfinished, SMALL, { resume: true })).rejects.toMatchObject({
      code: 'INVALID_FILE',
      found: TERABYTE,
    });
  });

  test('is not read as a codec, however its tensors divide it', async () => {
    const directory = await copyOf(whole);
    const file = join(directory, 'codec.safetensors');
    const count = 2 ** 30;
    const header = Object.fromEntries(
      Array.from({ length: 1024 }, (_, i) => [
        `t${i}`,
        { dtype: 'U8', shape: [count], data_offsets: [i * count, (i + 1) * count] },
      ]),
    );
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    await writeFile(file, Buffer.concat([length, json]));
    const bytes = 8 + json.length + TERABYTE;
    await truncate(file, bytes);
    await forgeManifest(directory, { 'codecFile.bytes': bytes });
    await expect(openArchive(directory)).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      field: `${file}: size`,
      found: `${TERABYTE} bytes`,
    });
  });

  test('is too large for a shard', async () => {
    const directory = await copyOf(whole);
    const record = { bytes: TERABYTE, sha256: sha256(), indexSha256: sha256() };
    const table = encodeShardTable([record, record, record]);
    await writeFile(join(directory, SHARD_TABLE_FILE), table);
    await forgeManifest(directory, { 'shardTable.sha256': sha256(table) });
    await expect(openArchive(directory)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(`${SHARD_TABLE_FILE}: bytes of shard 0`),
    });
  });
});

describe('a manifest whose checksum is right', () => {
  const big = { layout: { kind: 'fixed', bitsPerLabel: 2 ** 40 } };
  const bigRow = (11 * 2 ** 40) / 8;
  test.each([
    ['classes of the codec', { 'codec.config.classes': 4 }, 'codec.config.classes'],
    ['temperature of the codec', { 'codec.config.tau': 4 }, 'codec.config.tau'],
    ['2^33 classes', { classes: 2 ** 33 }, 'classes'],
    ['2^33 samples', { samples: 2 ** 33 }, 'samples'],
    ['2^33 epochs', { epochs: 2 ** 33 }, 'epochs'],
    ['a pool of 2^33', { pruning: { samples: 2 ** 33, epochs: 5, seed: 0 } }, 'pruning.samples'],
    ['2^33 epochs to train', { pruning: { samples: 11, epochs: 2 ** 33, seed: 0 } }, 'pruning'],
    ['rows of a terabyte', { ...big, 'columns.0.rowBytes': bigRow }, 'columns'],
    ['many columns', { columns: Array(1001).fill({}) }, 'columns'],
  ])('may not contradict itself: %s', async (_, changes, field) => {
    const directory = await copyOf(whole);
    await forgeManifest(directory, changes);
    await expect(openArchive(directory)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(`${join(directory, 'manifest.json')}: ${field}`),
    });
  });

  test('cannot give side data to other samples', async () => {
    const directory = await copyOf(whole);
    const file = join(directory, 'samples.safetensors');
    const bases = tensor(Array(12).fill(0.5), [12, 1]);
    await writeTensorFile(file, new Map([['bases', bases]]), {});
    const content = await readFile(file);
    await forgeManifest(directory, {
      'samplesFile.bytes': content.length,
      'samplesFile.sha256': sha256(content),
    });
    await expect(openArchive(directory)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `${file}: tensor bases`,
      expected: '[11, ...], one row per sample',
      found: '[12,1]',
    });
  });
});

test('a writer refuses what no reader would open', async () => {
  const other = { ...SMALL, codec: { ...SMALL.codec, config: { tau: 4 } } };
  await expect(createArchive(temporary.path('none'), other)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'archive spec: codec.config.tau',
  });
  const sampleTensors = new Map([['bases', tensor([1, 2], [2])]]);
  const short = { ...SMALL, codec: { ...SMALL.codec, sampleTensors } };
  await expect(createArchive(temporary.path('none'), short)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'archive spec: tensor bases',
  });
});

test('a mark of nothing but newlines is refused at once', async () => {
  const directory = await copyOf(begun);
  await writeFile(join(directory, UNFINISHED_FILE), Buffer.alloc(2 ** 25, '\n'));
  await expect(createArchive(directory, SMALL, { resume: true })).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${join(directory, UNFINISHED_FILE)}: content`,
  });
});
