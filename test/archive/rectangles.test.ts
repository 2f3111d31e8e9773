import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import { rectangleAt, shardCount, shardOf, storedEpochs } from '#src/archive/grid.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks, splitBlocks } from '#src/core/blocks.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL } from './fixture.js';

const directory = await temporaryDirectory();
let archives = 0;

/** Labels of 11 bits whose value tells epoch and sample. */
function value(epoch: number, sample: number): number {
  return (epoch * 613 + sample * 7 + 5) % 2048;
}

/** Bit by bit, as the format says. */
function packed(epoch: number, start: number, count: number, bits: number): Uint8Array {
  const row = new Uint8Array(Math.ceil((count * bits) / 8));
  for (let i = 0; i < count; i++) {
    for (let bit = 0; bit < bits; bit++) {
      const set = (value(epoch, start + i) >> bit) & 1;
      const at = i * bits + bit;
      row[at >> 3] |= set << (at & 7);
    }
  }
  return row;
}

/** A block of as many bytes as its first label says. */
function block(epoch: number, sample: number): Uint8Array {
  return new Uint8Array(value(epoch, sample) % 97).fill(epoch * 16 + sample);
}

const FIXED = { kind: 'fixed', bitsPerLabel: 11 } as const;
const BLOCKS = { kind: 'blocks', labelsPerBlock: 4 } as const;

function codesOf(layout: ArchiveSpec['layout'], epoch: number, start: number, count: number) {
  if (layout.kind === 'fixed') return packed(epoch, start, count, layout.bitsPerLabel);
  const blocks: Uint8Array[] = [];
  for (let at = start; at < start + count; at += layout.labelsPerBlock) {
    blocks.push(block(epoch, at));
  }
  return joinBlocks(blocks);
}

function weightsOf(epoch: number, start: number, count: number): Uint8Array {
  return Uint8Array.from({ length: 2 * count }, (_, i) => epoch + 2 * start + i);
}

function specOf(change: Partial<ArchiveSpec>): ArchiveSpec {
  const codec = { ...SMALL.codec, sampleTensors: new Map() };
  const { shardBytes: _, ...rest } = SMALL;
  const samples = change.samples ?? rest.samples;
  const columns = [{ name: 'weight', dtype: 'F16', rowBytes: 2 * samples }] as const;
  return { ...rest, codec, columns, ...change };
}

/** Writes pieces in an order of their own, in several sittings. */
async function write(
  path: string,
  spec: ArchiveSpec,
  order: readonly { readonly epoch: number; readonly start: number; readonly count: number }[],
  sittings: number,
): Promise<void> {
  const each = Math.ceil(order.length / sittings);
  for (let first = 0; first < order.length; first += each) {
    await using writer = await createArchive(path, spec, { resume: true });
    for (const piece of order.slice(first, first + each)) {
      const { epoch, start, count } = piece;
      const codes = codesOf(spec.layout, epoch, start, count);
      await writer.write(piece, { codes, weight: weightsOf(epoch, start, count) });
      expect(writer.has(piece)).toBe(true);
    }
    if (first + each >= order.length) await writer.finish();
  }
}

