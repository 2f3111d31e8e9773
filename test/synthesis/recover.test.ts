import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import type { DifferentiableNetwork } from '#src/nn/network.js';
import { saveConvNet } from '#src/nn/weights.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { runJob } from '#src/pipeline/job/run.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { applyView, axisMatrix, type CropView } from '#src/synthesis/crop-view.js';
import { holdTo, lossGradient, release } from '#src/synthesis/losses.js';
import { normLoss } from '#src/synthesis/norm-loss.js';
import type { SynthesisProgress } from '#src/synthesis/options.js';
import { recoverRecipe, smallestCrop } from '#src/synthesis/recipe.js';
import { recover, viewOf } from '#src/synthesis/recover.js';
import { planSynthesisJob, SYNTHESIS_JOBS } from '#src/synthesis/synthesis-jobs.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import { softpack } from '../cli/softpack.js';
import { nativeTensorflow } from '../nn/native.js';
import { temporaryDirectory } from '../temporary.js';

const [SIZE, CLASSES] = [8, 6];
const config = { inputSize: SIZE, widths: [6, 8], blocks: [1, 0], classes: CLASSES };
const normalisation = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
const VIEW: CropView = { crop: [1, 2, 5, 4], flip: true, shift: [3, 1] };
const temporary = await temporaryDirectory();
const teacher = temporary.path('teacher.safetensors');
let network: ConvNet;

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
  network = ConvNet.create(config, 3);
  await saveConvNet(network, teacher, { normalisation: JSON.stringify(normalisation) });
});
afterAll(() => network.dispose());

const values = (count: number, seed = 1) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i + 0.01 * i * i));

test('a view is the crop, resized by its pixel centres, mirrored and shifted', () => {
  const pixels = values(2 * SIZE * SIZE * 3);
  const at = (b: number, y: number, x: number, c: number) =>
    pixels[((b * SIZE + y) * SIZE + x) * 3 + c];
  const view = tf.tidy(() => applyView(tf.tensor4d(pixels, [2, SIZE, SIZE, 3]), VIEW).dataSync());
  const [top, left, height, width] = VIEW.crop;
  for (let i = 0; i < view.length; i++) {
    const [c, x, y, b] = [
      i % 3,
      Math.floor(i / 3) % SIZE,
      Math.floor(i / 24) % SIZE,
      Math.floor(i / 192),
    ];
    const unshifted = [(y - VIEW.shift[0] + SIZE) % SIZE, (x - VIEW.shift[1] + SIZE) % SIZE];
    const from = (k: number, length: number) =>
      Math.min(Math.max(((k + 0.5) * length) / SIZE - 0.5, 0), length - 1);
    const v = top + from(unshifted[0], height);
    const u = left + from(SIZE - 1 - unshifted[1], width);
    let expected = 0;
    for (let yy = 0; yy < SIZE; yy++) {
      for (let xx = 0; xx < SIZE; xx++) {
        const weight = Math.max(0, 1 - Math.abs(v - yy)) * Math.max(0, 1 - Math.abs(u - xx));
        expected += weight * at(b, yy, xx, c);
      }
    }
    expect(view[i]).toBeCloseTo(expected, 5);
  }
});

/** Gradient of sum(weights x resized) by the matrices' transposes, in float64. */
function resizeGradient(weights: Float32Array, from: number, to: number): Float64Array {
  const gradient = new Float64Array(from * from);
  const taps = (k: number) => {
    const at = Math.min(Math.max(((k + 0.5) * from) / to - 0.5, 0), from - 1);
    return Array.from({ length: from }, (_, i) => Math.max(0, 1 - Math.abs(at - i)));
  };
  for (let y = 0; y < to; y++) {
    for (let x = 0; x < to; x++) {
      const [rows, columns] = [taps(y), taps(x)];
      for (let i = 0; i < from * from; i++) {
        gradient[i] += weights[y * to + x] * rows[Math.floor(i / from)] * columns[i % from];
      }
    }
  }
  return gradient;
}

test('resizeBilinear with half-pixel centres has a wrong gradient: why views are matrices', () => {
  const [from, to] = [3, 7];
  const weights = values(to * to);
  const expected = resizeGradient(weights, from, to);
  const gradient = tf.tidy(() =>
    tf
      .grad((x: tf.Tensor) =>
        tf.image
          .resizeBilinear(x as tf.Tensor4D, [to, to], false, true)
          .mul(tf.tensor4d(weights, [1, to, to, 1]))
          .sum(),
      )(tf.tensor4d(values(from * from), [1, from, from, 1]))
      .dataSync(),
  );
  const error = Math.max(...expected.map((value, i) => Math.abs(value - gradient[i])));
  expect(error).toBeGreaterThan(0.3);
});

