import { copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import sharp from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import { readTensorFile, writeTensorFile } from '#src/container/tensor-file.js';
import { memoryImages } from '#src/images/memory.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { saveConvNet } from '#src/nn/weights.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { runJob } from '#src/pipeline/job/run.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import type { FeatureStatisticsOptions } from '#src/synthesis/statistics/options.js';
import { featureStatistics } from '#src/synthesis/statistics/statistics.js';
import { planSynthesisJob, SYNTHESIS_JOBS } from '#src/synthesis/synthesis-jobs.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import { softpack } from '../cli/softpack.js';
import { samplePixels } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const [SIZE, CLASSES, PER_CLASS, VIEWS] = [8, 5, 4, 3];
const config = { inputSize: SIZE, widths: [6, 8], blocks: [1, 0], classes: CLASSES };
const normalisation = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
const temporary = await temporaryDirectory();
const teacher = temporary.path('teacher.safetensors');
const images = temporary.path('images');
const pixels: Uint8Array[] = [];

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
  using network = ConvNet.create(config, 3);
  await saveConvNet(network, teacher, { normalisation: JSON.stringify(normalisation) });
  for (let i = 0; i < CLASSES * PER_CLASS; i++) {
    const folder = join(images, `class${Math.floor(i / PER_CLASS)}`);
    await mkdir(folder, { recursive: true });
    pixels.push(samplePixels(i, 12, 12));
    const raw = { height: 12, width: 12, channels: 3 } as const;
    await sharp(pixels[i], { raw }).toFile(join(folder, `${i % PER_CLASS}.png`));
  }
});

const common = { backend: 'wasm', views: VIEWS, minCrop: 0.3, seed: 5, batch: 7 } as const;
function take(name: string, change: Partial<FeatureStatisticsOptions> = {}) {
  return featureStatistics({ ...common, teacher, images, out: temporary.path(name), ...change });
}

async function tensorsOf(name: string) {
  const { tensors } = await readTensorFile(temporary.path(name));
  const floats = ({ data: { buffer, byteOffset, byteLength } }: { data: Uint8Array }) =>
    new Float32Array(buffer, byteOffset, byteLength / 4);
  return new Map([...tensors].map(([key, tensor]) => [key, floats(tensor)]));
}

/** All inputs of one batch norm over all views of some images: [values, channels], in float64. */
async function featuresOf(tapped: string, wanted: readonly number[]): Promise<number[][]> {
  const source = memoryImages(Buffer.concat(pixels), 12, 12);
  const augmenter = new Augmenter(
    {
      ...{ generator: 'philox4x32-10', seed: common.seed, size: [SIZE, SIZE], flip: 0.5 },
      ...{ mix: { kind: 'none' }, crop: { scale: [common.minCrop, 1], ratio: [3 / 4, 4 / 3] } },
    },
    source,
  );
  const rows: number[][] = [];
  using network = ConvNet.create(config, 3);
  for (const image of wanted) {
    for (let view = 0; view < VIEWS; view++) {
      const out = new Float32Array(SIZE * SIZE * 3);
      renderViews(augmenter, source, view, Uint32Array.of(image), normalisation, out);
      const tap = (name: string, x: tf.Tensor) => {
        const channels = x.shape[x.rank - 1];
        if (name === tapped) rows.push(...(x.reshape([-1, channels]).arraySync() as number[][]));
      };
      tf.tidy(() => void network.apply(tf.tensor4d(out, [1, SIZE, SIZE, 3]), { tap }));
    }
  }
  return rows;
}

function meanAndVariance(rows: readonly number[][], channel: number) {
  const column = rows.map((row) => row[channel]);
  const mean = column.reduce((sum, x) => sum + x, 0) / column.length;
  return { mean, variance: column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / column.length };
}

