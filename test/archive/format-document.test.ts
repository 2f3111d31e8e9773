import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { appendArchive } from '#src/archive/append.js';
import { type LabelArchive, openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks, splitBlocks } from '#src/core/blocks.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { SMALL, smallRow, writeSmall } from './fixture.js';

/** The reader that docs/format.md prints, without a line of ours. */
const text = readFileSync(fileURLToPath(new URL('../../docs/format.md', import.meta.url)), 'utf8');
const [, program = ''] = /```python\n(.*?)```/s.exec(text) ?? [];

const directory = await temporaryDirectory();
const reader = directory.path('reader.py');
writeFileSync(reader, program);

function read(archive: string, labels: readonly string[]): string[] {
  const out = execFileSync('python3', [reader, archive, ...labels], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
  return out.trim().split('\n');
}

/** What the reader must print for a label. */
async function expected(whole: LabelArchive, at: number, of: number): Promise<string> {
  const { archive, epoch, samples } = whole.partOf(at, of);
  const sample = of - samples[0];
  const { layout } = archive.manifest;
  const row = await archive.readRow(epoch);
  if (layout.kind === 'blocks') {
    const block = splitBlocks(row)[Math.floor(sample / layout.labelsPerBlock)];
    return `${Buffer.from(block).toString('hex')} ${sample % layout.labelsPerBlock}`;
  }
  let value = 0n;
  for (let bit = 0; bit < layout.bitsPerLabel; bit++) {
    const at = sample * layout.bitsPerLabel + bit;
    value |= BigInt((row[at >> 3] >> (at & 7)) & 1) << BigInt(bit);
  }
  return String(value);
}

async function compare(path: string): Promise<void> {
  await using archive = await openArchive(path);
  const places = Array.from({ length: 12 }, (_, i) => ({
    epoch: (i * 3) % archive.epochs,
    sample: i === 0 ? archive.samples - 1 : (i * 5) % archive.samples,
  }));
  const found = read(
    path,
    places.map(({ epoch, sample }) => `${epoch}:${sample}`),
  );
  const wanted = places.map(({ epoch, sample }) => expected(archive, epoch, sample));
  expect(found).toEqual(await Promise.all(wanted));
}

const golden = fileURLToPath(new URL('../golden/archives/', import.meta.url));
const versionOne = readdirSync(golden, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

describe('the reader of docs/format.md', () => {
  test.each(versionOne)('reads what version 0.1 wrote: %s', (name) => compare(join(golden, name)));

  test.each([
    ['whole rows', {}],
    ['rectangles', { grid: { epochs: 2, samples: 8 } }],
    ['epochs that are stored once and served again', { epochs: 9, storedEpochs: 5 }],
    ['blocks', { layout: { kind: 'blocks', labelsPerBlock: 3 }, grid: { epochs: 2, samples: 6 } }],
  ] satisfies [string, Partial<ArchiveSpec>][])('reads %s', async (name, change) => {
    const path = directory.path(name);
    const sides = name === 'whole rows' ? SMALL.columns : [];
    const spec: ArchiveSpec = { ...SMALL, ...change, columns: sides };
    await using writer = await createArchive(path, spec);
    for (let epoch = 0; epoch < 5; epoch++) {
      const { codes, weight } = smallRow(epoch);
      const blocks = [2, 0, 5, 1].map((length, i) => new Uint8Array(length).fill(epoch + i));
      const own = spec.layout.kind === 'blocks' ? joinBlocks(blocks) : codes;
      await writer.writeRow(epoch, { codes: own, ...(sides?.length ? { weight } : {}) });
    }
    await writer.finish();
    await compare(path);
  });

  test('reads epochs of parts, and refuses a part that was changed', async () => {
    const path = directory.path('parts');
    const source = memoryLabelSource(syntheticLogits(60, 5), {
      epochs: 6,
      samples: 10,
      classes: 5,
    });
    const codec = { name: 'scalar', levels: 4 } as const;
    await packLogits({ source, out: path, codec, tauSchedule: [20, 10, 5], keep: 3 });
    await compare(path);
    const file = join(path, 'part-00002', 'manifest.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"epochs": 2', '"epochs": 1'));
    expect(() => read(path, ['0:0'])).toThrow('not the file of this archive');
  });

  test('reads samples of parts, of layouts of their own', async () => {
    const path = directory.path('sample-parts');
    const pack = async (out: string, samples: number, bits: number) => {
      const shape = { epochs: 4, samples, classes: 5 };
      const source = memoryLabelSource(syntheticLogits(4 * samples, 5), shape);
      const codec = { name: 'scalar', levels: 2 ** bits } as const;
      await packLogits({ source, out, codec });
      return out;
    };
    await pack(path, 7, 2);
    const more = await pack(directory.path('samples'), 6, 3);
    await appendArchive(path, more, { add: 'samples' });
    await appendArchive(path, await pack(directory.path('epochs'), 13, 4));
    await compare(path);
    await compare(more);
  });

  test('reads side data in blocks', async () => {
    const path = directory.path('side');
    const blocks = [4, 0, 9, 2, 1, 3].map((length, i) => new Uint8Array(length).fill(17 * i));
    const sampleBlocks = { samples: 11, samplesPerBlock: 2, row: joinBlocks(blocks) };
    const codec = { ...SMALL.codec, sampleTensors: new Map(), sampleBlocks };
    await writeSmall(path, { ...SMALL, codec, samplesPerFile: 4 });
    const hex = (i: number) => Buffer.from(blocks[i]).toString('hex');
    const found = read(path, ['0', '3', '5', '10']);
    expect(found).toEqual([`${hex(0)} 0`, ' 1', `${hex(2)} 1`, `${hex(5)} 0`]);
  });

  test('refuses a shard that was changed', async () => {
    const path = directory.path('whole rows');
    const file = join(path, 'codes-00001.safetensors');
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(file, bytes);
    expect(() => read(path, ['0:0'])).toThrow('not the file of this archive');
  });
});
