import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { type StoredTensor, writeTensorFile } from '#src/container/tensor-file.js';
import { openTorchFile } from '#src/container/torch/open.js';
import { stateDictOf } from '#src/container/torch/state-dict.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { temporaryDirectory } from '../temporary.js';
import { nativeTensorflow } from './native.js';

/** Checkpoints, logits and gradients of torch; made by make-resnets.py, which says what is in them. */
const models = fileURLToPath(new URL('./models/', import.meta.url));
const temporary = await temporaryDirectory();
const NAMES = ['resnet-basic', 'resnet-bottleneck'] as const;

interface Reference {
  readonly size: [number, number];
  readonly logits: readonly number[];
  readonly weights: readonly number[];
  readonly gradient: readonly number[];
}
const references: Record<string, Reference> = JSON.parse(
  await readFile(join(models, 'resnet.json'), 'utf8'),
);
const imagesOf = ([height, width]: readonly [number, number]) =>
  Float32Array.from({ length: 2 * height * width * 3 }, (_, i) => Math.sin(1.7 * i + 0.01 * i * i));
const unit = { mean: [0, 0, 0], std: [1, 1, 1] } as const;

function requireClose(found: ArrayLike<number>, expected: readonly number[]): void {
  expect(found.length).toBe(expected.length);
  const scale = Math.max(...expected.map(Math.abs));
  const error = Math.max(...expected.map((value, i) => Math.abs(value - found[i])));
  expect(error).toBeLessThan(2e-4 * scale);
}

test.for(
  NAMES.flatMap((name) =>
    (['wasm', 'cpu', 'tensorflow'] as const).map((on) => [name, on] as const),
  ),
)('%s has the logits and the gradient of torch on %s', async ([name, backend], { skip }) => {
  const reason = backend === 'tensorflow' ? await nativeTensorflow() : undefined;
  if (reason !== undefined) return skip(reason);
  const { size, logits, weights, gradient } = references[name];
  const description = { ...unit, size };
  using teacher = await loadTeacher(join(models, `${name}.pth`), { backend, description });
  expect(teacher).toMatchObject({ classes: 5, size, fingerprint: { kind: 'torch-resnet' } });
  const images = imagesOf(size);
  requireClose(await teacher.logits(images), logits);
  const { network } = teacher;
  const before = tf.memory().numTensors;
  const slopes = tf.tidy(() =>
    tf
      .grad((x) => {
        const found = network?.apply(x as tf.Tensor4D) ?? tf.zeros([2, 5]);
        return found.mul(tf.tensor2d([...weights], [2, 5])).sum();
      })(tf.tensor4d(images, [2, ...size, 3]))
      .dataSync(),
  );
  expect(tf.memory().numTensors).toBe(before);
  requireClose(
    slopes.filter((_, i) => i % 11 === 0),
    gradient,
  );
});

/** The tensors of a checkpoint as safetensors, changed. */
async function changed(
  name: string,
  change: (tensors: Map<string, StoredTensor>) => void,
): Promise<string> {
  await using file = await openTorchFile(join(models, 'resnet-basic.pth'));
  const tensors = new Map<string, StoredTensor>();
  for (const [key, tensor] of stateDictOf(file)) {
    const dtype = tensor.dtype === 'I64' ? 'I64' : 'F32';
    tensors.set(key, { dtype, shape: tensor.shape, data: await file.read(tensor) });
  }
  change(tensors);
  const path = temporary.path(`${name}.safetensors`);
  await writeTensorFile(path, tensors, {});
  return path;
}

