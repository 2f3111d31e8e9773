import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import { NoneCodec } from '#src/codecs/none.js';
import { loadCodec } from '#src/codecs/registry.js';
import { float16ToFloat32, float32ToFloat16 } from '#src/core/half.js';
import { loadKernels } from '#src/kernels/load.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { type LabelSource, memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { packLogits } from '#src/pipeline/pack.js';
import type { PackOptions, PackProgress } from '#src/pipeline/pack-options.js';
import { drawTrainingLabels } from '#src/pipeline/training-labels.js';
import { withoutProvenance } from '../archive/fixture.js';
import { syntheticLogits } from '../codecs/labels.js';

const shape = { epochs: 3, samples: 111, classes: 30 };
const logits = syntheticLogits(333, 30);
const source = memoryLabelSource(logits, shape);
const kernels = loadKernels();
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-pack-'));
});

afterAll(() => rm(dir, { recursive: true }));

function pack(name: string, change: Partial<PackOptions> = {}) {
  const training = { steps: 60, batch: 64 };
  return packLogits({ source, out: join(dir, name), codec: { ratio: 10 }, training, ...change });
}

async function filesOf(name: string): Promise<Map<string, Buffer>> {
  const names = await readdir(join(dir, name));
  const files = names
    .sort()
    .map(async (file) => [file, await readFile(join(dir, name, file))] as const);
  return new Map(await Promise.all(files));
}

describe('packLogits', () => {
  test('writes what decodes to the reported divergence, and counts every byte on disk', async () => {
    const phases: PackProgress['phase'][] = [];
    const result = await pack('plain', { onProgress: ({ phase }) => phases.push(phase) });
    expect([...new Set(phases)]).toEqual(['read', 'train', 'encode']);
    await using archive = await openArchive(join(dir, 'plain'));
    using codec = loadCodec(archive.codecParts, kernels);
    const decoded = new Float32Array(logits.length);
    for (let epoch = 0; epoch < 3; epoch++) {
      const labels = { start: 0, count: 111 };
      const out = decoded.subarray(epoch * 111 * 30, (epoch + 1) * 111 * 30);
      const row = await archive.readRow(epoch);
      codec.decode({ row, labels, context: { epoch, samples: labels }, out });
    }
    const labels = new Float32Array(logits.length);
    softmaxRows(logits, 333, 30, 20, labels);
    const divergence = labelDivergence(labels, decoded, 30);
    expect(result.divergence.kl).toBeCloseTo(divergence.kl, 10);
    expect(divergence.nmse).toBeLessThan(0.3);

    let onDisk = 0;
    for (const bytes of (await filesOf('plain')).values()) onDisk += bytes.length;
    expect(result.bytes.total).toBe(onDisk);
    const { codes, codec: codecBytes, metadata, container } = result.bytes;
    expect(codes + codecBytes + metadata + container).toBe(onDisk);
    expect(result.ratio.total).toBeCloseTo((333 * 30 * 2) / onDisk, 10);
    expect(result.ratio.codes).toBeGreaterThanOrEqual(10);
  });

  test('gives the same bytes for the same seed, and leaves a finished archive alone', async () => {
    await pack('first');
    await pack('second');
    const files = await filesOf('first');
    expect(await filesOf('second')).toEqual(files);
    await expect(pack('first')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await filesOf('first')).toEqual(files);
  });

  test('goes on where an aborted run stopped, to the same bytes', async () => {
    await pack('whole');
    const controller = new AbortController();
    const aborted = pack('broken', {
      signal: controller.signal,
      onProgress: ({ phase, done }) => phase === 'encode' && done === 222 && controller.abort(),
    });
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(openArchive(join(dir, 'broken'))).rejects.toMatchObject({ code: 'INCOMPLETE' });
    await pack('broken');
    expect(await filesOf('broken')).toEqual(await filesOf('whole'));
  });

  test('refuses a directory that holds something else, before any work', async () => {
    const phases: string[] = [];
    const call = packLogits({
      source,
      out: new URL('.', import.meta.url).pathname,
      codec: { ratio: 10 },
      onProgress: ({ phase }) => phases.push(phase),
    });
    await expect(call).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(phases).toEqual([]);
  });

  test('refuses too few labels', async () => {
    const few = memoryLabelSource(logits.slice(0, 300), { epochs: 1, samples: 10, classes: 30 });
    const call = pack('few', { source: few, codec: { dh: 30, dc: 15, k: 64 } });
    await expect(call).rejects.toMatchObject({ code: 'TOO_FEW_LABELS', found: 10 });
  });

  test('packs an archive anew, with all that it knows of its labels', async () => {
    await keep('full', 'logits');
    await pack('from-archive', { source: join(dir, 'full'), tau: undefined });
    await pack('from-memory', { source: memoryLabelSource(rounded(), shape), tau: 7, ...KNOWN });
    expect(withoutProvenance(await filesOf('from-archive'))).toEqual(
      withoutProvenance(await filesOf('from-memory')),
    );
    // Logits give labels at any temperature.
    await pack('warm', { source: join(dir, 'full'), tau: 3 });
    await using warm = await openArchive(join(dir, 'warm'));
    expect(warm.manifest).toMatchObject({ tau: 3, ...KNOWN });
  });

  test('packs packed labels: little more is lost, and their temperature stays', async () => {
    await pack('once', { codec: { ratio: 4 } });
    const source = join(dir, 'once');
    const again = await pack('again', { source, codec: { ratio: 4 } });
    expect(again.divergence.nmse).toBeLessThan(0.3);
    await using archive = await openArchive(join(dir, 'again'));
    expect(archive.manifest.tau).toBe(20);
    const call = pack('other', { source, tau: 3 });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'tau', found: 3 });
    await keep('probabilities', 'probabilities');
    const cold = pack('cold', { source: join(dir, 'probabilities'), tau: 3 });
    await expect(cold).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'tau' });
  });

  test('refuses probabilities as logits before any work, and packs them as probabilities', async () => {
    const probabilities = new Float32Array(logits.length);
    softmaxRows(logits, 333, 30, 1, probabilities);
    const soft = memoryLabelSource(probabilities, shape);
    const phases: string[] = [];
    const onProgress = ({ phase }: PackProgress) => phases.push(phase);
    const call = pack('as-logits', { source: soft, onProgress });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'source' });
    expect(phases).toEqual([]);
    const packed = { codec: { name: 'none', store: 'probabilities' } } as const;
    await pack('as-probabilities', { source: soft, labels: 'probabilities', tau: 4, ...packed });
    await pack('from-logits', { tau: 4, ...packed });
    const labelsIn = async (name: string) => {
      await using archive = await openArchive(join(dir, name));
      using codec = loadCodec(archive.codecParts, kernels);
      const all = { start: 0, count: 111 };
      const out = new Float32Array(111 * 30);
      const row = await archive.readRow(2);
      codec.decode({ row, labels: all, context: { epoch: 2, samples: all }, out });
      return out;
    };
    const found = await labelsIn('as-probabilities');
    for (const [i, value] of (await labelsIn('from-logits')).entries()) {
      expect(Math.abs(found[i] - value)).toBeLessThan(1e-4);
    }
    const kept = pack('as-they-are', { source: soft, labels: 'logits' });
    await expect(kept).resolves.toMatchObject({ labels: 333 });
    const archive = pack('of-archive', { source: join(dir, 'from-logits'), labels: 'logits' });
    await expect(archive).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'labels' });
  });

  test('refuses an archive that was never finished', async () => {
    const call = pack('x', { source: dir });
    await expect(call).rejects.toMatchObject({ code: 'INCOMPLETE' });
  });

  const KNOWN = {
    augmentation: { generator: 'none of ours' },
    classNames: Array.from({ length: 30 }, (_, i) => `class ${i}`),
    teacher: { kind: 'test', sha256: 'f00' },
  };

  /** The labels uncompressed, at temperature 7. */
  async function keep(name: string, store: 'logits' | 'probabilities') {
    const codec = new NoneCodec({ classes: 30, tau: 7, store });
    const { layout, decoding } = codec;
    const spec = { ...shape, tau: 7, codec: codec.parts(), layout, decoding, ...KNOWN };
    await using writer = await createArchive(join(dir, name), spec);
    for (let epoch = 0; epoch < 3; epoch++) {
      const row = logits.slice(epoch * 111 * 30, (epoch + 1) * 111 * 30);
      const context = { epoch, samples: { start: 0, count: 111 } };
      await writer.writeRow(epoch, { codes: await codec.encode(row, context) });
    }
    await writer.finish();
  }

  function rounded(): Float32Array {
    const halves = new Uint16Array(logits.length);
    float32ToFloat16(logits, halves);
    const floats = new Float32Array(logits.length);
    float16ToFloat32(halves, floats);
    return floats;
  }
});

