import { expect, it } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createLoader, DataLoader, type LoaderOptions, packLogits } from '#src/index.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const EPOCHS = 3;
const SAMPLES = 10;
const logits = Float32Array.from({ length: EPOCHS * SAMPLES * 4 }, (_, i) => 5 * Math.sin(i * i));

async function archiveOf(name: string, values: Float32Array) {
  const source = memoryLabelSource(values, { epochs: EPOCHS, samples: SAMPLES, classes: 4 });
  const out = directory.path(name);
  await packLogits({ source, out, codec: { name: 'none' }, tau: 2 });
  return openArchive(out);
}

const archive = await archiveOf('archive', logits);
const loaderOf = (options: Partial<LoaderOptions>) =>
  createLoader({ archive, batchSize: 4, workers: 0, ...options });

it.each<[Partial<LoaderOptions>, string]>([
  [{ batchSize: 11, dropLast: true }, 'batchSize'],
  [{ batchSize: 6, worldSize: 2, dropLast: true }, 'batchSize'],
  [{ batchSize: 0 }, 'batchSize'],
  [{ batchSize: Number.NaN }, 'batchSize'],
  [{ batchSize: 1.5 }, 'batchSize'],
  [{ epochs: { from: 1, to: 1 } }, 'epochs.from'],
  [{ epochs: { from: 0, to: 0 } }, 'epochs.to'],
  [{ epochs: { from: 2, to: 1 } }, 'epochs.from'],
  [{ epochs: { from: 0, to: 4 } }, 'epochs.to'],
])('refuses options that would deliver nothing: %j', (options, field) => {
  expect(() => loaderOf(options)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
  );
});

it('delivers a smaller set whole where no batch is dropped', async () => {
  await using loader = loaderOf({ batchSize: 2 ** 31 });
  const { value } = await loader[Symbol.asyncIterator]().next();
  expect(value?.sampleIds).toHaveLength(SAMPLES);
});

it('goes on only within the epochs that were asked for', async () => {
  await using first = loaderOf({});
  const state = (epoch: number) => ({ ...first.state(), epoch });
  for (const epoch of [0, 3]) {
    const resume = () => loaderOf({ epochs: { from: 1, to: 2 }, resume: state(epoch) });
    expect(resume).toThrow(expect.objectContaining({ field: 'resume.epoch', found: epoch }));
  }
  await using inside = loaderOf({ epochs: { from: 1, to: 2 }, resume: state(1) });
  const epochs = new Set<number>();
  for await (const { epoch } of inside) epochs.add(epoch);
  expect([...epochs]).toEqual([1]);
});

it('refuses the state of an archive of other labels, whatever else is equal', async () => {
  await using other = await archiveOf('other', logits.toReversed());
  expect(other.manifest.archiveId).toBe(archive.manifest.archiveId);
  await using loader = loaderOf({});
  expect(() => loaderOf({ archive: other, resume: loader.state() })).toThrow(
    expect.objectContaining({ field: 'resume.archiveId' }),
  );
});

it('starts a new epoch after break, as a DataLoader of PyTorch does', async () => {
  await using train = new DataLoader({ archive, batchSize: 4, workers: 0 });
  const seen: (readonly [number, number])[] = [];
  for await (const { epoch, index } of train) {
    seen.push([epoch, index]);
    if (index === 1) break;
  }
  for await (const { epoch, index } of train) seen.push([epoch, index]);
  train.setEpoch(0);
  for await (const { epoch, index } of train) {
    seen.push([epoch, index]);
    break;
  }
  expect(seen).toEqual([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
    [1, 2],
    [0, 0],
  ]);
  const resume = train.loader.state();
  await using later = new DataLoader({ archive, batchSize: 4, workers: 0, resume });
  const { value } = await later[Symbol.asyncIterator]().next();
  expect([value?.epoch, value?.index]).toEqual([0, 1]);
});
