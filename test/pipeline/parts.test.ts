import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { mergeArchives } from '#src/archive/merge.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { createLoader } from '#src/loader/loader.js';
import { copyArchive } from '#src/pipeline/copy.js';
import { diffArchives } from '#src/pipeline/diff.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { repairArchive } from '#src/pipeline/repair.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { dataOffset, readTree } from '../archive/fixture.js';
import { softpack } from '../cli/softpack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { WebServer } from '../store/web-server.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [EPOCHS, SAMPLES, CLASSES] = [6, 24, 5];
const logits = syntheticLogits(EPOCHS * SAMPLES, CLASSES);
const source = memoryLabelSource(logits, { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES });
const all = { start: 0, count: SAMPLES };
const TAUS = [20, 20, 10, 10, 10, 2];
const schedule = [
  [0, 20],
  [2, 10],
  [5, 2],
] as const;
const scalar = { name: 'scalar', levels: 256 } as const;

const parted = directory.path('parted');
const packed = await packLogits({ source, out: parted, codec: scalar, tauSchedule: schedule });

function labelsAt(epoch: number, tau: number): Float32Array {
  const at = epoch * SAMPLES * CLASSES;
  const labels = logits.slice(at, at + SAMPLES * CLASSES);
  softmaxRows(labels, SAMPLES, CLASSES, tau, labels);
  return labels;
}

describe('a codec of probabilities with a schedule', () => {
  test('has a part per temperature, each with labels of its own', async () => {
    await using archive = await openArchive(parted);
    expect(archive.epochs).toBe(EPOCHS);
    expect(archive.parts.map(({ epochs, manifest: { tau } }) => [epochs, tau])).toEqual([
      [2, 20],
      [3, 10],
      [1, 2],
    ]);
    expect(archive.manifest.features.required).toEqual(['parts']);
    const decoded: number[] = [];
    const expected: number[] = [];
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      expect(archive.temperatureOf(epoch)).toBe(TAUS[epoch]);
      expect(archive.storedEpoch(epoch)).toBe(epoch);
      const own = await archive.labels(epoch, all);
      const full = labelsAt(epoch, TAUS[epoch]);
      expect(labelDivergence(full, own, CLASSES).kl).toBeLessThan(1e-3);
      decoded.push(...own);
      expected.push(...full);
      await expect(archive.labels(epoch, all, { tau: 3 })).rejects.toMatchObject({ field: 'tau' });
    }
    const { kl } = labelDivergence(
      Float32Array.from(expected),
      Float32Array.from(decoded),
      CLASSES,
    );
    expect(packed.divergence.kl).toBeCloseTo(kl, 8);
  });

  test('counts every byte on disk, and all labels', async () => {
    const files = await readTree(parted);
    const onDisk = [...files.values()].reduce((sum, { length }) => sum + length, 0);
    expect(packed.bytes.total).toBe(onDisk);
    const { codes, codec, metadata, container } = packed.bytes;
    expect(codes + codec + metadata + container).toBe(onDisk);
    expect(packed.labels).toBe(EPOCHS * SAMPLES);
    expect(packed.ratio.total).toBeCloseTo((2 * EPOCHS * SAMPLES * CLASSES) / onDisk, 10);
  });

  test('is found finished by a rerun, and refused for another request', async () => {
    const before = await readTree(parted);
    const options = { source, out: parted, codec: scalar, acceptFinished: true };
    const again = await packLogits({ ...options, tauSchedule: schedule });
    expect(again.divergence).toEqual(packed.divergence);
    expect(await readTree(parted)).toEqual(before);
    const other = packLogits({ ...options, tauSchedule: [20, 10] });
    await expect(other).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  });

  test.each([1, 40, 80])('resumes after %i labels to the same bytes', async (limit) => {
    const out = directory.path(`broken-${limit}`);
    const controller = new AbortController();
    const options = { source, out, codec: scalar, tauSchedule: schedule };
    const aborted = packLogits({
      ...options,
      signal: controller.signal,
      onProgress: ({ phase, done }) => phase === 'encode' && done >= limit && controller.abort(),
    });
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(openArchive(out)).rejects.toMatchObject({ code: 'INCOMPLETE' });
    await packLogits(options);
    expect(await readTree(out)).toEqual(await readTree(parted));
  });

  test('shares few stored epochs among the parts, views and all', async () => {
    const out = directory.path('kept');
    await packLogits({ source, out, codec: scalar, tauSchedule: schedule, keep: 2 });
    await using archive = await openArchive(out);
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      expect(archive.storedEpoch(epoch)).toBe(epoch % 2);
      const own = await archive.labels(epoch, all);
      expect(labelDivergence(labelsAt(epoch % 2, TAUS[epoch]), own, CLASSES).kl).toBeLessThan(1e-3);
    }
    expect(archive.parts.map(({ manifest }) => manifest.storedEpochs ?? manifest.epochs)).toEqual([
      2, 2, 1,
    ]);
  });

  test('is packed again into one archive of logits with its schedule', async () => {
    const out = directory.path('one');
    await packLogits({ source: parted, out, codec: { name: 'none' } });
    await using archive = await openArchive(out);
    expect(archive.manifest).toMatchObject({ epochs: EPOCHS, tauSchedule: schedule });
    expect(archive.parts).toHaveLength(1);
    await using from = await openArchive(parted);
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const [a, b] = [await archive.labels(epoch, all), await from.labels(epoch, all)];
      for (const [i, value] of a.entries()) expect(Math.abs(value - b[i])).toBeLessThan(2e-3);
    }
  });

  test('has no batches to prune: any epoch draws any of them', async () => {
    const prune = { ratio: 2, batchSize: 4 };
    const call = packLogits({
      source,
      out: directory.path('no'),
      codec: scalar,
      prune,
      tauSchedule: [20, 2],
    });
    await expect(call).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'tauSchedule' });
  });
});

