import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LabelArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { recordedColumns } from '#src/augment/recorded.js';
import { NoneCodec } from '#src/codecs/none.js';
import { float32ToFloat16 } from '#src/core/half.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { diffArchives } from '#src/pipeline/diff.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { dataOffset } from '../archive/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [EPOCHS, SAMPLES, CLASSES, TAU, SIDE] = [6, 90, 11, 3, 16];
const augmentation = {
  generator: 'philox4x32-10',
  seed: 9,
  size: [SIDE, SIDE],
  crop: { scale: [0.5, 1], ratio: [0.75, 1.333] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 1 },
} as const;
const codec = { name: 'transform', step: 0.05, components: CLASSES - 1, bases: true } as const;
const all = { start: 0, count: SAMPLES };

/** Logits that are, but for a little noise, a mix of two samples' own: what base vectors predict. */
const logits = mixedLogits();
const source = memoryLabelSource(logits, {
  ...{ epochs: EPOCHS, samples: SAMPLES, classes: CLASSES },
});

function mixedLogits(): Float32Array {
  const random = new RandomSequence(3, STREAM.codec, 5);
  const own = Float64Array.from({ length: SAMPLES * CLASSES }, () => 6 * random.normal());
  const views = Augmenter.unsized(augmentation, SAMPLES);
  const out = new Float32Array(EPOCHS * SAMPLES * CLASSES);
  for (let i = 0; i < out.length; i++) {
    const [label, j] = [Math.floor(i / CLASSES), i % CLASSES];
    const [epoch, sample] = [Math.floor(label / SAMPLES), label % SAMPLES];
    const { partner, box } = views.mix(epoch, sample);
    const share = 1 - (box[2] * box[3]) / SIDE ** 2;
    out[i] = share * own[sample * CLASSES + j] + (1 - share) * own[partner * CLASSES + j];
    out[i] += 0.05 * random.normal();
  }
  return out;
}

/** Bytes of the shard's data. */
async function codesIn(out: string): Promise<number> {
  const file = await readFile(join(out, 'codes-00000.safetensors'));
  return file.length - dataOffset(file);
}

function expectLabels(labels: Float32Array, values: Float32Array, tau = TAU): void {
  const expected = new Float32Array(values.length);
  softmaxRows(values, values.length / CLASSES, CLASSES, tau, expected);
  expect(labels.length).toBe(expected.length);
  // Quantised in steps of 0.05 logits: probabilities are off by less than that over tau.
  for (const [i, value] of labels.entries()) expect(value).toBeCloseTo(expected[i], 1.5);
}

function epochOf(values: Float32Array, epoch: number): Float32Array {
  const length = SAMPLES * CLASSES;
  return values.subarray(epoch * length, (epoch + 1) * length);
}

async function epochsOf(archive: LabelArchive, epochs: number): Promise<Float32Array[]> {
  const read = Array.from({ length: epochs }, (_, epoch) => archive.labels(epoch, all));
  return await Promise.all(read);
}

