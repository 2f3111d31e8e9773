import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import type { TeacherDescription } from '#src/nn/teachers/description.js';
import { type LoadTeacherOptions, loadTeacher } from '#src/nn/teachers/load.js';
import { temporaryDirectory } from '../temporary.js';
import { nativeTensorflow } from './native.js';

/** Files of TensorFlow, its converter and the onnx package; made by make-models.py, which says what is in them. */
const models = fileURLToPath(new URL('./models/', import.meta.url));
const MODELS = [
  ['tfjs-layers', 'layers-model', 'keras', 'wasm'],
  ['tfjs-layers', 'layers-model', 'keras', 'cpu'],
  ['tfjs-graph', 'graph-model', 'keras', 'wasm'],
  ['tfjs-graph', 'graph-model/model.json', 'keras', 'cpu'],
  ['saved-model', 'saved-model', 'keras', 'tensorflow'],
  ['onnx', 'onnx-nchw/model.onnx', 'onnx-nchw', 'auto'],
  ['onnx', 'onnx-nhwc/model.onnx', 'onnx-nhwc', 'auto'],
] as const;
const [CLASSES, COUNT] = [5, 3];
const PIXELS = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;

const temporary = await temporaryDirectory();
const tensorflow = await nativeTensorflow();
const onnx = await import('onnxruntime-node').then(
  () => undefined,
  (error: Error) => error.message,
);

/** Why a kind of model cannot run here, if it cannot. */
function lacking(kind: string): string | undefined {
  if (kind === 'onnx' && onnx !== undefined) return `onnxruntime-node does not load: ${onnx}`;
  return kind === 'saved-model' ? tensorflow : undefined;
}

interface Reference {
  readonly images: number[][];
  readonly logits: Record<string, number[][]>;
}

let images: Float32Array;
let reference: Reference;

beforeAll(async () => {
  reference = JSON.parse(await readFile(join(models, 'reference.json'), 'utf8'));
  images = Float32Array.from(reference.images.flat());
});

describe.each(MODELS)('%s %s', (kind, path, tool, backend) => {
  const reason = lacking(kind);
  const file = join(models, path);
  const options: LoadTeacherOptions = { backend, description: PIXELS };

  test(`gives the logits of ${tool} on ${backend}`, async (context) => {
    if (reason !== undefined) return context.skip(reason);
    using teacher = await loadTeacher(file, options);
    expect(teacher).toMatchObject({ classes: CLASSES, size: [8, 8], normalisation: PIXELS });
    const found = await teacher.logits(images.slice());
    requireClose(found, reference.logits[tool].flat());
    // One image of a larger array, as the labelling's last batch is.
    requireClose(await teacher.logits(images.slice(-192)), reference.logits[tool].at(-1) ?? []);
    expect(await teacher.logits(new Float32Array(0))).toHaveLength(0);
  });

  test('its fingerprint follows files and preprocessing', async (context) => {
    if (reason !== undefined) return context.skip(reason);
    using first = await loadTeacher(file, options);
    using again = await loadTeacher(file, options);
    const other = { ...PIXELS, mean: [0, 0, 0] } as const;
    using darker = await loadTeacher(file, { backend, description: other });
    expect(first.fingerprint).toEqual(again.fingerprint);
    expect(first.fingerprint).toMatchObject({ kind, preprocessing: PIXELS });
    expect(String(first.fingerprint.sha256)).toMatch(/^[0-9a-f]{64}$/);
    expect(darker.fingerprint).not.toEqual(first.fingerprint);
    expect(darker.fingerprint.sha256).toBe(first.fingerprint.sha256);
  });

  test.for<[string, TeacherDescription, string[]]>([
    ['no mean', { std: [1, 1, 1] }, ['mean', 'teacher.json', 'nothing']],
    ['another size', { ...PIXELS, size: [8, 16] }, ['size (width)', 'expected 8', 'found 16']],
    ['other classes', { ...PIXELS, classes: 6 }, ['classes', 'expected 5', 'found 6']],
    ['too few names', { ...PIXELS, classNames: ['a'] }, ['classNames', '5 names', 'found 1']],
    [
      'another layout',
      { ...PIXELS, layout: path.includes('nchw') ? 'nhwc' : 'nchw' },
      ['layout', '8'],
    ],
    ['a deviation of 0', { ...PIXELS, std: [1, 0, 1] }, ['std', '[1,0,1]']],
    ['an unknown field', { ...PIXELS, scale: 2 } as TeacherDescription, ['scale', 'mean, std']],
  ])('refuses a description with %s', async ([_, description, words], context) => {
    if (reason !== undefined) return context.skip(reason);
    const error = await failure(loadTeacher(file, { backend, description }));
    expect(error.code).toBe('INVALID_ARGUMENT');
    for (const word of words) expect(error.message).toContain(word);
  });

  test('refuses part of an image', async (context) => {
    if (reason !== undefined) return context.skip(reason);
    using teacher = await loadTeacher(file, options);
    const error = await failure(teacher.logits(images.subarray(1)));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'images' });
  });
});