test.each([
  { workers: 0 },
  { workers: 2, batchSize: 4 },
  { workers: 1, epochs: { from: 1, to: 6 }, buffers: 'slots' as const },
])('a loader takes the codec of each epoch: %j', async (options) => {
  await using archive = await openArchive(parted);
  await using loader = createLoader({ archive, batchSize: 7, ...options });
  const rows = new Map<number, Float32Array>();
  for (let epoch = 0; epoch < EPOCHS; epoch++) rows.set(epoch, await archive.labels(epoch, all));
  let count = 0;
  for await (const { epoch, tau, sampleIds, ys, release } of loader) {
    expect(tau).toBe(TAUS[epoch]);
    const own = rows.get(epoch) ?? new Float32Array();
    for (const [i, sample] of sampleIds.entries()) {
      const found = ys.subarray(i * CLASSES, (i + 1) * CLASSES);
      expect(found).toEqual(own.subarray(sample * CLASSES, (sample + 1) * CLASSES));
    }
    count += sampleIds.length;
    release();
  }
  expect(count).toBe(SAMPLES * (loader.epochs.to - loader.epochs.from));
});

test('a copy has the parts, and an interrupted one is resumed', async () => {
  const to = directory.path('copied');
  const controller = new AbortController();
  const onProgress = (done: number, total: number) => done > total / 2 && controller.abort();
  const stopped = copyArchive(parted, to, { onProgress, signal: controller.signal });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  const { files, copied, bytes } = await copyArchive(parted, to);
  expect(copied).toBeLessThan(bytes);
  expect(files).toBe((await readTree(parted)).size);
  expect(await readTree(to)).toEqual(await readTree(parted));
});

test('parts are read from a server', async () => {
  const web = await WebServer.start();
  for (const [name, bytes] of await readTree(parted)) {
    web.files.set(`labels/${name}`, Buffer.from(bytes, 'latin1'));
  }
  await using archive = await openArchive(`${web.url}/labels`);
  await using local = await openArchive(parted);
  expect(archive.id).toBe(local.id);
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    expect(await archive.labels(epoch, all)).toEqual(await local.labels(epoch, all));
  }
  expect((await verifyArchive(`${web.url}/labels`)).damage).toEqual([]);
});

test('a loader resumes in another part', async () => {
  await using archive = await openArchive(parted);
  const options = { archive, batchSize: 9, workers: 0, seed: 4 };
  const batches: Float32Array[] = [];
  const states: unknown[] = [];
  await using whole = createLoader(options);
  for await (const { ys } of whole) {
    batches.push(ys);
    states.push(JSON.parse(JSON.stringify(whole.state())));
  }
  await using rest = createLoader({ ...options, resume: states[8] as never });
  const found: Float32Array[] = [];
  for await (const { ys } of rest) found.push(ys);
  expect(found).toEqual(batches.slice(9));
});