describe('drawTrainingLabels', () => {
  /** Labels that tell where they come from: class 0's logit is the label's number. */
  const numbered: LabelSource = {
    ...shape,
    dtype: 'F32',
    async read(epoch, start, count) {
      expect(start + count).toBeLessThanOrEqual(111);
      const out = new Float32Array(count * 30);
      for (let i = 0; i < count; i++) out[i * 30] = (epoch * 111 + start + i) / 100;
      return out;
    },
    async close() {},
    async [Symbol.asyncDispose]() {},
  };

  function numbersOf(labels: Float32Array): number[] {
    return Array.from({ length: labels.length / 30 }, (_, i) =>
      Math.round(100 * Math.log(labels[i * 30] / labels[i * 30 + 1])),
    );
  }

  test('takes every label once where all fit', async () => {
    const labels = await drawTrainingLabels(numbered, { tau: 1, limit: 1000, seed: 0 });
    expect(numbersOf(labels)).toEqual(Array.from({ length: 333 }, (_, i) => i));
  });

  test('takes one of each stretch where they do not', async () => {
    const labels = await drawTrainingLabels(numbered, { tau: 1, limit: 50, seed: 0 });
    for (const [i, number] of numbersOf(labels).entries()) {
      expect(number).toBeGreaterThanOrEqual(Math.floor((i * 333) / 50));
      expect(number).toBeLessThan(Math.floor(((i + 1) * 333) / 50));
    }
  });
});