test('a changed weight changes the fingerprint', async () => {
  const folder = await copyOf('layers-model');
  using before = await loadTeacher(folder, { backend: 'cpu', description: PIXELS });
  const path = join(folder, 'group1-shard1of1.bin');
  const weights = await readFile(path);
  weights[0] ^= 1;
  await writeFile(path, weights);
  using after = await loadTeacher(folder, { backend: 'cpu', description: PIXELS });
  expect(after.fingerprint.sha256).not.toBe(before.fingerprint.sha256);
});

describe('teacher.json', () => {
  test('describes the model beside it, and options go before it', async () => {
    const folder = await copyOf('layers-model');
    const classNames = ['ant', 'bee', 'cat', 'dog', 'elk'];
    await writeFile(join(folder, 'teacher.json'), JSON.stringify({ ...PIXELS, classNames }));
    using teacher = await loadTeacher(folder, { backend: 'cpu' });
    expect(teacher).toMatchObject({ classNames, normalisation: PIXELS });
    const mean = [0, 0, 0] as const;
    using other = await loadTeacher(folder, { backend: 'cpu', description: { mean } });
    expect(other.normalisation).toEqual({ mean, std: PIXELS.std });
  });

  test.each([
    ['{"mean": [1, 2]}', 'mean'],
    ['{"colour": 1}', 'colour'],
    ['[1]', 'not an object'],
    ['{', 'not JSON'],
  ])('that is wrong is named: %s', async (text, word) => {
    const folder = await copyOf('layers-model');
    await writeFile(join(folder, 'teacher.json'), text);
    const error = await failure(loadTeacher(folder, { backend: 'cpu' }));
    expect(error.code).toBe('INVALID_FILE');
    expect(error.message).toContain('teacher.json');
    expect(error.message).toContain(word);
  });
});

describe('inputs', () => {
  test.for([
    ['onnx-nchw', 'onnx-nchw/model.onnx'],
    ['onnx-nhwc', 'onnx-nhwc/model.onnx'],
    ['keras', 'layers-model'],
  ])('blue first, where the network wants that: %s', async ([tool, path], context) => {
    if (path.endsWith('.onnx') && onnx !== undefined) return context.skip(onnx);
    const description = { ...PIXELS, channels: 'bgr' } as const;
    using teacher = await loadTeacher(join(models, path), { description });
    const swapped = images.map((_, i) => images[i - (i % 3) + 2 - (i % 3)]);
    requireClose(await teacher.logits(swapped), reference.logits[tool].flat());
    expect(teacher.fingerprint.preprocessing).toMatchObject({ channels: 'bgr' });
  });

  test('a few at a time, where their number is fixed', async (context) => {
    if (onnx !== undefined) return context.skip(onnx);
    const bytes = await readFile(join(models, 'onnx-nchw/model.onnx'));
    // Both ends' first axis: the name "batch" becomes the number 2, in as many bytes (a varint may be padded).
    const [named, fixed] = ['\x12\x05batch', '\x08\x82\x80\x80\x80\x80\x00'];
    const patched = Buffer.from(bytes.toString('latin1').replaceAll(named, fixed), 'latin1');
    expect(patched.equals(bytes)).toBe(false);
    const path = await temporary.file('two.onnx', patched);
    using teacher = await loadTeacher(path, { description: PIXELS });
    requireClose(await teacher.logits(images.slice()), reference.logits['onnx-nchw'].flat());
    requireClose(await teacher.logits(images.slice(-192)), reference.logits['onnx-nchw'][2]);
  });

  test.each([
    ['torch', [0, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]],
    ['tf', [1, 1, 1], [1, 1, 1]],
    ['caffe', [255, 255, 255], [255 - 123.68, 255 - 116.779, 255 - 103.939]],
    ['unit', [0.25, 0.5, 1], [0.25, 0.5, 1]],
    ['raw', [0.2, 0.4, 1], [51, 102, 255]],
  ] as const)('preprocessed as Keras does by the name %s', async (preprocessing, pixel, wanted) => {
    const path = join(models, 'layers-model');
    const description = { preprocessing };
    using teacher = await loadTeacher(path, { backend: 'cpu', description });
    const { mean, std } = teacher.normalisation;
    const scale = preprocessing === 'caffe' ? 1 / 255 : 1;
    for (const [i, value] of pixel.entries()) {
      expect((value * scale - mean[i]) / std[i]).toBeCloseTo(wanted[i], 4);
    }
    const both = loadTeacher(path, { backend: 'cpu', description: { ...description, ...PIXELS } });
    const error = await failure(both);
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain('mean');
  });
});

