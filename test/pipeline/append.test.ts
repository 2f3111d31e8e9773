import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { appendArchive } from '#src/archive/append.js';
import { WriterLock } from '#src/container/lock.js';
import { signArchive, verifySignature } from '#src/container/signature.js';
import { memoryImages } from '#src/images/memory.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { createLoader } from '#src/loader/loader.js';
import { appendLabels } from '#src/pipeline/append.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import type { PackOptions } from '#src/pipeline/pack-options.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { dataOffset, readTree } from '../archive/fixture.js';
import { softpack } from '../cli/softpack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [SAMPLES, CLASSES] = [24, 5];
const all = { start: 0, count: SAMPLES };
let made = 0;

const augmentation = (seed: number) => ({
  ...{ generator: 'philox4x32-10', seed, size: [6, 6], flip: 0.5 },
  crop: { scale: [0.3, 1], ratio: [3 / 4, 4 / 3] },
  mix: { kind: 'cutmix', alpha: 1, probability: 0.7 },
});

function sourceOf(epochs: number, from = 0) {
  const logits = syntheticLogits((from + epochs) * SAMPLES, CLASSES).slice(
    from * SAMPLES * CLASSES,
  );
  return {
    logits,
    source: memoryLabelSource(logits, { epochs, samples: SAMPLES, classes: CLASSES }),
  };
}

async function archive(epochs: number, change: Partial<PackOptions> = {}): Promise<string> {
  const out = directory.path(`archive-${made++}`);
  const { source } = sourceOf(epochs);
  await packLogits({
    source,
    out,
    codec: { name: 'topk', k: 3 },
    training: { steps: 2 },
    ...change,
  });
  return out;
}

async function labelsOf(path: string): Promise<Float32Array[]> {
  await using opened = await openArchive(path);
  const found: Float32Array[] = [];
  for (let epoch = 0; epoch < opened.epochs; epoch++) found.push(await opened.labels(epoch, all));
  return found;
}

