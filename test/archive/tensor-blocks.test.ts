import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { verifyArchiveFiles } from '#src/archive/verify-archive.js';
import { loadXxh64 } from '#src/container/checksum.js';
import { repairArchive } from '#src/index.js';
import { localStore } from '#src/store/local.js';
import { temporaryDirectory } from '../temporary.js';
import { dataOffset, SMALL } from './fixture.js';

/** Files of a codec and of side data that are larger than a block have checksums of their blocks. */

const MIB = 2 ** 20;
const SAMPLES = 300_000;
const temporary = await temporaryDirectory();
const whole = temporary.path('whole');
let copies = 0;

/** 2.9 MiB of side data per sample in two tensors, 2.5 MiB of codec. */
const noise = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (i * 7919) >> 3);
const SPEC: ArchiveSpec = {
  ...SMALL,
  ...{ samples: SAMPLES, epochs: 1, columns: [], augmentation: null, shardBytes: undefined },
  layout: { kind: 'fixed', bitsPerLabel: 1 },
  codec: {
    ...SMALL.codec,
    tensors: new Map([['table', { dtype: 'U8', shape: [2.5 * MIB], data: noise(2.5 * MIB) }]]),
    sampleTensors: new Map([
      ['bases', { dtype: 'U8', shape: [SAMPLES, 6], data: noise(6 * SAMPLES) }],
      ['group', { dtype: 'U32', shape: [SAMPLES], data: noise(4 * SAMPLES) }],
    ]),
  },
};

beforeAll(async () => {
  await using writer = await createArchive(whole, SPEC);
  await writer.writeRow(0, { codes: noise(Math.ceil(SAMPLES / 8)) });
  await writer.finish();
});

async function copyOf(): Promise<string> {
  const directory = temporary.path(`copy-${copies++}`);
  await cp(whole, directory, { recursive: true });
  return directory;
}

async function damageIn(directory: string) {
  const bytes = await readFile(join(directory, 'manifest.json'));
  return (await verifyArchiveFiles(localStore(directory), bytes)).damage;
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] ^= 4;
  await writeFile(path, bytes);
}

test('every block has its xxh64 at the end of the file, and readers see the tensors alone', async () => {
  const xxh64 = await loadXxh64();
  for (const name of ['codec', 'samples']) {
    const file = await readFile(join(whole, `${name}.safetensors`));
    const begin = dataOffset(file);
    const header = JSON.parse(file.subarray(8, begin).toString());
    const [table, end] = header['__pad__.xxh64'].data_offsets;
    expect(begin + end).toBe(file.length);
    const sums = Array.from({ length: Math.ceil(table / MIB) }, (_, i) => {
      const block = file.subarray(begin + i * MIB, begin + Math.min(table, (i + 1) * MIB));
      return xxh64.hash(block);
    });
    expect(sums).toHaveLength(3);
    const stored = Array.from(sums, (_, i) => file.readBigUInt64LE(begin + table + 8 * i));
    expect(stored).toEqual(sums);
  }
  await using archive = await openArchive(whole);
  for (const kind of ['tensors', 'sampleTensors'] as const) {
    const [found, wanted] = [archive.codecParts[kind], SPEC.codec[kind]];
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    for (const [name, { data, shape }] of wanted) {
      expect(found.get(name)?.shape).toEqual(shape);
      expect(Buffer.compare(found.get(name)?.data ?? Buffer.alloc(0), data)).toBe(0);
    }
  }
});

describe('damage', () => {
  // Of `bases`, 6 bytes a sample, and of `group`, 4 bytes a sample from byte 1,800,000 on.
  test.each([
    [100, 0, [0, Math.ceil(MIB / 6)]],
    [MIB + 5, 1, [0, SAMPLES]],
    [2 * MIB + 5, 2, [Math.floor((2 * MIB - 6 * SAMPLES) / 4), SAMPLES]],
  ] as const)(
    'of side data at byte %i is told by block and samples',
    async (at, block, samples) => {
      const directory = await copyOf();
      const path = join(directory, 'samples.safetensors');
      await flip(path, dataOffset(await readFile(path)) + at);
      const damage = await damageIn(directory);
      expect(damage).toMatchObject([
        { file: 'samples.safetensors', kind: 'block', block, labels: [{ epochs: [0, 1] }] },
      ]);
      const [{ labels }] = damage;
      // Tensors begin at multiples of 64.
      expect(Math.abs(labels[0].samples[0] - samples[0])).toBeLessThan(20);
      expect(Math.abs(labels[0].samples[1] - samples[1])).toBeLessThan(20);
    },
  );

  test.each(['codec', 'samples'])('of %s.safetensors is repaired by its blocks', async (name) => {
    const directory = await copyOf();
    const path = join(directory, `${name}.safetensors`);
    const good = await readFile(path);
    await flip(path, dataOffset(good) + MIB + 77);
    const report = await repairArchive(directory, whole);
    expect((await readFile(path)).equals(good)).toBe(true);
    expect(report.repaired).toMatchObject([{ file: `${name}.safetensors` }]);
    const [{ fetched }] = report.repaired;
    expect(fetched).toBeGreaterThanOrEqual(MIB);
    expect(fetched).toBeLessThan(MIB + 10_000);
  });

  test.each<[string, (path: string, good: Buffer) => Promise<void>]>([
    ['the checksums', (path, good) => flip(path, good.length - 3)],
    ['the header', (path) => flip(path, 30)],
    ['the length', (path) => truncate(path, 1000)],
    ['the file', (path) => rm(path)],
  ])('of %s is repaired, too', async (_, harm) => {
    const directory = await copyOf();
    const path = join(directory, 'samples.safetensors');
    const good = await readFile(path);
    await harm(path, good);
    expect(await damageIn(directory)).toMatchObject([{ file: 'samples.safetensors' }]);
    await repairArchive(directory, whole);
    expect((await readFile(path)).equals(good)).toBe(true);
  });

  test('in both files of two copies is mended of each other, in the same block it is not', async () => {
    const [a, b] = [await copyOf(), await copyOf()];
    const [own, other] = [a, b].map((one) => join(one, 'samples.safetensors'));
    const good = await readFile(own);
    await flip(own, dataOffset(good) + 5);
    await flip(other, dataOffset(good) + 2 * MIB);
    await repairArchive(a, b);
    expect((await readFile(own)).equals(good)).toBe(true);
    await flip(own, dataOffset(good) + 2 * MIB + 9);
    const { unrepaired } = await repairArchive(a, b);
    expect(unrepaired).toMatchObject([{ file: 'samples.safetensors' }]);
  });
});