test('a checkpoint says its batch norms; one with a large stem is taken for one of ImageNet', async () => {
  const path = join(models, 'resnet-basic.pth');
  using teacher = await loadTeacher(path, { backend: 'cpu' });
  expect(teacher).toMatchObject({
    size: [224, 224],
    normalisation: { mean: [0.485, 0.456, 0.406] },
  });
  expect(teacher.network?.taps).toEqual([
    ...['bn1', 'layer1.0.bn1', 'layer1.0.bn2', 'layer1.1.bn1', 'layer1.1.bn2'],
    ...['layer2.0.bn1', 'layer2.0.bn2', 'layer2.0.downsample.1'],
    ...['layer3.0.bn1', 'layer3.0.bn2', 'layer3.0.downsample.1'],
  ]);
  await using file = await openTorchFile(path);
  const dict = stateDictOf(file);
  const values = async (name: string) => {
    const tensor = dict.get(name);
    if (tensor === undefined) throw new Error(name);
    const bytes = await file.read(tensor);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  };
  expect(teacher.network?.stored()?.[7]).toEqual({
    mean: await values('layer2.0.downsample.1.running_mean'),
    variance: await values('layer2.0.downsample.1.running_var'),
  });
  const small = join(models, 'resnet-bottleneck.pth');
  await expect(loadTeacher(small, { backend: 'cpu', description: unit })).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: expect.stringContaining('size') },
  });
});

test('safetensors of the same names are the same network, whatever the name of the file', async () => {
  const { size, logits } = references['resnet-basic'];
  const path = await changed('same', () => undefined);
  using teacher = await loadTeacher(path, { backend: 'cpu', description: { ...unit, size } });
  requireClose(await teacher.logits(imagesOf(size)), logits);
  const folder = temporary.path('renamed');
  await mkdir(folder);
  const renamed = join(folder, 'checkpoint.pt');
  await copyFile(join(models, 'resnet-basic.pth'), renamed);
  using other = await loadTeacher(renamed, { backend: 'cpu', description: { ...unit, size } });
  requireClose(await other.logits(imagesOf(size)), logits);
});

test.for<[string, (tensors: Map<string, StoredTensor>) => void, object]>([
  [
    'a tensor too few',
    (tensors) => tensors.delete('layer1.0.bn2.bias'),
    { code: 'INVALID_FILE', field: 'layer1.0.bn2.bias', found: 'no such tensor' },
  ],
  [
    'a block that narrows without a projection',
    (tensors) => tensors.delete('layer2.0.downsample.0.weight'),
    { code: 'INVALID_FILE', field: 'layer2.0.downsample.0.weight' },
  ],
  [
    'a tensor too many',
    (tensors) => tensors.set('layer1.0.se.weight', f32([2])),
    { code: 'INVALID_FILE', field: 'layer1.0.se.weight', found: '1 more' },
  ],
  [
    'another kernel',
    (tensors) => tensors.set('layer1.0.conv1.weight', f32([4, 4, 5, 5])),
    { code: 'INVALID_FILE', expected: '[channels, 4, 3, 3]', found: '[4, 4, 5, 5]' },
  ],
  [
    'a norm of other width',
    (tensors) => tensors.set('bn1.running_var', f32([5])),
    { code: 'INVALID_FILE', field: 'bn1.running_var', expected: '[4]', found: '[5]' },
  ],
  [
    'grouped convolutions',
    (tensors) => tensors.set('layer1.0.conv1.weight', f32([4, 2, 3, 3])),
    { code: 'UNSUPPORTED', field: 'layer1.0.conv1.weight', found: 2 },
  ],
  [
    'weights that are not finite',
    (tensors) => tensors.set('bn1.bias', f32([4], Number.NaN)),
    { code: 'INVALID_FILE', field: 'bn1.bias' },
  ],
  [
    'whole numbers as weights',
    (tensors) => tensors.set('fc.bias', { dtype: 'I32', shape: [5], data: new Uint8Array(20) }),
    { code: 'INVALID_FILE', field: 'fc.bias', found: 'I32' },
  ],
])('refuses %s', async ([name, change, details]) => {
  const path = await changed(name.replaceAll(' ', '-'), change);
  const before = tf.memory().numTensors;
  const expected = { ...details } as { field?: string };
  if (expected.field !== undefined) expected.field = expect.stringContaining(expected.field);
  await expect(loadTeacher(path, { backend: 'cpu' })).rejects.toMatchObject(expected);
  expect(tf.memory().numTensors).toBe(before);
});

function f32(shape: readonly number[], value = 0.1): StoredTensor {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value);
  return { dtype: 'F32', shape, data: new Uint8Array(values.buffer) };
}
