import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test as unconditional } from 'vitest';
import type { TeacherDescription } from '#src/nn/teachers/description.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { externalFiles } from '#src/nn/teachers/onnx-locations.js';
import { temporaryDirectory } from '../temporary.js';
import { encodeOnnx, type Node, type OnnxModel, TYPES, type TypeName } from './onnx-model.js';

const onnx = await import('onnxruntime-node').then(
  () => undefined,
  (error: Error) => error.message,
);
if (onnx !== undefined) console.log(`skipped: onnxruntime-node does not load: ${onnx}`);
const test = unconditional.skipIf(onnx !== undefined);

const temporary = await temporaryDirectory();
const [HEIGHT, WIDTH, CLASSES, COUNT] = [2, 5, 4, 2];
const RAW = { preprocessing: 'raw' } as const;
/** Pixels, whole numbers, red green blue: [count, height, width, 3]. */
const pixels = Float32Array.from({ length: COUNT * HEIGHT * WIDTH * 3 }, (_, i) => (i * 37) % 256);
let folders = 0;

interface Parts {
  readonly channels?: 1 | 3;
  readonly input?: TypeName;
  readonly output?: TypeName;
  /** Shape of the output and the node that makes it of [batch, classes]. */
  readonly shape?: readonly (number | string)[];
  readonly last?: Node;
  readonly extra?: Partial<OnnxModel>;
  readonly location?: string;
}

/** Weights of the only layer, [channels x height x width, classes]: multiples of 1/1024, which half floats hold. */
function weightsOf(channels: number): Float32Array {
  const length = channels * HEIGHT * WIDTH * CLASSES;
  return Float32Array.from({ length }, (_, i) => (((i * 29) % 33) - 16) / 1024);
}

/** A network of one dense layer over images [batch, channels, height, width]. */
function denseModel({ channels = 3, input = 'float32', ...parts }: Parts): OnnxModel {
  const { output = 'float32', shape = ['batch', CLASSES], last, extra = {}, location } = parts;
  const cast = (from: string, to: string, type: TypeName): Node => ({
    ...{ type: 'Cast', inputs: [from], output: to },
    attributes: { to: TYPES[type] },
  });
  const features = channels * HEIGHT * WIDTH;
  const values = weightsOf(channels);
  const nodes = [
    cast('images', 'floats', 'float32'),
    { type: 'Flatten', inputs: ['floats'], output: 'rows' },
    { type: 'MatMul', inputs: ['rows', 'dense'], output: 'scores' },
    last ?? { type: 'Identity', inputs: ['scores'], output: 'shaped' },
    cast('shaped', 'logits', output),
  ];
  return {
    nodes: [...nodes, ...(extra.nodes ?? [])],
    weights: [
      { name: 'dense', shape: [features, CLASSES], values, ...(location ? { location } : {}) },
      ...(extra.weights ?? []),
    ],
    inputs: [{ name: 'images', type: input, shape: ['batch', channels, HEIGHT, WIDTH] }],
    outputs: [{ name: 'logits', type: output, shape }, ...(extra.outputs ?? [])],
  };
}

async function save(model: OnnxModel): Promise<string> {
  const folder = temporary.path(`model-${folders++}`);
  await mkdir(folder);
  const path = join(folder, 'model.onnx');
  await writeFile(path, encodeOnnx(model));
  return path;
}

/** The layer computed here, in float64, from pixels as the network sees them. */
function expected(channels: 1 | 3, seen = pixels): number[] {
  const weights = weightsOf(channels);
  const area = HEIGHT * WIDTH;
  const logits: number[] = [];
  for (let image = 0; image < COUNT; image++) {
    for (let c = 0; c < CLASSES; c++) {
      let sum = 0;
      for (let feature = 0; feature < channels * area; feature++) {
        const [channel, p] = [Math.floor(feature / area), feature % area];
        const at = (image * area + p) * 3;
        const [r, g, b] = seen.subarray(at, at + 3);
        const value = channels === 1 ? 0.299 * r + 0.587 * g + 0.114 * b : [r, g, b][channel];
        sum += value * weights[feature * CLASSES + c];
      }
      logits.push(sum);
    }
  }
  return logits;
}

async function logitsOf(path: string, description: TeacherDescription, images = pixels) {
  using teacher = await loadTeacher(path, { description });
  return await teacher.logits(images.slice());
}

function requireClose(found: Float32Array, wanted: readonly number[], tolerance: number): void {
  expect(found).toHaveLength(wanted.length);
  const scale = Math.max(...wanted.map(Math.abs));
  for (const [i, value] of found.entries()) {
    expect(Math.abs(value - wanted[i]) / scale).toBeLessThan(tolerance);
  }
}