test('statistics are those of all values at once, of all images and of each class', async () => {
  // float16 weights are what the file has: the network of the seed has them rounded here too.
  const result = await take('all.safetensors');
  expect(result).toEqual({ taps: 4, channels: 26, images: 20, views: 60, classes: CLASSES });
  const found = await tensorsOf('all.safetensors');
  for (const name of ['stage0', 'stage0.block0.b', 'stage1']) {
    const every = await featuresOf(
      name,
      pixels.map((_, i) => i),
    );
    const channels = every[0].length;
    for (let c = 0; c < channels; c++) {
      const { mean, variance } = meanAndVariance(every, c);
      const near = Math.sqrt(variance) / 200 + 1e-5;
      expect(Math.abs((found.get(`${name}.mean`)?.[c] ?? 9) - mean)).toBeLessThan(near);
      const ratio = (found.get(`${name}.variance`)?.[c] ?? 9) / variance;
      if (variance > 1e-6) expect(ratio).toBeCloseTo(1, 2);
    }
    const third = await featuresOf(name, [8, 9, 10, 11]);
    for (let c = 0; c < channels; c++) {
      const { mean, variance } = meanAndVariance(third, c);
      const near = Math.sqrt(variance) / 200 + 1e-5;
      const at = 2 * channels + c;
      expect(Math.abs((found.get(`${name}.class_mean`)?.[at] ?? 9) - mean)).toBeLessThan(near);
      const ratio = (found.get(`${name}.class_variance`)?.[at] ?? 9) / variance;
      if (variance > 1e-6) expect(ratio).toBeCloseTo(1, 2);
    }
  }
});

test('a stopped run goes on to the bytes of a whole one, and a finished one is left as it is', async () => {
  const small = { batch: 1, views: 6 };
  const seen: number[] = [];
  await take('whole.safetensors', { ...small, onProgress: ({ done }) => seen.push(done) });
  expect([seen[0], seen.indexOf(120), seen.at(-1)]).toEqual([0, seen.length - 1, 120]);
  const stop = new AbortController();
  const onProgress = ({ done }: { done: number }) => done > 50 && stop.abort();
  const stopped = take('again.safetensors', { ...small, onProgress, signal: stop.signal });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  const parts = temporary.path('again.safetensors.parts');
  expect(await readdir(parts)).toContain('part-000000.safetensors');
  await writeFile(join(parts, 'part-000001.safetensors.tmp-0123456789abcdef'), 'killed');
  await take('again.safetensors', small);
  const bytes = await readFile(temporary.path('again.safetensors'));
  expect(bytes.equals(await readFile(temporary.path('whole.safetensors')))).toBe(true);
  expect(await readdir(temporary.path(''))).not.toContain('again.safetensors.parts');
  await take('again.safetensors', small);
  await expect(take('again.safetensors', { ...small, seed: 6 })).rejects.toMatchObject({
    ...{ code: 'ALREADY_EXISTS', field: expect.stringContaining('seed'), found: 5 },
  });
});

test('images without classes have statistics as a whole', async () => {
  await take('whole-only.safetensors', { perClass: false, batch: 1, views: 4 });
  const list = temporary.path('list.txt');
  const files = pixels.map((_, i) => `images/class${Math.floor(i / 4)}/${i % 4}.png`);
  await writeFile(list, `${files.join('\n')}\n`);
  const options = { images: list, perClass: false, batch: 1, views: 4 };
  expect(await take('list.safetensors', options)).toMatchObject({ classes: 0, views: 80 });
  const [a, b] = [await tensorsOf('list.safetensors'), await tensorsOf('whole-only.safetensors')];
  expect([...a.keys()]).not.toContain('class_views');
  expect(a).toEqual(b);
  await expect(take('none.safetensors', { images: list })).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', found: '20 images without classes' },
  });
});

const LPLD = {
  method: 'lpld',
  teacher,
  backend: 'wasm',
  statistics: temporary.path('all.safetensors'),
  ipc: 2,
  batch: 4,
  iterations: 30,
  lr: 0.1,
} as const;
const lpld = (name: string, change = {}) =>
  synthesise({ ...LPLD, out: temporary.path(name), ...change });

test('LPLD holds images of a class to the statistics of the class; a shard has the bytes of the run', async () => {
  const options = { bnWeight: 5, lr: 0.25, iterations: 40, classes: [1, 5] };
  expect(await lpld('distilled', options)).toMatchObject({ images: 8, jobs: 2, jobsDone: 2 });
  const file = join(temporary.path('distilled'), 'synthesis.json');
  const { jobs } = JSON.parse(await readFile(file, 'utf8'));
  for (const { whole } of jobs) expect(whole.bn).toBeLessThan(0.7 * whole.bnOfNoise);
  const one = await lpld('sharded', { ...options, shard: { index: 1, count: 2 } });
  expect(one).toMatchObject({ images: 4, jobs: 2, jobsDone: 1 });
  const made = await readdir(temporary.path('sharded'), { recursive: true });
  const pictures = made.filter((name) => name.endsWith('.png'));
  expect(pictures).toHaveLength(4);
  for (const name of pictures) {
    const [a, b] = await Promise.all(
      ['distilled', 'sharded'].map((folder) => readFile(join(temporary.path(folder), name))),
    );
    expect(a.equals(b)).toBe(true);
  }
});