test('the gradient of a view is right', () => {
  const weights = values(SIZE * SIZE * 3);
  const whole: CropView = { crop: [0, 0, SIZE, SIZE], flip: false, shift: [0, 0] };
  for (const view of [whole, VIEW]) {
    const rows = axisMatrix(SIZE, view.crop[0], view.crop[2], view.shift[0], false);
    const columns = axisMatrix(SIZE, view.crop[1], view.crop[3], view.shift[1], view.flip);
    const images = tf.tensor4d(values(SIZE * SIZE * 3, 2), [1, SIZE, SIZE, 3]);
    const gradient = tf.tidy(() =>
      tf
        .grad((x: tf.Tensor) =>
          applyView(x as tf.Tensor4D, view)
            .mul(tf.tensor4d(weights, [1, SIZE, SIZE, 3]))
            .sum(),
        )(images)
        .dataSync(),
    );
    images.dispose();
    for (let i = 0; i < gradient.length; i++) {
      const [c, x, y] = [i % 3, Math.floor(i / 3) % SIZE, Math.floor(i / 24)];
      let expected = 0;
      for (let k = 0; k < SIZE * SIZE; k++) {
        const [oy, ox] = [Math.floor(k / SIZE), k % SIZE];
        expected += weights[3 * k + c] * rows[oy * SIZE + y] * columns[ox * SIZE + x];
      }
      expect(gradient[i]).toBeCloseTo(expected, 4);
    }
  }
});

/** The term in float64. */
function termOf(
  input: ArrayLike<number>,
  channels: number,
  mean: Float32Array,
  variance: Float32Array,
) {
  const rows = input.length / channels;
  let [a, b] = [0, 0];
  for (let c = 0; c < channels; c++) {
    const column = Array.from({ length: rows }, (_, r) => input[r * channels + c]);
    const m = column.reduce((sum, x) => sum + x, 0) / rows;
    const v = column.reduce((sum, x) => sum + (x - m) ** 2, 0) / rows;
    a += (m - mean[c]) ** 2;
    b += (v - variance[c]) ** 2;
  }
  return Math.sqrt(a) + Math.sqrt(b);
}

test('the batch-norm term and its gradient are those of float64 differences', () => {
  const channels = 5;
  const input = values(2 * 3 * 3 * channels);
  const [mean, variance] = [values(channels, 4), values(channels, 5).map(Math.abs)];
  const { value, grad } = tf.tidy(() => {
    const both = tf.valueAndGrad((x: tf.Tensor) =>
      normLoss(x, {
        mean: tf.tensor3d(mean, [1, 1, channels]),
        variance: tf.tensor3d(variance, [1, 1, channels]),
      }),
    )(tf.tensor4d(input, [2, 3, 3, channels]));
    return { value: both.value.dataSync()[0], grad: both.grad.dataSync() };
  });
  expect(value).toBeCloseTo(termOf(input, channels, mean, variance), 5);
  const step = 1e-5;
  for (let i = 0; i < input.length; i += 7) {
    const moved = (by: number) => {
      const other = Float64Array.from(input);
      other[i] += by;
      return termOf(other, channels, mean, variance);
    };
    expect(grad[i]).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 4);
  }
});

const recipe = recoverRecipe('cda', SIZE, { iterations: 40, bnWeight: 0.5 });
const size = [SIZE, SIZE] as const;
const statisticsOf = (own: ConvNet) =>
  own.norms.map((name) => {
    const { mean, variance } = own.normStatistics(name);
    return { mean: Float32Array.from(mean.dataSync()), variance: variance.dataSync<'float32'>() };
  });
const differentiable = (own: ConvNet): DifferentiableNetwork => ({
  taps: own.norms,
  stored: () => statisticsOf(own),
  apply: (images, tap) => own.apply(images, { tap }),
});
const context = () => ({
  ...{ network: differentiable(network), size, normalisation, recipe, seed: 1 },
});
const targets = [0, 3, 5];
const job = () => ({
  ...{ job: 2, groups: 1, statistics: statisticsOf(network) },
  images: targets.map((target) => ({ target, index: 0 })),
});

/** Losses of three images, and their gradient, with statistics as stored. */
function lossesOf(own: ConvNet, pixels: Float32Array) {
  const held = holdTo(statisticsOf(own), 1);
  const images = tf.tensor4d(pixels, [3, SIZE, SIZE, 3]);
  const objective = { network: differentiable(own), targets, held, ...recipe };
  const { gradient, ...losses } = lossGradient(objective, images, viewOf(context(), 2, 3));
  const values = gradient.dataSync<'float32'>();
  tf.dispose([images, gradient]);
  release(held);
  return { losses: [losses.crossEntropy, losses.bn], gradient: values };
}