describe('appendArchive', () => {
  test('adds epochs of any codec and temperature, again and again', async () => {
    const path = await archive(3);
    const second = await archive(2, { codec: { name: 'vqae', dh: 4, dc: 2, k: 4 }, tau: 5 });
    const third = await archive(4, { codec: { name: 'none' }, tauSchedule: [9, 3], keep: 2 });
    const [a, b, c] = [await labelsOf(path), await labelsOf(second), await labelsOf(third)];
    const before = await readTree(path);
    await appendArchive(path, second);
    await appendArchive(path, third);
    expect(await labelsOf(path)).toEqual([...a, ...b, ...c]);
    await using opened = await openArchive(path);
    const taus = Array.from({ length: 9 }, (_, epoch) => opened.temperatureOf(epoch));
    expect(taus).toEqual([20, 20, 20, 5, 5, 9, 9, 3, 3]);
    expect(opened.parts).toHaveLength(3);
    expect((await verifyArchive(path)).damage).toEqual([]);
    // Only the manifest is another.
    const after = await readTree(path);
    for (const [name, bytes] of before) {
      if (name !== 'manifest.json') expect(after.get(name)).toBe(bytes);
    }
    // An archive of parts is appended part by part.
    const more = await archive(1);
    await appendArchive(more, path);
    expect((await labelsOf(more)).slice(1)).toEqual([...a, ...b, ...c]);
    expect(await softpack(['append', more, second])).toMatchObject({
      code: 0,
      out: expect.stringContaining('12 epochs in 5 parts'),
    });
  });

  test('leaves who reads the old epochs undisturbed, also from another process', async () => {
    const path = await archive(3);
    const more = await archive(2, { tau: 2 });
    const labels = await labelsOf(path);
    await using reader = await openArchive(path);
    await using loader = createLoader({ archive: reader, batchSize: 8, workers: 1 });
    const batches = loader[Symbol.asyncIterator]();
    const first = await batches.next();
    const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
    await promisify(execFile)(process.execPath, [main, 'append', path, more]);
    expect(reader.epochs).toBe(3);
    for (const [epoch, own] of labels.entries())
      expect(await reader.labels(epoch, all)).toEqual(own);
    let count = first.done ? 0 : 1;
    for (let next = await batches.next(); !next.done; next = await batches.next()) count++;
    expect(count).toBe(9);
    expect(await labelsOf(path)).toHaveLength(5);
  });

  test('one of two at a time', async () => {
    const path = await archive(2);
    const more = await archive(1);
    const results = await Promise.allSettled([
      appendArchive(path, more),
      appendArchive(path, more),
    ]);
    const failed = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    );
    expect(failed).toMatchObject([{ code: 'LOCKED' }]);
    expect(await labelsOf(path)).toHaveLength(3);
    await using _lock = await WriterLock.acquire(path);
    await expect(appendArchive(path, more)).rejects.toMatchObject({ code: 'LOCKED' });
    const { source } = sourceOf(1);
    await expect(appendLabels({ archive: path, source })).rejects.toMatchObject({ code: 'LOCKED' });
  });

  test.each<[string, Partial<PackOptions>, string]>([
    ['another teacher', { teacher: { name: 'b' } }, 'teacher'],
    ['other images', { images: { id: 'x', count: SAMPLES } }, 'images'],
    ['other class names', { classNames: ['a', 'b', 'c', 'd', 'f'] }, 'classNames'],
    [
      'other classes',
      {
        source: memoryLabelSource(
          new Float32Array(24 * 4).map((_, i) => i % 7),
          { epochs: 1, samples: 24, classes: 4 },
        ),
        codec: { name: 'topk', k: 2 },
      },
      'classes',
    ],
    [
      'other samples',
      { source: memoryLabelSource(syntheticLogits(9, 5), { epochs: 1, samples: 9, classes: 5 }) },
      'samples',
    ],
  ])('refuses labels of %s, with both values', async (_, change, field) => {
    const path = await archive(2);
    const before = await readTree(path);
    await expect(appendArchive(path, await archive(1, change))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: expect.stringContaining(field),
      expected: expect.anything(),
      found: expect.anything(),
    });
    expect(await readTree(path)).toEqual(before);
  });

  test('refuses batches, unfinished archives, and damage', async () => {
    const path = await archive(2);
    const before = await readTree(path);
    const pruned = await archive(2, { prune: { ratio: 2, batchSize: 4 } });
    for (const [a, b] of [
      [path, pruned],
      [pruned, path],
    ]) {
      await expect(appendArchive(a, b)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    }
    const empty = directory.path(`empty-${made++}`);
    await mkdir(empty);
    await expect(appendArchive(path, empty)).rejects.toMatchObject({ code: 'INCOMPLETE' });
    await expect(appendArchive(empty, path)).rejects.toMatchObject({ code: 'INCOMPLETE' });
    const damaged = await archive(1);
    const file = join(damaged, 'codes-00000.safetensors');
    const bytes = await readFile(file);
    bytes[dataOffset(bytes) + 4] ^= 4;
    await writeFile(file, bytes);
    await expect(appendArchive(path, damaged)).rejects.toMatchObject({
      code: 'CORRUPT_DATA',
      field: expect.stringContaining('codes-00000'),
    });
    expect(await labelsOf(path)).toHaveLength(2);
    expect((await verifyArchive(path)).damage).toEqual([]);
    const good = await archive(1);
    await appendArchive(path, good);
    const after = await readTree(path);
    expect(after.size).toBe(before.size + (await readTree(good)).size);
  });

  test('takes archives of version 1, as they are', async () => {
    const golden = fileURLToPath(new URL('../golden/archives/topk', import.meta.url));
    const path = directory.path('golden');
    await cp(golden, path, { recursive: true });
    await using old = await openArchive(golden);
    await appendArchive(path, golden);
    await using both = await openArchive(path);
    expect(both.epochs).toBe(2 * old.epochs);
    for (let epoch = 0; epoch < both.epochs; epoch++) {
      expect(await both.readRow(epoch)).toEqual(await old.readRow(epoch % old.epochs));
    }
  });

  test('a signature is of the old epochs', async () => {
    const path = await archive(2);
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const [secret, known] = [
      privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ];
    await signArchive(path, secret);
    await verifySignature(path, known);
    await appendArchive(path, await archive(1));
    await expect(verifySignature(path, known)).rejects.toMatchObject({ code: 'UNTRUSTED' });
    await signArchive(path, secret);
    await verifySignature(path, known);
  });

  test('views are those of the part', async () => {
    const facts = { images: { id: 'memory', count: SAMPLES } };
    const path = await archive(2, { ...facts, augmentation: augmentation(1) });
    const more = await archive(2, { ...facts, augmentation: augmentation(2) });
    const pixels = Uint8Array.from({ length: SAMPLES * 10 * 10 * 3 }, (_, i) => (i * 7919) % 251);
    const images = memoryImages(pixels, 10, 10);
    const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;
    const viewsOf = async (from: string) => {
      await using opened = await openArchive(from);
      const options = { archive: opened, images, normalisation, batchSize: 12, shuffle: false };
      await using loader = createLoader({ ...options, workers: 0 });
      const found: Float32Array[] = [];
      for await (const { xs } of loader) found.push(xs.slice());
      return found;
    };
    const [a, b] = [await viewsOf(path), await viewsOf(more)];
    expect(a).not.toEqual(b);
    await appendArchive(path, more);
    expect(await viewsOf(path)).toEqual([...a, ...b]);
  });
});

