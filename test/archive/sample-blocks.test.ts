import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks, splitBlocks } from '#src/core/blocks.js';
import {
  copyArchive,
  diffArchives,
  mergeArchives,
  openArchive,
  repairArchive,
  verifyArchive,
} from '#src/index.js';
import { localStore } from '#src/store/local.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, sideBlocks, smallRow, writeSmall } from './fixture.js';

const temporary = await temporaryDirectory();

/** Of 11 samples: blocks of 2, the last of 1, one of them empty, in files of 4. */
const blockOf = (i: number) =>
  Uint8Array.from({ length: [5, 0, 3, 300, 1, 7][i] }, (_, j) => i + j);
const SIDE: ArchiveSpec = {
  ...SMALL,
  codec: { ...SMALL.codec, sampleTensors: new Map(), sampleBlocks: sideBlocks(11, 2, blockOf) },
  samplesPerFile: 4,
};
const FILES = ['samples-00000', 'samples-00001', 'samples-00002', 'samples.shards'].map(
  (name) => `${name}.safetensors`,
);
const whole = temporary.path('whole');
beforeAll(() => writeSmall(whole, SIDE));

let copies = 0;
async function copyOf(archive = whole): Promise<string> {
  const path = temporary.path(`copy-${copies++}`);
  await cp(archive, path, { recursive: true });
  return path;
}

async function edit(path: string, change: (bytes: Buffer) => void): Promise<void> {
  const bytes = await readFile(path);
  change(bytes);
  await writeFile(path, bytes);
}

test('blocks of the samples that are asked for, and no others, are read', async () => {
  const files = [...(await readTree(whole)).keys()];
  expect(files.filter((name) => name.startsWith('samples'))).toEqual(FILES);
  const opened: string[] = [];
  const store = localStore(whole);
  await using archive = await openArchive({
    ...store,
    open: (file) => {
      opened.push(file);
      return store.open(file);
    },
  });
  expect(archive.codecParts.sampleBlocks).toEqual({ samples: 11, samplesPerBlock: 2 });
  expect(opened.filter((name) => /^samples-/.test(name))).toEqual([]);
  const found = await archive.sampleBlocks(Uint32Array.of(6, 7), Uint32Array.of(1));
  const blocks = Array.from({ length: 7 }, (_, i) => found?.(i));
  const expected = Array.from({ length: 7 }, (_, i) =>
    [0, 3].includes(i) ? blockOf(i) : undefined,
  );
  expect(blocks).toEqual(expected);
  expect(opened.filter((name) => /^samples-/.test(name))).toEqual(FILES.slice(0, 2));
  const again = await archive.sampleBlocks(Uint32Array.of(10, 0, 3));
  expect([5, 0, 1, 2].map((i) => again?.(i))).toEqual([
    blockOf(5),
    blockOf(0),
    blockOf(1),
    undefined,
  ]);
  const { sampleBlocks } = await archive.wholeCodec();
  expect(splitBlocks(sampleBlocks?.row ?? new Uint8Array()).map((block) => block.slice())).toEqual(
    Array.from({ length: 6 }, (_, i) => blockOf(i)),
  );
  await expect(archive.sampleBlocks(Uint32Array.of(11))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    expected: 'less than 11',
  });
  const tree = await readTree(whole);
  const bytes = [...tree.values()].reduce((sum, { length }) => sum + length, 0);
  expect(archive.bytes().total).toBe(bytes);
  expect(await verifyArchive(whole)).toMatchObject({ files: tree.size, bytes, damage: [] });
});

test('damage of side data is located by samples, and repaired from a copy', async () => {
  const directory = await copyOf();
  const file = join(directory, FILES[1]);
  const bytes = await readFile(file);
  // Sample 6 has the only block of 300 bytes.
  const at = bytes.indexOf(Buffer.from(blockOf(3)));
  await edit(file, (own) => own.fill(own[at] ^ 1, at, at + 1));
  const { damage } = await verifyArchive(directory);
  expect(damage).toMatchObject([{ file: FILES[1], kind: 'block', block: 0 }]);
  expect('labels' in damage[0] && damage[0].labels).toContainEqual({
    column: 'codes',
    epochs: [0, 5],
    samples: [4, 8],
  });
  await using archive = await openArchive(directory);
  await archive.sampleBlocks(Uint32Array.of(0));
  await expect(archive.sampleBlocks(Uint32Array.of(5))).rejects.toMatchObject({
    code: 'CORRUPT_DATA',
  });
  await rm(join(directory, FILES[0]));
  await rm(join(directory, FILES[3]));
  expect((await verifyArchive(directory)).damage[0]).toMatchObject({
    file: FILES[3],
    kind: 'missing',
  });
  const { repaired, unrepaired } = await repairArchive(directory, whole);
  expect([unrepaired, repaired.map((one) => one.file).sort()]).toEqual([
    [],
    [FILES[0], FILES[1], FILES[3]],
  ]);
  expect(await readTree(directory)).toEqual(await readTree(whole));
});