describe('outputs', () => {
  test('probabilities are refused as logits, and taken as probabilities', async () => {
    const folder = await copyOf('layers-model');
    const path = join(folder, 'model.json');
    const json = await readFile(path, 'utf8');
    // The dense layer's activation comes last.
    const at = json.lastIndexOf('"activation": "linear"');
    const softmax = `${json.slice(0, at)}"activation": "softmax"${json.slice(at + 22)}`;
    await writeFile(path, softmax);
    using wrong = await loadTeacher(folder, { backend: 'cpu', description: PIXELS });
    const error = await failure(wrong.logits(images.slice()));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain('"output": "probabilities"');
    const description = { ...PIXELS, output: 'probabilities' } as const;
    using right = await loadTeacher(folder, { backend: 'cpu', description });
    const found = await right.logits(images.slice());
    const wanted = reference.logits.keras.flatMap((row) => {
      const sum = row.reduce((total, z) => total + Math.exp(z), 0);
      return row.map((z) => z - Math.log(sum));
    });
    requireClose(found, wanted);
  });
});

describe('bad models', () => {
  test.each([
    ['nothing', 'none.onnx', 'NOT_FOUND'],
    ['an empty folder', 'empty', 'INVALID_FILE'],
    ['another file', 'notes.txt', 'INVALID_FILE'],
    ['weights cut short', 'short/model.json', 'INVALID_FILE'],
    ['weights that are missing', 'weightless', 'NOT_FOUND'],
    ['weights outside of the folder', 'escaping', 'INVALID_FILE'],
    ['another JSON', 'other/model.json', 'INVALID_FILE'],
  ])('%s', async (_, name, code) => {
    await mkdir(temporary.path('empty'), { recursive: true });
    await temporary.file('notes.txt', 'notes');
    await edit('short', async (folder) => {
      const path = join(folder, 'group1-shard1of1.bin');
      await writeFile(path, (await readFile(path)).subarray(4));
    });
    await edit('weightless', (folder) => replace(folder, 'group1-shard1of1.bin', 'gone.bin'));
    await edit('escaping', (folder) => replace(folder, 'group1-', '../short/group1-'));
    await edit('other', (folder) => writeFile(join(folder, 'model.json'), '{"a": 1}'));
    const path = temporary.path(name);
    const error = await failure(loadTeacher(path, { backend: 'auto', description: PIXELS }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(name.includes('/') ? dirname(path) : name.split('.')[0]);
  });

  test('bytes that are not ONNX', async (context) => {
    if (onnx !== undefined) return context.skip(onnx);
    const path = await temporary.file('text.onnx', 'not a graph');
    expect(await failure(loadTeacher(path))).toMatchObject({ code: 'INVALID_FILE' });
  });

  test('a backend that cannot run them', async () => {
    const path = join(models, 'onnx-nchw', 'model.onnx');
    const error = await failure(loadTeacher(path, { backend: 'wasm', description: PIXELS }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'backend', found: 'wasm' });
  });

  test('a SavedModel without native TensorFlow says what to type', async () => {
    const { SOFTPACK_TENSORFLOW_DIR: own } = process.env;
    process.env.SOFTPACK_TENSORFLOW_DIR = temporary.path('nowhere');
    try {
      const path = join(models, 'saved-model');
      const error = await failure(loadTeacher(path, { description: PIXELS }));
      expect(error.code).toBe('BACKEND_UNAVAILABLE');
      expect(error.message).toContain('softpack tensorflow install');
    } finally {
      if (own === undefined) delete process.env.SOFTPACK_TENSORFLOW_DIR;
      else process.env.SOFTPACK_TENSORFLOW_DIR = own;
    }
  });

  test.each([
    ['model.keras', 'model.export'],
    ['model.h5', 'model.export'],
    ['model.pt', 'torch.onnx.export'],
  ])('%s says how to get one that runs', async (name, words) => {
    const error = await failure(loadTeacher(await temporary.file(name, '')));
    expect(error.code).toBe('INVALID_FILE');
    expect(error.message).toContain(words);
  });

  async function edit(name: string, change: (folder: string) => Promise<void>): Promise<void> {
    const folder = temporary.path(name);
    await cp(join(models, 'layers-model'), folder, { recursive: true });
    await change(folder);
  }

  async function replace(folder: string, from: string, to: string): Promise<void> {
    const path = join(folder, 'model.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace(from, to));
  }
});

let copies = 0;

async function copyOf(name: string): Promise<string> {
  const folder = temporary.path(`copy-${copies++}`);
  await cp(join(models, name), folder, { recursive: true });
  return folder;
}

async function failure(promise: Promise<unknown>): Promise<Error & { code: string }> {
  return promise.then(
    () => expect.unreachable('should have failed'),
    (error) => error,
  );
}

function requireClose(found: Float32Array, wanted: readonly number[]): void {
  expect(found).toHaveLength(wanted.length);
  expect(found.length % CLASSES).toBe(0);
  expect(found.length).toBeLessThanOrEqual(COUNT * CLASSES);
  // Values are about 1; float32 sums of 27 products in another order differ by a few units of 6e-8.
  for (const [i, value] of found.entries()) expect(Math.abs(value - wanted[i])).toBeLessThan(3e-6);
}