describe('appendLabels', () => {
  test.each<PackOptions['codec']>([
    { name: 'none' },
    { name: 'topk', k: 4 },
    { name: 'topk', k: 4, values: 'logits' },
    { name: 'pca', k: 3 },
    { name: 'scalar', levels: 16 },
  ])('encodes with the codec that is there: %j', async (codec) => {
    const path = await archive(3, { codec, tau: 6 });
    const { source, logits } = sourceOf(2, 3);
    const result = await appendLabels({ archive: path, source });
    expect(result.labels).toBe(2 * SAMPLES);
    await using opened = await openArchive(path);
    expect(opened.epochs).toBe(5);
    const [own, part] = opened.parts;
    expect(part.codecParts).toEqual(own.codecParts);
    // As the codec would have encoded them with the others.
    const { codecFile } = own.manifest;
    expect(part.manifest.codecFile.sha256).toBe(codecFile.sha256);
    const full = logits.slice(0, SAMPLES * CLASSES);
    softmaxRows(full, SAMPLES, CLASSES, 6, full);
    const decoded = await opened.labels(3, all);
    const worst = Math.max(...full.map((value, i) => Math.abs(value - decoded[i])));
    expect(worst).toBeLessThan(0.2);
    expect(opened.temperatureOf(4)).toBe(6);
  });

  test('trains another codec, which a VQAE of an archive needs: it has no encoder', async () => {
    const path = await archive(3, { codec: { name: 'vqae', dh: 4, dc: 2, k: 4 }, tau: 6 });
    const { source } = sourceOf(2, 3);
    await expect(appendLabels({ archive: path, source })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'codec',
    });
    await appendLabels({ archive: path, source, codec: { name: 'topk', k: 2 } });
    const codec = { name: 'vqae', dh: 4, dc: 2, k: 4 } as const;
    await appendLabels({ archive: path, source, codec, tau: 2, training: { steps: 2 } });
    await using opened = await openArchive(path);
    expect(opened.parts.map(({ codecParts: { name } }) => name)).toEqual(['vqae', 'topk', 'vqae']);
    expect([3, 5].map((epoch) => opened.temperatureOf(epoch))).toEqual([6, 2]);
  });

  test('goes on at the last temperature of a schedule, or at its own', async () => {
    const path = await archive(4, { codec: { name: 'none' }, tauSchedule: [8, 4] });
    const { source } = sourceOf(2, 4);
    await appendLabels({ archive: path, source });
    await appendLabels({ archive: path, source, tauSchedule: [3, 1] });
    await using opened = await openArchive(path);
    const taus = Array.from({ length: 8 }, (_, epoch) => opened.temperatureOf(epoch));
    expect(taus).toEqual([8, 8, 4, 4, 4, 4, 3, 1]);
  });

  test('says which views the labels are of', async () => {
    const path = await archive(2, { augmentation: augmentation(1) });
    const { source } = sourceOf(3, 2);
    await expect(appendLabels({ archive: path, source })).rejects.toMatchObject({ field: 'views' });
    await appendLabels({ archive: path, source, views: 'following' });
    await appendLabels({ archive: path, source, views: 'unknown' });
    await using opened = await openArchive(path);
    expect([0, 1, 2, 3, 4].map((epoch) => opened.storedEpoch(epoch))).toEqual([0, 1, 2, 3, 4]);
    expect(opened.parts.map(({ manifest }) => manifest.augmentation?.seed)).toEqual([
      1,
      1,
      undefined,
    ]);
  });

  test.each([
    { name: 'transform', rate: 30, bases: true },
    { name: 'predictive', step: 1, network: true },
  ] as const)('predicts labels from the views that follow, of codec $name', async (codec) => {
    const path = await archive(4, { augmentation: augmentation(1), codec });
    const { source, logits } = sourceOf(2, 4);
    await appendLabels({ archive: path, source, codec, views: 'following', tauSchedule: [10, 4] });
    await using opened = await openArchive(path);
    expect(opened.epochs).toBe(6);
    await using loader = createLoader({ archive: opened, batchSize: SAMPLES, shuffle: false });
    for await (const { epoch, tau, ys } of loader) {
      expect(tau).toBe([20, 20, 20, 20, 10, 4][epoch]);
      expect(ys).toEqual(await opened.labels(epoch, all));
      if (epoch < 4) continue;
      const full = logits.slice((epoch - 4) * SAMPLES * CLASSES, (epoch - 3) * SAMPLES * CLASSES);
      softmaxRows(full, SAMPLES, CLASSES, tau, full);
      expect(labelDivergence(full, ys, CLASSES).kl).toBeLessThan(0.05);
    }
  });

  test('resumes an interrupted run, to the same bytes; another one begins anew', async () => {
    const options = { source: sourceOf(2, 3).source, codec: { name: 'topk', k: 2 } } as const;
    const whole = await archive(3);
    const broken = directory.path('broken');
    await cp(whole, broken, { recursive: true });
    await appendLabels({ ...options, archive: whole });
    const controller = new AbortController();
    const stopped = appendLabels({
      ...options,
      archive: broken,
      signal: controller.signal,
      onProgress: ({ phase }) => phase === 'encode' && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await labelsOf(broken)).toHaveLength(3);
    const other = directory.path('other');
    await cp(broken, other, { recursive: true });
    await appendLabels({ ...options, archive: broken });
    expect(await readTree(broken)).toEqual(await readTree(whole));
    await appendLabels({ ...options, codec: { name: 'topk', k: 1 }, archive: other });
    expect(await labelsOf(other)).toHaveLength(5);
    expect((await verifyArchive(other)).damage).toEqual([]);
  });

  test('refuses labels of other samples or classes', async () => {
    const path = await archive(2);
    const source = memoryLabelSource(syntheticLogits(9, 5), { epochs: 1, samples: 9, classes: 5 });
    await expect(appendLabels({ archive: path, source })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'source: samples',
      expected: 24,
      found: 9,
    });
  });
});