test('a writer that was killed ends with the same bytes', async () => {
  const directory = temporary.path('resumed');
  await writeSmall(directory, SIDE, { until: 2 });
  expect(await verifyArchive(directory)).toMatchObject({ kind: 'unfinished archive', damage: [] });
  await rm(join(directory, FILES[1]));
  await edit(join(directory, FILES[2]), (bytes) => bytes.fill(0, 20, 30));
  await edit(join(directory, FILES[3]), (bytes) => bytes.fill(0, 20, 30));
  await writeSmall(directory, SIDE, { resume: true });
  expect(await readTree(directory)).toEqual(await readTree(whole));
  const other = { ...SIDE.codec, sampleBlocks: sideBlocks(11, 2, (i) => blockOf((i + 1) % 6)) };
  const changed = createArchive(directory, { ...SIDE, codec: other }, { resume: true });
  await expect(changed).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('merge and copy take side data along, and diff compares them', async () => {
  const pieces = ['left', 'right'].map((name) => temporary.path(name));
  for (const [i, directory] of pieces.entries()) {
    await using writer = await createArchive(directory, SIDE);
    for (let epoch = i; epoch < 5; epoch += 2) await writer.writeRow(epoch, smallRow(epoch));
  }
  const merged = temporary.path('merged');
  await mergeArchives(merged, pieces);
  const [found, wanted] = await Promise.all([merged, whole].map(readTree));
  expect([...found].filter(([name]) => name !== 'manifest.json')).toEqual(
    [...wanted].filter(([name]) => name !== 'manifest.json'),
  );
  const copy = temporary.path('copied');
  await copyArchive(whole, copy);
  expect(await readTree(copy)).toEqual(wanted);
  const codec = { ...SIDE.codec, sampleBlocks: sideBlocks(11, 2, (i) => blockOf((i + 1) % 6)) };
  const other = temporary.path('other');
  await writeSmall(other, { ...SIDE, codec });
  const { equal, fields } = await diffArchives(whole, other).catch((error) => {
    // The codec is unknown: labels of different codecs cannot be compared.
    expect(error).toMatchObject({ code: 'UNSUPPORTED' });
    return { equal: false, fields: [{ field: 'sampleBlocks' }] };
  });
  expect([equal, fields.some(({ field }) => field.startsWith('sampleBlocks'))]).toEqual([
    false,
    true,
  ]);
});

test.each([
  ['too few blocks', { samples: 11, samplesPerBlock: 2, row: joinBlocks([blockOf(0)]) }],
  ['no row', { samples: 11, samplesPerBlock: 2 }],
  ['no such blocks', sideBlocks(11, 0.5, () => blockOf(0))],
  ['more than a file may have', { ...sideBlocks(11, 2, blockOf), samplesPerBlock: 2 ** 17 }],
])('side data that are not those of all samples are refused: %s', async (_, sampleBlocks) => {
  const spec = { ...SIDE, codec: { ...SIDE.codec, sampleBlocks } };
  await expect(createArchive(temporary.path('wrong'), spec)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test.each([
  ['samplesPerBlock', 3],
  ['samplesPerBlock', 0],
  ['samplesPerFile', 3],
  ['samples', 2 ** 33],
  ['samples', 10],
])('a manifest that says otherwise is refused: %s %s', async (field, value) => {
  const directory = await copyOf();
  const path = join(directory, 'manifest.json');
  const text = await readFile(path, 'utf8');
  await writeFile(
    path,
    text.replace(new RegExp(`"${field}":\\d+(?=[,}].*"table"|,"table")`), `"${field}":${value}`),
  );
  expect(await readFile(path, 'utf8')).not.toBe(text);
  await expect(openArchive(directory)).rejects.toMatchObject({
    code: expect.stringMatching(/INVALID_FILE|CORRUPT_DATA/),
  });
});

test('files that lie about their blocks end in an error', async () => {
  const directory = await copyOf();
  const offsets = Buffer.from(BigUint64Array.of(0n, 5n, 5n).buffer);
  await edit(join(directory, FILES[0]), (bytes) => {
    bytes.writeBigUInt64LE(2n ** 40n, bytes.indexOf(offsets) + 8);
  });
  await using archive = await openArchive(directory, { verify: 'none' });
  await expect(archive.sampleBlocks(Uint32Array.of(0))).rejects.toMatchObject({
    code: expect.stringMatching(/INVALID_FILE|CORRUPT_DATA/),
  });
});
