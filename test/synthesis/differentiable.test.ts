import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import sharp from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';
import type { TeacherDescription } from '#src/nn/teachers/description.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import type { CropView } from '#src/synthesis/crop-view.js';
import { holdTo, lossGradient, release } from '#src/synthesis/losses.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import { temporaryDirectory } from '../temporary.js';

/** Files of TensorFlow and its converter, see test/nn/models/make-models.py. */
const models = fileURLToPath(new URL('../nn/models/', import.meta.url));
const [SIZE, CLASSES, WIDTH] = [8, 5, 4];
const description = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
const temporary = await temporaryDirectory();

beforeAll(() => selectBackend({ backend: 'wasm' }).then(() => undefined));

const values = (count: number, seed = 1) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i + 0.01 * i * i));
const view: CropView = { crop: [1, 0, 6, 7], flip: true, shift: [1, 2] };
const targets = [1, 4];

/** The loss of a teacher's view and its gradient, for statistics that are no one's. */
async function lossOf(
  path: string,
  backend: 'wasm' | 'cpu',
  given: TeacherDescription,
  pixels: Float32Array,
) {
  using teacher = await loadTeacher(join(models, path), { backend, description: given });
  const { network } = teacher;
  if (network === undefined) throw new Error('no gradients');
  const held = holdTo([{ mean: values(WIDTH, 3), variance: values(WIDTH, 4).map(Math.abs) }], 1);
  const images = tf.tensor4d(pixels, [2, SIZE, SIZE, 3]);
  const objective = { network, targets, held, bnWeight: 0.3, firstBn: 2 };
  const { crossEntropy, bn, gradient } = lossGradient(objective, images, view);
  const slopes = gradient.dataSync<'float32'>();
  tf.dispose([images, gradient]);
  release(held);
  return { loss: crossEntropy + 0.3 * bn, slopes, taps: network.taps };
}

const BGR = { ...description, channels: 'bgr' } as const;
test.for([
  ['layers-model', description, 'batch_normalization'],
  ['layers-model', BGR, 'batch_normalization'],
  ['graph-model', description, 'StatefulPartitionedCall/sequential/re_lu/Relu'],
] as const)(
  'gradients of %s are those of differences, on wasm and cpu',
  async ([path, given, tap]) => {
    const pixels = values(2 * SIZE * SIZE * 3);
    const wasm = await lossOf(path, 'wasm', given, pixels);
    const cpu = await lossOf(path, 'cpu', given, pixels);
    expect(wasm.taps).toEqual([tap]);
    expect(wasm.loss).toBeCloseTo(cpu.loss, 4);
    const scale = Math.max(...cpu.slopes.map(Math.abs));
    const error = Math.max(...cpu.slopes.map((slope, i) => Math.abs(slope - wasm.slopes[i])));
    expect(error).toBeLessThan(1e-3 * scale);
    for (const at of [40, 130, 300]) {
      const moved = async (by: number) => {
        const other = pixels.slice();
        other[at] += by;
        return (await lossOf(path, 'cpu', given, other)).loss;
      };
      const slope = ((await moved(0.01)) - (await moved(-0.01))) / 0.02;
      expect(Math.abs(cpu.slopes[at] - slope)).toBeLessThan(0.05 * scale);
    }
  },
);

test('a layers model keeps its own statistics, those of models within it too', async () => {
  using teacher = await loadTeacher(join(models, 'layers-model'), { backend: 'cpu', description });
  const [stored] = teacher.network?.stored() ?? [];
  // Its weights file: kernel [3, 3, 3, 4], bias, gamma, beta, then mean and variance of 4 channels each.
  const bytes = await readFile(join(models, 'layers-model', 'group1-shard1of1.bin'));
  const weights = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const manifest = JSON.parse(await readFile(join(models, 'layers-model', 'model.json'), 'utf8'));
  const names: { name: string; shape: number[] }[] = manifest.weightsManifest[0].weights;
  const at = (part: string) => {
    const index = names.findIndex(({ name }) => name.endsWith(part));
    const from = names
      .slice(0, index)
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    return weights.slice(from, from + WIDTH);
  };
  expect(stored).toEqual({ mean: at('moving_mean'), variance: at('moving_variance') });

  const inner = tf.sequential({ name: 'inner' });
  inner.add(tf.layers.conv2d({ filters: 3, kernelSize: 3, inputShape: [SIZE, SIZE, 3] }));
  inner.add(tf.layers.batchNormalization({ name: 'within' }));
  const outer = tf.sequential({ name: 'outer' });
  outer.add(inner);
  outer.add(tf.layers.flatten());
  outer.add(tf.layers.dense({ units: CLASSES }));
  const folder = temporary.path('nested');
  await cp(join(models, 'layers-model'), folder, { recursive: true });
  await outer.save(
    tf.io.withSaveHandler(async ({ modelTopology, weightSpecs, weightData }) => {
      const paths = ['group1-shard1of1.bin'];
      const weightsManifest = [{ paths, weights: weightSpecs }];
      const json = { format: 'layers-model', modelTopology, weightsManifest };
      await writeFile(join(folder, 'model.json'), JSON.stringify(json));
      await writeFile(join(folder, paths[0]), Buffer.from(weightData as ArrayBuffer));
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  outer.dispose();
  using nested = await loadTeacher(folder, { backend: 'cpu', description });
  expect(nested.network?.taps).toEqual(['inner/within']);
  expect(nested.network?.stored()?.[0].variance).toEqual(new Float32Array(3).fill(1));
  const seen: number[][] = [];
  const logits = tf.tidy(() => {
    const images = tf.tensor4d(values(SIZE * SIZE * 3), [1, SIZE, SIZE, 3]);
    return nested.network?.apply(images, (_, x) => seen.push(x.shape)).dataSync();
  });
  expect(seen).toEqual([[1, 6, 6, 3]]);
  const predicted = await nested.logits(values(SIZE * SIZE * 3));
  expect(logits).toHaveLength(CLASSES);
  for (const [i, logit] of predicted.entries()) expect(logits?.[i]).toBeCloseTo(logit, 5);
});

test('images are made for layers models; graph models are told to take statistics first', async () => {
  const common = { method: 'cda', description, backend: 'cpu', ipc: 1, iterations: 2 } as const;
  const make = (model: string) =>
    synthesise({ ...common, teacher: join(models, model), out: temporary.path(`made-${model}`) });
  expect(await make('layers-model')).toMatchObject({ images: CLASSES, jobs: 1 });
  await expect(make('graph-model')).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'statistics', found: '0 batch norms' },
    expected: 'a file with those of its 1 convolutions, or a teacher with batch norms',
  });
});

test('images of a torchvision ResNet may be wider than high, and are the same on every run', async () => {
  const teacher = join(models, 'resnet-bottleneck.pth');
  const make = (name: string) =>
    synthesise({
      ...{ method: 'sre2l', teacher, backend: 'wasm', ipc: 1, iterations: 3 },
      ...{ description: { ...description, size: [9, 12] }, out: temporary.path(name) },
    });
  expect(await make('wide')).toMatchObject({ images: CLASSES, jobs: 1 });
  await make('wide-again');
  const [a, b] = await Promise.all(
    ['wide', 'wide-again'].map((name) =>
      readFile(join(temporary.path(name), '00003', 'class00003_id00000.png')),
    ),
  );
  expect(a.equals(b)).toBe(true);
  expect(await sharp(a).metadata()).toMatchObject({ width: 12, height: 9 });
});