describe.each([FIXED, BLOCKS])('shards that are rectangles: $kind', (layout) => {
  const unit = layout.kind === 'blocks' ? layout.labelsPerBlock : 8;

  test('give back labels that were written in any order, in any sittings, from any sample on', async () => {
    const shape = fc.record({
      samples: fc.integer({ min: 1, max: 61 }),
      epochs: fc.integer({ min: 1, max: 5 }),
      tall: fc.integer({ min: 1, max: 6 }),
      wide: fc.integer({ min: 1, max: 9 }),
      piece: fc.integer({ min: 1, max: 5 }),
      sittings: fc.integer({ min: 1, max: 4 }),
      seed: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ samples, epochs, tall, wide, piece, sittings, seed }) => {
        const path = directory.path(`any-${archives++}`);
        const grid = { epochs: tall, samples: Math.min(samples, unit * wide) };
        if (grid.samples < samples && grid.samples % unit !== 0) return;
        const spec = specOf({ samples, epochs, layout, grid });
        const pieces = Array.from({ length: epochs }, (_, epoch) =>
          Array.from({ length: Math.ceil(samples / (unit * piece)) }, (_, i) => {
            const start = i * unit * piece;
            return { epoch, start, count: Math.min(unit * piece, samples - start) };
          }),
        ).flat();
        const order = shuffled(pieces, seed);
        await write(path, spec, order, sittings);
        await using archive = await openArchive(path);
        await archive.verify();
        for (let epoch = 0; epoch < epochs; epoch++) {
          const row = await archive.readRow(epoch);
          expect(Buffer.from(row)).toEqual(Buffer.from(codesOf(layout, epoch, 0, samples)));
          const weights = Buffer.from(await archive.readRow(epoch, 'weight'));
          expect(weights).toEqual(Buffer.from(weightsOf(epoch, 0, samples)));
          const start = seed % samples;
          const count = 1 + (seed % (samples - start));
          const { row: some, first } = await archive.readCodes(epoch, { start, count });
          const end = Math.min(samples, first + Math.ceil((start + count - first) / unit) * unit);
          expect(first % unit).toBe(0);
          expect(start - first).toBeLessThan(unit);
          expect(Buffer.from(some)).toEqual(
            Buffer.from(codesOf(layout, epoch, first, end - first)),
          );
        }
        // The order and the sittings are in no file.
        const straight = directory.path(`straight-${archives++}`);
        await write(straight, spec, pieces, 1);
        expect(await readTree(path)).toEqual(await readTree(straight));
      }),
      { numRuns: 25 },
    );
  });

  test('a flipped bit is found, whatever it was', async () => {
    const path = directory.path(`flipped-${layout.kind}`);
    const spec = specOf({ samples: 20, epochs: 3, layout, grid: { epochs: 2, samples: 8 } });
    const rows = [0, 1, 2].map((epoch) => ({ epoch, start: 0, count: 20 }));
    await write(path, spec, rows, 1);
    const tree = await readTree(path);
    const { writeFile } = await import('node:fs/promises');
    const place = fc.constantFrom(...tree.keys()).chain((file) => {
      const size = tree.get(file)?.length ?? 1;
      return fc.record({ file: fc.constant(file), at: fc.nat(size - 1), bit: fc.nat(7) });
    });
    await fc.assert(
      fc.asyncProperty(place, async ({ file, at, bit }) => {
        const bytes = Buffer.from(tree.get(file) ?? '', 'latin1');
        bytes[at] ^= 1 << bit;
        await writeFile(join(path, file), bytes);
        const read = async () => {
          await using archive = await openArchive(path);
          for (let epoch = 0; epoch < 3; epoch++) {
            const codes = Buffer.from(await archive.readRow(epoch));
            expect(codes).toEqual(Buffer.from(codesOf(layout, epoch, 0, 20)));
          }
          await archive.verify();
          return archive.manifest.version;
        };
        const found = await read().catch((error: unknown) => error);
        // The version says nothing of the labels.
        if (typeof found === 'number') expect([file, found > 2]).toEqual(['manifest.json', true]);
        else expect(found).toMatchObject({ message: expect.stringContaining(path) });
        await writeFile(join(path, file), tree.get(file) ?? '', 'latin1');
      }),
      { numRuns: 100 },
    );
  });
});