describe('types', () => {
  // Half floats hold whole numbers to 2048; an output is rounded to 2^-11 of itself.
  test.each([
    ['float32', 'float32', 1e-6],
    ['float16', 'float32', 1e-6],
    ['float64', 'float32', 1e-6],
    ['uint8', 'float32', 1e-6],
    ['float32', 'float16', 2 ** -11],
    ['float32', 'float64', 1e-6],
    ['float16', 'float16', 2 ** -11],
    ['uint8', 'float64', 1e-6],
  ] as const)('%s in, %s out', async (input, output, tolerance) => {
    const path = await save(denseModel({ input, output }));
    requireClose(await logitsOf(path, RAW), expected(3), tolerance);
  });

  test('uint8 networks see pixels without being told, rounded and within their range', async () => {
    const path = await save(denseModel({ input: 'uint8' }));
    const between = pixels.map((p) => (p === 0 ? -3 : p > 250 ? 300 : p + 0.3));
    const seen = pixels.map((p) => (p > 250 ? 255 : p));
    requireClose(await logitsOf(path, {}, between), expected(3, seen), 1e-6);
    await expect(logitsOf(path, { preprocessing: 'unit' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      expected: expect.stringContaining('raw'),
    });
  });

  test('whole numbers are no logits, but may be probabilities', async () => {
    const last = { type: 'Relu', inputs: ['scores'], output: 'shaped' };
    const path = await save(denseModel({ output: 'uint8', last }));
    await expect(logitsOf(path, RAW)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const found = await logitsOf(path, { ...RAW, output: 'probabilities' });
    const wanted = expected(3).map((p) => Math.max(0, Math.trunc(p)));
    expect([...found]).toEqual(wanted.map((p) => Math.fround(Math.log(Math.max(p, 1e-30)))));
  });

  test.each(['int32', 'int64'] as const)('%s is refused', async (type) => {
    for (const parts of [{ input: type }, { output: type }]) {
      const refused = logitsOf(await save(denseModel(parts)), RAW);
      await expect(refused).rejects.toMatchObject({ code: 'UNSUPPORTED', found: type });
    }
  });
});

describe('outputs', () => {
  const reshape = (shape: readonly number[]) => ({
    last: { type: 'Reshape', inputs: ['scores', 'shape'], output: 'shaped' },
    extra: {
      weights: [
        { name: 'shape', shape: [shape.length], values: BigInt64Array.from(shape.map(BigInt)) },
      ],
    },
  });

  test.each([
    [
      ['batch', CLASSES, 1, 1],
      [-1, CLASSES, 1, 1],
    ],
    [
      ['batch', 1, 1, CLASSES],
      [-1, 1, 1, CLASSES],
    ],
    [
      ['batch', CLASSES, 'height', 'width'],
      [-1, CLASSES, 1, 1],
    ],
    [
      ['batch', CLASSES, 1],
      [-1, CLASSES, 1],
    ],
  ])('of shape %j', async (shape, wanted) => {
    const path = await save(denseModel({ shape, ...reshape(wanted) }));
    requireClose(await logitsOf(path, RAW), expected(3), 1e-6);
  });

  test('of several long axes are refused', async () => {
    const shape = ['batch', 2, 2];
    const path = await save(denseModel({ shape, ...reshape([-1, 2, 2]) }));
    await expect(logitsOf(path, RAW)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: expect.stringContaining('output'),
    });
  });

  test('are chosen by name if there are several', async () => {
    const extra = {
      nodes: [{ type: 'Neg', inputs: ['scores'], output: 'opposite' }],
      outputs: [
        { name: 'opposite', type: 'float32', shape: ['batch', CLASSES] },
        { name: 'rows', type: 'float32', shape: ['batch', 3 * HEIGHT * WIDTH] },
      ],
    } as const;
    const path = await save(denseModel({ extra }));
    requireClose(await logitsOf(path, { ...RAW, outputName: 'logits' }), expected(3), 1e-6);
    const opposite = expected(3).map((value) => -value);
    requireClose(await logitsOf(path, { ...RAW, outputName: 'opposite' }), opposite, 1e-6);
    for (const outputName of [undefined, 'other']) {
      const description = outputName === undefined ? RAW : { ...RAW, outputName };
      await expect(logitsOf(path, description)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: expect.stringContaining('outputName'),
        expected: expect.stringContaining('logits, opposite, rows'),
      });
    }
    using one = await loadTeacher(path, { description: { ...RAW, outputName: 'logits' } });
    using other = await loadTeacher(path, { description: { ...RAW, outputName: 'opposite' } });
    expect(one.fingerprint).not.toEqual(other.fingerprint);
  });

  test('may be named if there is one, but not otherwise', async () => {
    const path = await save(denseModel({}));
    requireClose(await logitsOf(path, { ...RAW, outputName: 'logits' }), expected(3), 1e-6);
    const refused = logitsOf(path, { ...RAW, outputName: 'scores' });
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', found: 'scores' });
  });
});

