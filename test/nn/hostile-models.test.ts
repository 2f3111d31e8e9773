import { execFileSync } from 'node:child_process';
import { cp, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { predict } from '#src/nn/network.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { loadConvNet, saveConvNet } from '#src/nn/weights.js';
import { temporaryDirectory } from '../temporary.js';

const models = fileURLToPath(new URL('./models/', import.meta.url));
const temporary = await temporaryDirectory();
const description = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
const SHARD = 'group1-shard1of1.bin';
let copies = 0;

type Json = Record<string, unknown>;
interface Weight {
  shape: number[];
  dtype: string;
  quantization?: unknown;
}
interface Model {
  weightsManifest: { paths: string[]; weights: Weight[] }[];
  modelTopology: { model_config: { config: { layers: { class_name: string; config: Json }[] } } };
}

beforeAll(() => selectBackend({ backend: 'cpu' }));

/** A copy of a model of TensorFlow.js whose JSON was changed; its folder. */
async function changed(name: string, change: (model: Model) => void): Promise<string> {
  const folder = temporary.path(`copy-${copies++}`);
  await cp(join(models, name), folder, { recursive: true });
  const path = join(folder, 'model.json');
  const model = JSON.parse(await readFile(path, 'utf8'));
  change(model);
  await writeFile(path, JSON.stringify(model));
  return folder;
}

function load(path: string) {
  return loadTeacher(path, { backend: path.endsWith('.onnx') ? 'auto' : 'cpu', description });
}

describe('weight files', () => {
  test.each([
    '../secret.bin',
    '/etc/hostname',
    '\n/../../secret.bin',
    'a/../../secret.bin',
    `a\n/${SHARD}`,
    '..\\secret.bin',
    '.',
    '',
    `${SHARD}\0`,
    7,
  ])('outside of the folder or with names of control characters are refused: %j', async (path) => {
    await temporary.file('secret.bin', 'secret');
    for (const name of ['layers-model', 'graph-model']) {
      const folder = await changed(name, ({ weightsManifest: [group] }) => {
        group.paths = [path as string];
      });
      await expect(load(folder)).rejects.toMatchObject({
        code: 'INVALID_FILE',
        field: expect.stringContaining('weightsManifest[0].paths'),
      });
    }
  });

  test('in a folder below are read', async () => {
    const folder = await changed('layers-model', ({ weightsManifest: [group] }) => {
      group.paths = [`a..b/../c/${SHARD}`];
    });
    await mkdir(join(folder, 'c'));
    await cp(join(folder, SHARD), join(folder, 'c', SHARD));
    using teacher = await load(folder);
    expect(teacher.classes).toBe(5);
  });

  test('that are sparse and of terabytes are refused before they are read', async () => {
    const folder = await changed('layers-model', () => undefined);
    await truncate(join(folder, SHARD), 2 ** 40);
    const wrong = { code: 'INVALID_FILE', found: 2 ** 40 };
    await expect(load(folder)).rejects.toMatchObject(wrong);
  });

  test('that are FIFOs are refused', async () => {
    const folder = await changed('layers-model', ({ weightsManifest: [group] }) => {
      group.paths = ['fifo'];
    });
    execFileSync('mkfifo', [join(folder, 'fifo'), join(folder, 'fifo.onnx')]);
    await expect(load(folder)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await expect(load(join(folder, 'fifo.onnx'))).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });

  test.each<[string, Partial<Weight>]>([
    ['strings of shape [2^33]', { shape: [2 ** 33], dtype: 'string' }],
    ['strings of shape [2^33, 2^33]', { shape: [2 ** 33, 2 ** 33], dtype: 'string' }],
    ['float32 of shape [2^50]', { shape: [2 ** 50] }],
    ['shapes whose product is not a number', { shape: [...Array(30).fill(2 ** 52), 0] }],
    ['an unknown type', { dtype: 'float8' }],
    ['an unknown quantisation', { quantization: { dtype: 'uint4' } }],
    ['quantisation null', { quantization: null }],
  ])('that cannot hold %s', async (_, weight) => {
    for (const name of ['layers-model', 'graph-model']) {
      const folder = await changed(name, ({ weightsManifest: [{ weights }] }) => {
        Object.assign(weights[0], weight);
      });
      await expect(load(folder)).rejects.toMatchObject({
        code: 'INVALID_FILE',
        field: expect.stringContaining('weightsManifest'),
      });
    }
  });
});

test.each([
  ['inputs', 'nowhere:0'],
  ['outputs', 'nowhere:0'],
  ['outputs', 'constructor'],
])('%s of a graph that are not among its nodes: %s', async (side, name) => {
  const folder = await changed('graph-model', (model) => {
    const { signature } = model as unknown as { signature: Record<string, Record<string, Json>> };
    for (const end of Object.values(signature[side])) end.name = name;
  });
  await expect(load(folder)).rejects.toMatchObject({
    name: 'SoftpackError',
    field: expect.stringContaining('model.json'),
  });
});

test.each([2 ** 16, 1e9, 2 ** 40])(
  'a layer of %d units with the weights of five',
  async (units) => {
    const folder = await changed('layers-model', ({ modelTopology }) => {
      const dense = modelTopology.model_config.config.layers.find(
        ({ class_name }) => class_name === 'Dense',
      );
      Object.assign(dense?.config ?? {}, { units });
    });
    await expect(load(folder)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('modelTopology'),
    });
    // The limit ends with the model: others are built as before.
    using other = await load(join(models, 'layers-model'));
    expect(other.classes).toBe(5);
  },
);

describe('a network of this library', () => {
  const config = { inputSize: 8, widths: [4], blocks: [1], classes: 5 };

  /** A saved network whose configuration was replaced by text of the same length, padded with blanks. */
  async function withConfig(other: object): Promise<string> {
    using network = ConvNet.create(config, 1);
    const path = temporary.path(`net-${copies++}.safetensors`);
    const long = { ...config, widths: [4] };
    const metadata = { normalisation: JSON.stringify(description), note: ' '.repeat(2000) };
    await saveConvNet(network, path, metadata);
    const bytes = await readFile(path, 'latin1');
    const quoted = (value: object) => JSON.stringify(JSON.stringify(value)).slice(1, -1);
    const [from, to] = [quoted(long), quoted(other)];
    const room = ' '.repeat(2000).length - (to.length - from.length);
    const text = bytes.replace(from, to).replace(' '.repeat(2000), ' '.repeat(room));
    expect(text.length).toBe(bytes.length);
    await writeFile(path, text, 'latin1');
    return path;
  }

  test.each([
    ['1e9 blocks', { blocks: [1e9] }],
    ['more blocks in all than tensors', { widths: Array(12).fill(4), blocks: Array(12).fill(1) }],
    ['1000 stages', { widths: Array(300).fill(4), blocks: Array(300).fill(0) }],
    ['a width of 1e15', { widths: [1e15] }],
    ['blocks that are no numbers', { blocks: ['1'] }],
    ['negative blocks', { blocks: [-1] }],
    ['1e15 classes', { classes: 1e15 }],
  ])('with %s in its file is refused', async (_, other) => {
    const path = await withConfig({ ...config, ...other });
    await expect(loadConvNet(path)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });

  test('is loaded unchanged otherwise', async () => {
    const { model } = await loadConvNet(await withConfig(config));
    expect(model.config).toEqual(config);
    model.dispose();
  });

  test('cannot be created larger than memory', () => {
    const create = (other: object) => () => ConvNet.create({ ...config, ...other }, 1);
    expect(create({ blocks: [1e9] })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    expect(create({ widths: [1e9] })).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
    expect(create({ classes: 2 ** 52 })).toThrow(
      expect.objectContaining({ code: 'OUT_OF_MEMORY' }),
    );
  });

  test('takes whole images only', async () => {
    using network = ConvNet.create(config, 1);
    const part = new Float32Array(100);
    await expect(predict(network, part)).rejects.toMatchObject({ field: 'images', found: 100 });
    expect(await predict(network, new Float32Array(0))).toHaveLength(0);
  });
});