function shuffled<T>(items: readonly T[], seed: number): readonly T[] {
  return items
    .map((item, i) => ({ item, key: Math.imul(seed ^ (i * 2654435761), 0x9e3779b1) >>> 0 }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

describe('pieces', () => {
  const spec = specOf({ samples: 40, layout: FIXED, grid: { epochs: 1, samples: 16 } });

  test.each([
    [{ epoch: 0, start: 4, count: 8 }, 'start'],
    [{ epoch: 0, start: 0, count: 7 }, 'start'],
    [{ epoch: 0, start: 0, count: 41 }, 'count'],
    [{ epoch: 0, start: 40, count: 1 }, 'start'],
    [{ epoch: 5, start: 0, count: 8 }, 'epoch'],
    [{ epoch: 0, start: 0, count: 0 }, 'count'],
  ])('are refused where rows cannot be cut: %j', async (piece, field) => {
    await using writer = await createArchive(directory.path(`cut-${archives++}`), spec);
    const { epoch, start, count } = piece;
    const columns = { codes: packed(epoch, start, count, 11), weight: weightsOf(0, 0, count) };
    await expect(writer.write(piece, columns)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field,
    });
  });

  test('may come twice if they are the same', async () => {
    await using writer = await createArchive(directory.path('twice'), spec);
    const piece = { epoch: 0, start: 0, count: 8 };
    const columns = { codes: packed(0, 0, 8, 11), weight: weightsOf(0, 0, 8) };
    await writer.write(piece, columns);
    await writer.write(piece, columns);
    expect(writer.next).toEqual({ epoch: 0, sample: 8 });
    const other = { ...columns, codes: packed(1, 0, 8, 11) };
    await expect(writer.write(piece, other)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'epoch 0, samples 0 to 7',
    });
  });

  test('of blocks have as many of them as their labels need', async () => {
    const blocks = specOf({ samples: 20, layout: BLOCKS });
    await using writer = await createArchive(directory.path('too-few'), blocks);
    const piece = { epoch: 0, start: 0, count: 8 };
    const weight = weightsOf(0, 0, 8);
    for (const codes of [joinBlocks([block(0, 0)]), new Uint8Array(3), Uint8Array.of(1, 0, 0, 0)]) {
      await expect(writer.write(piece, { codes, weight })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: 'row.codes',
      });
    }
  });
});

test('an archive serves more epochs than it stores', async () => {
  const path = directory.path('served');
  const spec = specOf({ samples: 9, epochs: 7, storedEpochs: 3, layout: FIXED });
  const rows = [0, 1, 2].map((epoch) => ({ epoch, start: 0, count: 9 }));
  await write(path, spec, rows, 2);
  await using archive = await openArchive(path);
  expect(archive.epochs).toBe(7);
  for (let epoch = 0; epoch < 7; epoch++) {
    expect(archive.storedEpoch(epoch)).toBe(epoch % 3);
    const codes = Buffer.from(await archive.readRow(epoch));
    expect(codes).toEqual(Buffer.from(packed(epoch % 3, 0, 9, 11)));
  }
  await expect(archive.readRow(7)).rejects.toMatchObject({ field: 'epoch' });
});

test('every label lies in one shard, which is found', () => {
  const extent = fc.record({
    epochs: fc.integer({ min: 1, max: 20 }),
    samples: fc.integer({ min: 1, max: 50 }),
  });
  const grid = fc.record({
    epochs: fc.integer({ min: 1, max: 25 }),
    samples: fc.integer({ min: 1, max: 60 }),
  });
  fc.assert(
    fc.property(extent, grid, (whole, sides) => {
      const shards = Array.from({ length: shardCount(sides, whole) }, (_, i) =>
        rectangleAt(sides, whole, i),
      );
      for (let epoch = 0; epoch < storedEpochs(whole); epoch++) {
        for (let sample = 0; sample < whole.samples; sample++) {
          const holding = shards.flatMap(({ epochs: e, samples: s }, i) =>
            e[0] <= epoch && epoch < e[1] && s[0] <= sample && sample < s[1] ? [i] : [],
          );
          expect(holding).toEqual([shardOf(sides, whole, epoch, sample)]);
        }
      }
    }),
    { numRuns: 20 },
  );
});

test('rows of blocks are taken apart as they were joined, and nothing else is taken for one', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (blocks) => {
      const row = joinBlocks(blocks);
      expect(splitBlocks(row).map((bytes) => Array.from(bytes))).toEqual(blocks.map((b) => [...b]));
      expect(() => splitBlocks(row.slice(0, -1))).toThrow('not a row of blocks');
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        expect(Buffer.from(joinBlocks(splitBlocks(bytes)))).toEqual(Buffer.from(bytes));
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
      }
    }),
  );
});