test.for(['cpu', 'tensorflow'] as const)(
  'wasm and %s agree on losses and gradient',
  async (other, { skip }) => {
    const lacking = other === 'tensorflow' ? await nativeTensorflow() : undefined;
    if (lacking !== undefined) return skip(lacking);
    const found: { losses: number[]; gradient: Float32Array }[] = [];
    for (const backend of ['wasm', other] as const) {
      await selectBackend({ backend });
      using own = ConvNet.create(config, 3);
      found.push(lossesOf(own, values(3 * SIZE * SIZE * 3)));
    }
    await selectBackend({ backend: 'wasm' });
    const [a, b] = found;
    const total = (at: number, by: number) => {
      const pixels = values(3 * SIZE * SIZE * 3);
      pixels[at] += by;
      const [crossEntropy, bn] = lossesOf(network, pixels).losses;
      return crossEntropy + recipe.bnWeight * bn;
    };
    const largest = a.gradient.reduce(
      (best, x, i) => (Math.abs(x) > Math.abs(a.gradient[best]) ? i : best),
      0,
    );
    for (const at of [largest, 200, 400]) {
      const slope = (total(at, 0.004) - total(at, -0.004)) / 0.008;
      // Differences of float32 sums, of which the kinks of ReLU take a part.
      expect(Math.abs(a.gradient[at] - slope)).toBeLessThan(0.05 * Math.abs(a.gradient[largest]));
    }
    expect(a.losses[0]).toBeCloseTo(b.losses[0], 4);
    expect(a.losses[1]).toBeCloseTo(b.losses[1], 3);
    const scale = Math.max(...a.gradient.map(Math.abs));
    const error = Math.max(...a.gradient.map((x, i) => Math.abs(x - b.gradient[i])));
    expect(scale).toBeGreaterThan(1e-4);
    expect(error / scale).toBeLessThan(1e-3);
  },
);

test('losses fall, no tensor is left, and a loss that is not finite names job and iteration', async () => {
  const before = tf.memory().numTensors;
  const counts = new Set<number>();
  const onIteration = () => counts.add(tf.memory().numTensors);
  const { first, last } = await recover({ ...context(), onIteration }, job());
  expect(counts.size).toBe(1);
  expect(last.bn).toBeLessThan(0.7 * first.bn);
  const sure = await recover({ ...context(), recipe: { ...recipe, bnWeight: 0.01 } }, job());
  expect(sure.last.crossEntropy).toBeLessThan(0.95 * sure.first.crossEntropy);
  expect(tf.memory().numTensors).toBe(before);
  const { images } = sure;
  for (const [i, value] of images.entries()) {
    const pixel = value * normalisation.std[i % 3] + normalisation.mean[i % 3];
    expect(pixel).toBeGreaterThan(-1e-6);
    expect(pixel).toBeLessThan(1 + 1e-6);
  }
  const [first0, ...others] = statisticsOf(network);
  const broken = { ...first0, mean: first0.mean.map(() => Number.NaN) };
  await expect(
    recover(context(), { ...job(), statistics: [broken, ...others] }),
  ).rejects.toMatchObject({ code: 'NON_FINITE', field: 'job 2, iteration 0' });
  expect(tf.memory().numTensors).toBe(before);
});

test("CDA's views begin as the whole image and end as SRe2L's", () => {
  const cda = recoverRecipe('cda', 224, {});
  expect([smallestCrop(cda, 0), smallestCrop(cda, 2000), smallestCrop(cda, 4000)]).toEqual([
    1,
    expect.closeTo(0.54, 10),
    0.08,
  ]);
  expect(smallestCrop(recoverRecipe('sre2l', 224, {}), 0)).toBe(0.08);
  expect(cda).toMatchObject({
    lr: 0.25,
    bnWeight: 0.01,
    firstBn: 10,
    jitter: 32,
    iterations: 4000,
  });
});