test('a machine of a job names its own file of the statistics, which must be the same', async () => {
  const [planned, elsewhere] = ['planned', 'elsewhere'].map((name) => temporary.path(name));
  await copyFile(LPLD.statistics, planned);
  const options = { iterations: 3, classes: [1, 3] } as const;
  const kinds = [SYNTHESIS_JOBS];
  const stores = await openJobStores(temporary.path('job'));
  await planSynthesisJob(stores, { ...LPLD, ...options, statistics: planned });
  await rename(planned, elsewhere);
  const run = (change: object) => runJob(stores, { kinds, ...change });
  await expect(run({})).rejects.toMatchObject({ code: 'NOT_FOUND', field: planned });
  const { tensors, metadata } = await readTensorFile(elsewhere);
  await writeTensorFile(planned, tensors, { ...Object.fromEntries(metadata), remark: 'another' });
  await expect(run({})).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', message: expect.stringContaining('request.statistics') },
  });
  expect(await run({ statistics: elsewhere })).toMatchObject({ made: 1 });
  await finalizeJob(stores, { kinds });
  await lpld('by one machine', options);
  const [made, wanted] = await Promise.all(
    ['job', 'by one machine'].map((name) => readFile(join(temporary.path(name), 'synthesis.json'))),
  );
  expect(made).toEqual(wanted);
});

test('LPLD is refused without the statistics of every class, before any work', async () => {
  const refused = (change: object, details: object) =>
    expect(lpld('refused', change)).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field: 'statistics', ...details },
    });
  await refused({ statistics: undefined }, { found: 'no file' });
  await refused(
    { statistics: temporary.path('list.safetensors') },
    { found: 'a file without classes', expected: 'a file with those of 5 classes' },
  );
  const path = temporary.path('lacking.safetensors');
  const { tensors, metadata } = await readTensorFile(temporary.path('all.safetensors'));
  const rewrite = async (name: string, change: (data: Uint8Array) => Uint8Array) => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new Error(name);
    const changed = new Map(tensors).set(name, { ...tensor, data: change(tensor.data.slice()) });
    await writeTensorFile(path, changed, Object.fromEntries(metadata));
  };
  await rewrite('class_views', (data) => data.fill(0, 4, 8));
  await refused({ statistics: path }, { found: 'none of 1 classes, the first 1' });
  await rewrite('stage1.variance', (data) => data.fill(255));
  await refused(
    { statistics: path },
    { code: 'INVALID_FILE', field: expect.stringContaining('stage1.variance') },
  );
  const other = temporary.path('other.safetensors');
  using network = ConvNet.create(config, 4);
  await saveConvNet(network, other, { normalisation: JSON.stringify(normalisation) });
  await refused(
    { teacher: other, statistics: temporary.path('all.safetensors') },
    {
      field: expect.stringContaining('statistics'),
      message: expect.stringContaining('another teacher'),
    },
  );
  await refused(
    { statistics: teacher },
    { code: 'INVALID_FILE', field: expect.stringContaining('kind') },
  );
  await expect(readdir(temporary.path('refused'))).rejects.toThrow('ENOENT');
});

test('the command takes statistics, and refuses teachers whose features are out of reach', async () => {
  const out = temporary.path('command.safetensors');
  const common = ['statistics', '--images', images, '-o', out];
  const options = ['--backend', 'wasm', '--views', '2', '--teacher', teacher];
  const made = await softpack([...common, ...options]);
  expect(made.out).toContain('4 layers of 26 channels over 40 views of 20 images, of each of 5');
  const onnx = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
  const refused = await softpack([...common, '--preprocessing', 'unit', '--teacher', onnx]);
  expect(refused.code).toBe(1);
  expect(refused.err).toContain('a TensorFlow.js layers or graph model');
});