describe('trust', () => {
  test('every byte of every part is verified, and damage is told by epochs of the archive', async () => {
    const out = directory.path('damaged');
    await cp(parted, out, { recursive: true });
    const whole = await verifyArchive(out);
    expect(whole).toMatchObject({ kind: 'archive', files: (await readTree(out)).size, damage: [] });
    const path = join(out, 'part-00001', 'codes-00000.safetensors');
    const bytes = await readFile(path);
    bytes[dataOffset(bytes) + 3] ^= 1;
    await writeFile(path, bytes);
    const { damage } = await verifyArchive(out);
    expect(damage).toMatchObject([
      { file: 'part-00001/codes-00000.safetensors', kind: 'block', labels: [{ epochs: [2, 5] }] },
    ]);
    await rm(join(out, 'part-00001', 'codec.safetensors'));
    // Before the second damage: parts are opened side by side, and either would be told of.
    await expect(openArchive(out)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await writeFile(join(out, 'part-00002', 'manifest.json'), '{}');
    const more = await verifyArchive(out);
    expect(more.damage.map(({ file, kind }) => [file, kind])).toEqual([
      ['part-00001/codec.safetensors', 'missing'],
      ['part-00001/codes-00000.safetensors', 'block'],
      ['part-00002/manifest.json', 'structure'],
    ]);
    const report = await repairArchive(out, parted);
    expect(report.unrepaired).toEqual([]);
    expect(report.repaired.map(({ file }) => file).sort()).toEqual(
      more.damage.map(({ file }) => file),
    );
    expect(await readTree(out)).toEqual(await readTree(parted));
    await rm(join(out, 'part-00002'), { recursive: true });
    expect((await verifyArchive(out)).damage).toMatchObject([
      { file: 'part-00002/manifest.json', kind: 'missing', labels: [{ epochs: [5, 6] }] },
    ]);
    expect((await repairArchive(out, parted)).unrepaired).toEqual([]);
    expect(await readTree(out)).toEqual(await readTree(parted));
  });

  test('a part of another archive does not fit', async () => {
    const out = directory.path('exchanged');
    await cp(parted, out, { recursive: true });
    await rm(join(out, 'part-00001'), { recursive: true });
    await cp(join(parted, 'part-00002'), join(out, 'part-00001'), { recursive: true });
    await expect(openArchive(out)).rejects.toMatchObject({
      code: 'CORRUPT_DATA',
      field: expect.stringContaining('part-00001/manifest.json'),
    });
  });
});

test('diff compares labels across parts, and merge makes one archive of parts of one kind', async () => {
  const copy = directory.path('copy');
  await cp(parted, copy, { recursive: true });
  expect(await diffArchives(parted, copy)).toMatchObject({ equal: true, labels: { kind: 'same' } });
  const other = directory.path('other');
  await packLogits({ source, out: other, codec: { ...scalar, levels: 4 }, tauSchedule: schedule });
  const found = await diffArchives(parted, other);
  expect(found).toMatchObject({ equal: false, labels: { kind: 'decoded' } });
  const merged = mergeArchives(directory.path('merged'), [parted]);
  await expect(merged).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('the commands show parts and decode each epoch', async () => {
  const shown = await softpack(['inspect', parted]);
  expect(shown.out).toMatch(/part-00001 +epochs 2 to 4, scalar .*temperature 10/);
  expect(shown.out).toContain(`${EPOCHS} epochs x ${SAMPLES} samples`);
  const file = directory.path('labels.csv');
  const args = ['cat', parted, '--epoch', '1:3', '--samples', '5:6', '-f', 'csv', '-o', file];
  expect(await softpack(args)).toMatchObject({ code: 0 });
  const lines = (await readFile(file, 'utf8')).trim().split('\n').slice(1);
  await using archive = await openArchive(parted);
  for (const [i, epoch] of [1, 2].entries()) {
    const own = await archive.labels(epoch, { start: 5, count: 1 });
    expect(lines[i].split(',').slice(2).map(Number).map(Math.fround)).toEqual([...own]);
  }
});