describe('one channel', () => {
  const path = () => save(denseModel({ channels: 1 }));

  test('of brightness', async () => {
    requireClose(await logitsOf(await path(), RAW), expected(1), 1e-6);
    requireClose(await logitsOf(await path(), { ...GREY, channels: 'grey' }), expected(1), 1e-6);
  });

  test('with one mean and deviation', async () => {
    using teacher = await loadTeacher(await path(), { description: { mean: [0.1], std: [0.3] } });
    expect(teacher.normalisation).toEqual({ mean: [0.1, 0.1, 0.1], std: [0.3, 0.3, 0.3] });
  });

  const GREY = { mean: [0], std: [1 / 255] } as const;
  test.each<[TeacherDescription, string]>([
    [{ preprocessing: 'torch' }, 'mean'],
    [{ mean: [0], std: [1, 2, 3] }, 'std'],
    [{ ...GREY, channels: 'bgr' }, 'channels'],
  ])('is refused with %j', async (description, field) => {
    await expect(logitsOf(await path(), description)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: expect.stringContaining(field),
    });
  });

  test('is not what a network of three takes', async () => {
    const three = await save(denseModel({}));
    const refused = logitsOf(three, { ...GREY, channels: 'grey' });
    await expect(refused).rejects.toMatchObject({ field: expect.stringContaining('channels') });
  });
});

describe('weights in other files', () => {
  async function saveWith(location: string, values = weightsOf(3)): Promise<string> {
    const path = await save(denseModel({ location }));
    const bytes = new Uint8Array(values.buffer);
    await writeFile(join(path, '..', 'other-name.bin'), bytes);
    return path;
  }

  test('are part of the fingerprint, whatever their name', async () => {
    const [one, same] = [await saveWith('other-name.bin'), await saveWith('other-name.bin')];
    const other = await saveWith(
      'other-name.bin',
      weightsOf(3).map((value) => -value),
    );
    expect(await externalFiles(one)).toEqual(['other-name.bin']);
    const prints = await Promise.all(
      [one, same, other].map(async (path) => {
        using teacher = await loadTeacher(path, { description: RAW });
        return teacher.fingerprint.sha256;
      }),
    );
    expect(prints[1]).toBe(prints[0]);
    expect(prints[2]).not.toBe(prints[0]);
    requireClose(await logitsOf(one, RAW), expected(3), 1e-6);
  });

  test.each([
    './other-name.bin',
    'weights/../other-name.bin',
    'weights/deep/w.bin',
    './weights//w.bin',
  ])('are found by whatever path the model names them: %s', async (location) => {
    const path = await saveWith(location);
    const file = join(path, '..', location);
    await mkdir(dirname(file), { recursive: true });
    await mkdir(join(path, '..', 'weights'), { recursive: true });
    await writeFile(file, new Uint8Array(weightsOf(3).buffer));
    requireClose(await logitsOf(path, RAW), expected(3), 1e-6);
  });

  test.each([0, 1, 4, 100, 3 * HEIGHT * WIDTH * CLASSES * 4 - 1])(
    'cut after %i bytes are a typed error',
    async (length) => {
      const path = await saveWith('other-name.bin');
      const cut = new Uint8Array(weightsOf(3).buffer).subarray(0, length);
      await writeFile(join(path, '..', 'other-name.bin'), cut);
      await expect(logitsOf(path, RAW)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    },
  );

  test('outside of the folder, or missing, are refused', async () => {
    await temporary.file('secret.bin', 'secret');
    for (const location of ['../secret.bin', '/etc/hostname', 'a/../../secret.bin']) {
      const refused = logitsOf(await saveWith(location), RAW);
      await expect(refused).rejects.toMatchObject({ code: 'INVALID_FILE', found: location });
    }
    const missing = logitsOf(await saveWith('missing.bin'), RAW);
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('of files cut anywhere are looked for without an untyped error', async () => {
    const bytes = encodeOnnx(denseModel({ location: 'other-name.bin' }));
    for (let length = 0; length < bytes.length; length++) {
      const path = await temporary.file('cut.onnx', bytes.subarray(0, length));
      const found = await externalFiles(path).catch((error: { code: string }) => error.code);
      expect(['INVALID_FILE', [], ['other-name.bin']]).toContainEqual(found);
    }
  });
});
