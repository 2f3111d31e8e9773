import { describe, expect, test } from 'vitest';
import { loadCodec } from '#src/codecs/registry.js';
import { addPredictions } from '#src/codecs/transform/base-vectors.js';
import { dequantiseBases } from '#src/codecs/transform/coded-bases.js';
import type { TransformConfig } from '#src/codecs/transform/config.js';
import { encodeVectors, VectorBlocks } from '#src/codecs/transform/vector-blocks.js';
import { joinBlocks, splitBlocks } from '#src/core/blocks.js';
import type { CodecParts, SampleBlocks } from '#src/core/codec-parts.js';
import { RandomSequence } from '#src/core/random.js';
import { createLoader, openArchive } from '#src/index.js';
import { loadKernels } from '#src/kernels/load.js';
import { temporaryDirectory } from '../temporary.js';
import { blockedArchive, UNBLOCKED, UNBLOCKED_LIKENESS } from './blocked-archive.js';

const kernels = loadKernels();
const random = new RandomSequence(11, 1);
const SHAPE = { bases: 1000, basesPerBlock: 64, components: 7, step: 0.5 };
const config = SHAPE as TransformConfig;
/** Some too large for a symbol. */
const values = Int16Array.from({ length: 7 * 1000 }, (_, i) =>
  i % 97 === 0 ? random.below(60_000) - 30_000 : random.below(40) - 20,
);
const mixes = {
  sample: Uint32Array.from({ length: 300 }, () => random.below(1000)),
  partner: Uint32Array.from({ length: 300 }, () => random.below(1000)),
  lambda: Float32Array.from({ length: 300 }, () => random.uniform()),
};
/** With a trellis, and each component with a step of its own. */
const form = {
  states: 8 as const,
  shifts: Int8Array.from({ length: 7 }, (_, j) => 3 * j),
  steps: Uint16Array.from({ length: 7 }, (_, j) => 0x3c00 + 100 * j),
};
const { tables, blocks } = encodeVectors({ ...form, values }, config, kernels);

function addedBy(vectors: VectorBlocks, given?: (block: number) => Uint8Array | undefined) {
  const latents = Float32Array.from({ length: 300 * 7 }, (_, i) => i / 100);
  vectors.addTo(latents, mixes, given, 1);
  return latents;
}

describe('base vectors in blocks', () => {
  const expected = Float32Array.from({ length: 300 * 7 }, (_, i) => i / 100);
  const shape = { rank: 7, classes: 7 };
  const none = new Float32Array(49);
  const whole = dequantiseBases({ ...form, values }, none, shape, 0.5, kernels);
  addPredictions(expected, whole, 7, mixes, 1);

  test('predict as those in one stream do, whoever has read them', () => {
    const own = new VectorBlocks(config, tables.model, form, blocks, kernels);
    expect(addedBy(own)).toEqual(expected);
    const { row = new Uint8Array(), ...sizes } = blocks;
    const list = splitBlocks(row);
    const asked = new Set<number>();
    const read = new VectorBlocks(config, tables.model, form, sizes, kernels);
    const given = (block: number) => {
      asked.add(block);
      return list[block];
    };
    expect(addedBy(read, given)).toEqual(expected);
    expect(asked).toEqual(new Set([...mixes.sample, ...mixes.partner].map((id) => id >> 6)));
    // Decoded blocks are kept, until they are cleared.
    expect(addedBy(read)).toEqual(expected);
    read.clear();
    expect(() => addedBy(read)).toThrow(/context.sampleBlocks/);
  });

  test('are refused if they are damaged or of others', () => {
    const { row = new Uint8Array(), ...sizes } = blocks;
    const list = splitBlocks(row);
    const read = () => new VectorBlocks(config, tables.model, form, sizes, kernels);
    for (const bytes of [new Uint8Array(), list[0].subarray(0, 9), Uint8Array.of(255, 1, 2, 3)]) {
      expect(() => addedBy(read(), () => bytes)).toThrow(/sampleBlocks\[\d+\]/);
    }
    const wrong: readonly (SampleBlocks | undefined)[] = [
      undefined,
      { ...sizes, samples: 999 },
      { ...sizes, samplesPerBlock: 63 },
    ];
    for (const other of wrong) {
      const make = () => new VectorBlocks(config, tables.model, form, other, kernels);
      expect(make).toThrow(/not the base vectors/);
    }
  });
});

describe.each([
  { golden: UNBLOCKED, features: ['sample-blocks'] },
  { golden: UNBLOCKED_LIKENESS, features: ['sample-blocks', 'side-trellis', 'likeness'] },
])('an archive with base vectors in blocks, of $golden', async ({ golden, features }) => {
  const temporary = await temporaryDirectory();
  const out = temporary.path('blocked');

  test('has the labels of the same archive without, by reader and loader', async () => {
    await blockedArchive(out, golden);
    await using archive = await openArchive(out);
    await using before = await openArchive(golden);
    expect(archive.manifest.features.required).toEqual(features);
    await archive.verify();
    const all = { start: 0, count: archive.samples };
    for (let epoch = 0; epoch < archive.epochs; epoch++) {
      const labels = await archive.labels(epoch, all);
      expect(labels).toEqual(await before.labels(epoch, all));
      const [one] = [await archive.labels(epoch, Uint32Array.of(13))];
      expect(one).toEqual(labels.slice(13 * archive.classes, 14 * archive.classes));
    }
    await using loader = createLoader({ archive, batchSize: 9, workers: 0 });
    for await (const { epoch, sampleIds, ys } of loader) {
      expect(ys).toEqual(await before.labels(epoch, sampleIds));
    }
  });

  test('can be decoded by its codec with all side data, and not without', async () => {
    await using archive = await openArchive(out);
    const decode = (parts: CodecParts, context: object) => {
      using codec = loadCodec(parts, kernels);
      const ids = Uint32Array.of(3, 4);
      const augmentation = { partner: Uint32Array.of(20, 4), lambda: Float32Array.of(0.5, 1) };
      const known = { epoch: 0, samples: ids, augmentation, ...context };
      const ys = new Float32Array(2 * archive.classes);
      return archive.readRow(0).then((row) => {
        codec.decode({ row, labels: ids, context: known, out: ys, threads: 1 });
        return ys;
      });
    };
    const whole = await decode(await archive.wholeCodec(), {});
    const sampleBlocks = await archive.sampleBlocks(Uint32Array.of(3, 4, 20));
    expect(await decode(archive.codecParts, { sampleBlocks })).toEqual(whole);
    await expect(decode(archive.codecParts, {})).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: expect.stringContaining('context.sampleBlocks'),
    });
  });

  test('is refused if its codec is of other samples', async () => {
    await using archive = await openArchive(out);
    const parts = await archive.wholeCodec();
    const row = joinBlocks([]);
    for (const sampleBlocks of [undefined, { samples: 5, samplesPerBlock: 7, row }]) {
      expect(() => loadCodec({ ...parts, sampleBlocks }, kernels)).toThrow(/not the base vectors/);
    }
  });
});
