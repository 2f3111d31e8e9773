import { execFileSync, spawnSync } from 'node:child_process';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { packLogits } from '#src/pipeline/pack.js';
import { temporaryDirectory } from '../temporary.js';
import {
  CODECS,
  images,
  labelsOf,
  logitArchive,
  NORMALISATION,
  packed,
  SAMPLES,
  SIDE,
  worst,
  writeImages,
} from './fixture.js';
import { floatsOf, hasModule, python, root, runJobs } from './python.js';

const temporary = await temporaryDirectory();
const reason = (name: string) =>
  `${python} has no ${name}; name a Python that has by SOFTPACK_PYTHON`;

const augmentation: AugmentationSpec = {
  ...{ generator: 'philox4x32-10', seed: 6, size: [12, 11], flip: 0.5 },
  crop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] },
  mix: { kind: 'cutmix', alpha: 1, probability: 0.8 },
  ...{ resample: 'antialias', round: 'u8' },
};

/** Compiling the library takes half a minute of an idle processor. */
const LIBRARY_TIMEOUT = 600_000;

test(
  'the library gives the bytes of the addon, labels and views',
  async (context) => {
    context.skip(!hasModule('numpy'), reason('numpy'));
    const library = temporary.path('labels.so');
    const env = { SOFTPACK_LABELS_LIBRARY: library, PYTHONPATH: `${root}python` };
    const args = ['-m', 'softpack_labels.build', '--source', root];
    execFileSync(python, args, { env: { ...process.env, ...env }, stdio: 'pipe' });
    const source = await logitArchive(temporary.path('logits'), { augmentation });
    const archive = await packed(source, temporary.path('vqae'), CODECS[0]);
    const file = await writeImages(temporary.path('images.bin'));
    const samples = Array.from({ length: SAMPLES }, (_, i) => i);
    const shape = [SAMPLES, SIDE, SIDE];
    const views = { images: file, shape, samples, epochs: [1], ...NORMALISATION };
    const jobs = [
      { kind: 'labels', archive, epochs: [0, 1, 2], kernels: 'native' },
      { kind: 'views', archive, ...views, kernels: 'native' },
      { kind: 'views', archive, ...views, kernels: 'numpy' },
    ] as const;
    const [labels, native, numpy] = runJobs(jobs, { env });
    expect(labels.kernels).toBe('native');
    const expected = await labelsOf(archive);
    for (const [epoch, own] of expected.entries()) {
      expect(floatsOf((labels.labels as string[])[epoch])).toEqual(own);
    }
    expect(native.views).toEqual(numpy.views);
    const [missing] = runJobs([jobs[0]], {
      env: { SOFTPACK_LABELS_LIBRARY: temporary.path('no.so') },
    });
    expect(missing).toMatchObject({ code: 'BACKEND_UNAVAILABLE', field: 'kernels' });
  },
  LIBRARY_TIMEOUT,
);

test('a DataLoader gives the batches of the loader, with and without workers', async (context) => {
  context.skip(!hasModule('torch'), reason('torch'));
  const path = await logitArchive(temporary.path('torch'), { augmentation });
  await using archive = await openArchive(path);
  const file = await writeImages(temporary.path('torch.bin'));
  const jobs = [0, 2].map((workers) => ({
    ...{ kind: 'dataset', archive: path, workers, images: file, shape: [SAMPLES, SIDE, SIDE] },
    ...{ options: { batch_size: 16, seed: 8 }, ...NORMALISATION },
  }));
  const found = runJobs(jobs as never);
  expect(found[1]).toEqual(found[0]);
  const options = { archive, images, normalisation: NORMALISATION, batchSize: 16, seed: 8 };
  await using loader = createLoader({ ...options, workers: 0 });
  let i = 0;
  for await (const { xs, ys } of loader.epoch()) {
    expect(floatsOf((found[0].xs as string[])[i])).toEqual(xs);
    expect(worst(floatsOf((found[0].ys as string[])[i]), ys)).toBeLessThan(1e-6);
    i += 1;
  }
  expect(found[0].xs).toHaveLength(i);
});

test('a DataLoader gives the batches drawn from a pruned archive', async (context) => {
  context.skip(!hasModule('torch'), reason('torch'));
  const source = await logitArchive(temporary.path('to-prune'), { augmentation });
  const path = temporary.path('pruned');
  const prune = { ratio: 2, batchSize: 8 };
  await packLogits({ source, out: path, codec: { name: 'none' }, prune });
  const file = await writeImages(temporary.path('pruned.bin'));
  const jobs = [0, 2].map((workers) => ({
    ...{ kind: 'dataset', archive: path, workers, images: file, shape: [SAMPLES, SIDE, SIDE] },
    ...{ options: { seed: 8 }, ...NORMALISATION },
  }));
  const found = runJobs(jobs as never);
  expect(found[1]).toEqual(found[0]);
  await using archive = await openArchive(path);
  const options = { archive, images, normalisation: NORMALISATION, seed: 8 };
  let i = 0;
  for await (const { epoch, xs, ys } of prunedBatches(options)) {
    if (epoch > 0) break;
    expect(floatsOf((found[0].xs as string[])[i])).toEqual(xs);
    expect(worst(floatsOf((found[0].ys as string[])[i]), ys)).toBeLessThan(1e-6);
    i += 1;
  }
  expect(found[0].xs).toHaveLength(i);
});

test('pip installs it with numpy alone, and builds nothing', async (context) => {
  const venv = temporary.path('venv');
  if (spawnSync(python, ['-m', 'venv', venv]).status !== 0) context.skip(`${python} has no venv`);
  const source = temporary.path('source');
  await cp(join(root, 'python'), source, { recursive: true });
  const program = join(venv, 'bin', 'python');
  const pip = spawnSync(program, ['-m', 'pip', 'install', '-q', source], { encoding: 'utf8' });
  if (/No matching distribution|Could not find a version|ConnectionError/.test(pip.stderr)) {
    context.skip(`no package index: ${pip.stderr.slice(-300)}`);
  }
  expect(pip.status, pip.stderr).toBe(0);
  const listed = execFileSync(program, ['-m', 'pip', 'list', '--format', 'json'], {
    encoding: 'utf8',
  });
  const names = (JSON.parse(listed) as { name: string }[]).map(({ name }) => name);
  expect(names).toContain('softpack-labels');
  expect(names.filter((name) => !['pip', 'setuptools'].includes(name)).sort()).toEqual([
    ...['numpy', 'softpack-labels'],
  ]);
  const path = await logitArchive(temporary.path('installed'));
  const [found] = runJobs([{ kind: 'labels', archive: path, epochs: [0] }], { program, path: '' });
  const [expected] = await labelsOf(path);
  expect(worst(floatsOf((found.labels as string[])[0]), expected)).toBeLessThan(1e-6);
  const text = await readFile(join(root, 'python', 'pyproject.toml'), 'utf8');
  expect(text).toContain('dependencies = ["numpy>=1.22"]');
});