test('a record tells the recipe and what each job reached; choices that no image allows are refused', async () => {
  const common = { method: 'cda', teacher, backend: 'wasm', ipc: 1, iterations: 3 } as const;
  const make = (name: string, change = {}) =>
    synthesise({ ...common, batch: 3, out: temporary.path(name), ...change });
  const own = { minCrop: 1, jitter: 0, firstBn: 2, curriculum: 0.5 };
  const result = await make('own', own);
  const record = JSON.parse(await readFile(join(temporary.path('own'), 'synthesis.json'), 'utf8'));
  expect(record.request).toMatchObject({ ...own, lr: 0.25, iterations: 3 });
  expect(record.jobs).toHaveLength(2);
  const images: { bytes: number; crossEntropy: number }[] = record.images.slice(0, 3);
  const [{ bytes, confidence, iterations, whole }] = record.jobs;
  expect(bytes).toBe(images.reduce((sum, image) => sum + image.bytes, 0));
  expect(confidence).toBeCloseTo(
    images.reduce((sum, image) => sum + Math.exp(-image.crossEntropy), 0) / 3,
    12,
  );
  expect(iterations).toBe(3);
  expect(whole.bn).toBeGreaterThan(0);
  expect(result.bytes).toBe(record.jobs[0].bytes + record.jobs[1].bytes);
  for (const [field, value] of [
    ['minCrop', 0],
    ['jitter', SIZE],
    ['firstBn', -1],
    ['curriculum', 1.5],
  ] as const) {
    await expect(make('refused', { [field]: value })).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field, found: value },
    });
  }
  await expect(readdir(temporary.path('refused'))).rejects.toThrow('ENOENT');
});

test('the command says when one term of the loss is many times the other', async () => {
  const make = async (name: string, weight: string) => {
    const args = ['--method', 'sre2l', '--teacher', teacher, '--backend', 'wasm', '--ipc', '1'];
    const more = ['--iterations', '2', '--bn-weight', weight, '-o', temporary.path(name)];
    return softpack(['synthesise', ...args, ...more]);
  };
  const first = async (name: string) => {
    const text = await readFile(join(temporary.path(name), 'synthesis.json'), 'utf8');
    return JSON.parse(text).jobs[0].first as { readonly bn: number; readonly crossEntropy: number };
  };
  const loud = await make('loud', '1e4');
  const { bn, crossEntropy } = await first('loud');
  const advised = Number(/consider --bn-weight (\S+)/.exec(loud.err)?.[1]);
  expect((advised * bn) / crossEntropy).toBeGreaterThan(1);
  expect((advised * bn) / crossEntropy).toBeLessThan(4);
  const quiet = await make('quiet', String(advised));
  expect([quiet.code, quiet.err]).toEqual([0, expect.not.stringContaining('--bn-weight')]);
});

async function contentOf(name: string): Promise<ReadonlyMap<string, string>> {
  const root = temporary.path(name);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name: file }) => join(parentPath, file)).sort();
  const bytes = await Promise.all(paths.map((path) => readFile(path, 'base64')));
  return new Map(paths.map((path, i) => [path.slice(root.length + 1), bytes[i]]));
}

test('jobs are repeated to equal bytes, and other teachers are told which kinds have gradients', async () => {
  const common = { method: 'sre2l', teacher, backend: 'wasm', ipc: 2, batch: 4 } as const;
  const make = (name: string, change = {}) =>
    synthesise({ ...common, iterations: 5, out: temporary.path(name), ...change });
  expect(await make('whole')).toMatchObject({ images: 12, classes: 6, jobs: 4, jobsDone: 4 });
  const stop = new AbortController();
  const onProgress = ({ step }: SynthesisProgress) => {
    if (step?.job === 2 && step.iteration === 3) stop.abort();
  };
  await expect(make('again', { onProgress, signal: stop.signal })).rejects.toMatchObject({
    code: 'ABORTED',
  });
  await make('again', { shard: { index: 0, count: 2 } });
  await make('again', { shard: { index: 1, count: 2 } });
  await rm(join(temporary.path('again'), '.synthesis', 'job-000002.json'));
  await make('again');
  const content = await contentOf('whole');
  expect(await contentOf('again')).toEqual(content);
  expect([...content.keys()]).toContain('00005/class00005_id00001.png');
  const stores = await openJobStores(temporary.path('job'));
  await planSynthesisJob(stores, { ...common, iterations: 5 });
  const kinds = [SYNTHESIS_JOBS];
  for (const i of [1, 0]) await runJob(stores, { kinds, share: { i, of: 2 } });
  await finalizeJob(stores, { kinds });
  const summary = await readFile(join(temporary.path('job'), 'synthesis.json'), 'utf8');
  expect(summary).toBe(await readFile(join(temporary.path('whole'), 'synthesis.json'), 'utf8'));
  const onnx = new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url).pathname;
  const description = { mean: [0, 0, 0], std: [1, 1, 1] };
  await expect(make('onnx', { teacher: onnx, description, backend: 'auto' })).rejects.toMatchObject(
    { code: 'UNSUPPORTED', expected: expect.stringContaining('torchvision ResNet') },
  );
});