describe('labels predicted from what is mixed into their views', () => {
  test('take fewer bits, and are read as they were written, whoever reads them', async () => {
    const [out, blind] = [directory.path('mixed'), directory.path('blind')];
    const mixed = await packLogits({ source, out, codec, tau: TAU, augmentation });
    const unaware = await packLogits({ source, out: blind, codec, tau: TAU });
    expect(mixed.codec.config).toMatchObject({ views: true, bases: SAMPLES });
    expect(unaware.codec.config).toMatchObject({ views: false });
    const [own, other] = await Promise.all([out, blind].map(codesIn));
    expect(own).toBeLessThan(0.85 * other);
    await using archive = await openArchive(out);
    for (const [epoch, labels] of (await epochsOf(archive, EPOCHS)).entries()) {
      expectLabels(labels, epochOf(logits, epoch));
    }
    for (const workers of [0, 1]) {
      await using loader = createLoader({ archive, batchSize: 25, workers });
      for await (const { epoch, sampleIds, ys } of loader) {
        expect(ys).toEqual(await archive.labels(epoch, sampleIds));
      }
    }
    const { labels } = await diffArchives(out, blind, { labels: 50 });
    expect(labels).toMatchObject({ kind: 'decoded', compared: 50 });
    if (labels.kind === 'decoded') expect(labels.divergence.kl).toBeLessThan(1e-3);
  });

  test('serve more epochs than are stored, and are packed again', async () => {
    const [out, again] = [directory.path('kept'), directory.path('again')];
    await packLogits({ source, out, codec, tau: TAU, augmentation, keep: 4 });
    await packLogits({ source: out, out: again, codec: { ...codec, step: 0.02 } });
    await using kept = await openArchive(out);
    await using copy = await openArchive(again);
    const [labels, copies] = [await epochsOf(kept, EPOCHS), await epochsOf(copy, EPOCHS)];
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      expectLabels(labels[epoch], epochOf(logits, epoch % 4));
      expectLabels(copies[epoch], epochOf(logits, epoch % 4));
    }
    await using loader = createLoader({ archive: kept, batchSize: SAMPLES, workers: 0 });
    for await (const { epoch, sampleIds, ys } of loader) {
      expect(ys).toEqual(await kept.labels(epoch, sampleIds));
    }
  });

  test('are those of batches in a pruned archive', async () => {
    const out = directory.path('pruned');
    const prune = { ratio: 2, batchSize: 15 };
    await packLogits({ source, out, codec, tau: TAU, augmentation, prune });
    await using archive = await openArchive(out);
    expect(archive.codecParts.config).toMatchObject({ views: true, bases: SAMPLES });
    let batches = 0;
    for await (const { row, sampleIds, ys } of prunedBatches({ archive, seed: 2 })) {
      const epoch = Math.floor(row / (SAMPLES / 15));
      const values = [...sampleIds].flatMap((id) => [
        ...epochOf(logits, epoch).subarray(id * CLASSES, (id + 1) * CLASSES),
      ]);
      expectLabels(ys, Float32Array.from(values));
      if (++batches === 8) break;
    }
    expect(await archive.labels(2, { start: 3, count: 5 })).toHaveLength(5 * CLASSES);
  });

  test('follow views that another program recorded', async () => {
    const [recorded, out] = [directory.path('recorded'), directory.path('of recorded')];
    await writeRecorded(recorded);
    await packLogits({ source: recorded, out, codec, tau: TAU });
    await using archive = await openArchive(out);
    expect(archive.codecParts.config).toMatchObject({ views: true });
    for (const [epoch, labels] of (await epochsOf(archive, EPOCHS)).entries()) {
      expectLabels(labels, epochOf(logits, epoch));
    }
    await using loader = createLoader({ archive, batchSize: 40, workers: 0 });
    for await (const { epoch, sampleIds, ys } of loader) {
      expect(ys).toEqual(await archive.labels(epoch, sampleIds));
    }
  });
});

/** The same logits, uncompressed, with the same views in columns. */
async function writeRecorded(path: string): Promise<void> {
  const none = new NoneCodec({ classes: CLASSES, tau: TAU, store: 'logits' });
  await using writer = await createArchive(path, {
    ...{ classes: CLASSES, samples: SAMPLES, epochs: EPOCHS, tau: TAU },
    ...{ codec: none.parts(), layout: none.layout, decoding: none.decoding },
    augmentation: { generator: 'recorded', size: [SIDE, SIDE] },
    columns: recordedColumns(SAMPLES, { crop: 'pixels', flip: false, mix: 'cutmix' }),
  });
  const views = Augmenter.unsized(augmentation, SAMPLES);
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const halves = new Uint16Array(SAMPLES * CLASSES);
    float32ToFloat16(epochOf(logits, epoch), halves);
    const partner = new Uint32Array(SAMPLES);
    const [box, crop] = [new Uint16Array(4 * SAMPLES), new Uint16Array(4 * SAMPLES)];
    for (let sample = 0; sample < SAMPLES; sample++) {
      const mix = views.mix(epoch, sample);
      partner[sample] = mix.partner;
      box.set(mix.box, 4 * sample);
      crop.set([0, 0, SIDE, SIDE], 4 * sample);
    }
    const bytes = (array: Uint16Array | Uint32Array) => new Uint8Array(array.buffer);
    const columns = { partner: bytes(partner), box: bytes(box), crop: bytes(crop) };
    const piece = { epoch, start: 0, count: SAMPLES };
    await writer.write(piece, { codes: bytes(halves), ...columns });
  }
  await writer.finish();
}
