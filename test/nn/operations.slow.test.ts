import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Lender } from '#src/codecs/codec.js';
import { isSoftpackError } from '#src/errors.js';
import { loadKernels } from '#src/kernels/load.js';
import type { DecoderSpec, LentCall } from '#src/kernels/types.js';
import { createLoader } from '#src/loader/loader.js';
import type { LoaderOptions } from '#src/loader/options.js';
import {
  decodeLabels,
  decodeLabelsKl,
  labelOperations,
  requireLabelOperations,
} from '#src/nn/backend/operations.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { kdLoss } from '#src/training/loss.js';
import { PackedLoss } from '#src/training/packed-loss.js';
import {
  bytesOf,
  packedCodes,
  randomFloats,
  randomStream,
  reference,
  segmentSpec,
} from '../kernels/support.js';
import * as fixture from '../loader/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { nativeOperations } from './native.js';

const lacking = await nativeOperations({ install: true });
const temporary = await temporaryDirectory();
const cpu = loadKernels({ backend: 'cpu' });

/** VQAE's decoder. */
function specOf(random: () => number, sizes: Parameters<typeof segmentSpec>[1]): DecoderSpec {
  return { ...segmentSpec(random, sizes), head: { kind: 'clamp', eps: 0.01 } };
}

/** `lend` of a new decoder, with codes in place of rows. */
function lenderOf(spec: DecoderSpec) {
  const decoder = cpu.createDecoder(spec);
  const native = decoder.lend?.bind(decoder) ?? expect.unreachable();
  const lend: Lender = ({ row, ...args }, run) => native({ codes: row, ...args }, run);
  return { decoder, lend };
}

/** To the bit. */
function expectEqual(tensor: tf.Tensor, values: Float32Array): void {
  expect(Buffer.compare(bytesOf(tensor.dataSync()), bytesOf(values))).toBe(0);
}

/** Members of tfjs-node's backend. */
interface Executing {
  executeMultipleOutputs(
    name: string,
    attributes: never[],
    inputs: tf.Tensor[],
    outputs: number,
  ): tf.Tensor[];
}

const execute = (name: string, inputs: tf.Tensor[], outputs: number) =>
  (tf.backend() as unknown as Executing).executeMultipleOutputs(name, [], inputs, outputs);

/** The error of a call, a SoftpackError. */
function failure(call: () => unknown) {
  try {
    call();
  } catch (error) {
    if (isSoftpackError(error)) return error;
    throw error;
  }
  return expect.unreachable();
}

let before = 0;
beforeAll(async () => {
  if (lacking === undefined) await selectBackend({ backend: 'tensorflow' });
});
beforeEach((context) => {
  context.skip(lacking !== undefined, lacking);
  expect(labelOperations()).toMatchObject({ state: 'ready' });
  before = tf.memory().numTensors;
});

describe('labels in the memory of TensorFlow', () => {
  it.each([
    ['one class', { classes: 1, stages: 1, width: 1, levels: 2 }, 3],
    ['no label', { classes: 9, stages: 2, width: 3, levels: 4 }, 0],
    ['one label', { classes: 9, stages: 2, width: 3, levels: 4 }, 1],
    ['codes that end inside bytes', { classes: 37, stages: 5, width: 3, levels: 7 }, 29],
    ['a thousand classes', { classes: 1000, stages: 10, width: 2, levels: 512 }, 130],
  ] as const)('are those of the kernel to the bit: %s', (_, sizes, count) => {
    const random = randomStream(5);
    const spec = specOf(random, sizes);
    const row = packedCodes(spec, 200, random);
    const { decoder, lend } = lenderOf(spec);
    const list = Uint32Array.from({ length: count }, () => Math.floor(random() * 200));
    for (const labels of [list, { start: 3, count }]) {
      const out = new Float32Array(count * sizes.classes);
      decoder.decode({ codes: row, labels, out });
      const tensor = decodeLabels(lend, { row, labels });
      expect(tensor.shape).toEqual([count, sizes.classes]);
      expectEqual(tensor, out);
      tensor.dispose();

      const logits = randomFloats(random, out.length);
      const losses = new Float32Array(count);
      const gradient = new Float32Array(out.length);
      const scaled = { tau: 3, scale: 0.25, threads: 2 };
      decoder.decodeKl({ codes: row, labels, logits, losses, gradient, ...scaled });
      const z = tf.tensor2d(logits, [count, sizes.classes]);
      const found = decodeLabelsKl(lend, { row, labels, ...scaled }, z);
      expectEqual(found.losses, losses);
      expectEqual(found.gradient, gradient);
      tf.dispose([z, found.losses, found.gradient]);
    }
    decoder.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('are near those in float64, by two decoders at once, one inside the other', () => {
    const random = randomStream(6);
    const specs = [3, 4].map((stages) =>
      specOf(random, { classes: 11, stages, width: 2, levels: 8 }),
    );
    const [outer, inner] = specs.map((spec) => ({
      spec,
      row: packedCodes(spec, 20, random),
      ...lenderOf(spec),
    }));
    const labels = { start: 0, count: 20 };
    let second: tf.Tensor | undefined;
    const first = outer.lend({ row: outer.row, labels }, (call) => {
      second = decodeLabels(inner.lend, { row: inner.row, labels });
      const number = tf.scalar(call, 'int32');
      const [decoded] = execute('SoftpackDecode', [number], 1);
      number.dispose();
      return decoded;
    });
    for (const [{ spec, row }, tensor] of [
      [outer, first],
      [inner, second ?? expect.unreachable()],
    ] as const) {
      const expected = new Float32Array(20 * 11);
      using other = reference.createDecoder(spec);
      other.decode({ codes: row, labels, out: expected });
      const values = tensor.dataSync();
      for (const [i, value] of expected.entries()) expect(values[i]).toBeCloseTo(value, 5);
      tensor.dispose();
    }
    outer.decoder.dispose();
    inner.decoder.dispose();
  });
});

describe('what goes wrong', () => {
  const random = randomStream(7);
  const spec = specOf(random, { classes: 6, stages: 3, width: 2, levels: 5 });
  const row = packedCodes(spec, 8, random);
  const labels = { start: 0, count: 8 };

  it('in the codes is the error of the kernel, which names the label', () => {
    const { decoder, lend } = lenderOf(spec);
    const wrong = row.map(() => 0xff);
    const out = new Float32Array(8 * 6);
    const expected = failure(() => decoder.decode({ codes: wrong, labels, out }));
    const found = failure(() => decodeLabels(lend, { row: wrong, labels }));
    expect(found).toMatchObject({ code: 'INVALID_ARGUMENT', field: expected.field });
    expect(found.message).toBe(expected.message);
    decoder.dispose();
    expect(failure(() => decodeLabels(lend, { row, labels }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'decoder',
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  it('in the arguments is an error before anything is done', () => {
    const { decoder, lend } = lenderOf(spec);
    const call = (change: Partial<LentCall> & { row?: Uint8Array }) =>
      failure(() => decodeLabels(lend, { row, labels, ...change }));
    expect(call({ row: row.subarray(0, 2) })).toMatchObject({ field: 'codes' });
    expect(call({ labels: { start: 7, count: 2 } })).toMatchObject({ field: 'codes' });
    expect(call({ tau: 0 })).toMatchObject({ field: 'tau' });
    expect(call({ scale: Number.NaN })).toMatchObject({ field: 'scale' });
    decoder.dispose();
  });

  it('in the tensors is an error of TensorFlow', () => {
    const { decoder, lend } = lenderOf(spec);
    for (const logits of [tf.ones([8, 7]), tf.ones([7, 6]), tf.ones([48]), tf.ones([8, 6, 1])]) {
      const error = failure(() => decodeLabelsKl(lend, { row, labels }, logits));
      expect(error).toMatchObject({ code: 'NATIVE_FAILED' });
      expect(error.message).toContain('logits: expected [labels, classes]');
      logits.dispose();
    }
    const integers = tf.ones([8, 6], 'int32');
    expect(failure(() => decodeLabelsKl(lend, { row, labels }, integers)).message).toContain(
      'expected to be a float tensor',
    );
    integers.dispose();
    for (const [inputs, words] of [
      [[tf.scalar(0, 'int32')], 'not the number of a call'],
      [[tf.scalar(-1, 'int32')], 'not the number of a call'],
      [[tf.tensor1d([], 'int32')], 'expected one number'],
      [[tf.tensor1d([1, 2], 'int32')], 'expected one number'],
      [[tf.scalar(1)], 'int32'],
      [[], 'expected 1 inputs'],
    ] as const) {
      expect(() => execute('SoftpackDecode', [...inputs], 1)).toThrow(words);
      tf.dispose([...inputs]);
    }
    // A call is nobody's once it was withdrawn.
    let late: tf.Tensor | undefined;
    lend({ row, labels }, (number) => {
      late = tf.scalar(number, 'int32');
    });
    expect(() => execute('SoftpackDecode', [late ?? expect.unreachable()], 1)).toThrow('call');
    late?.dispose();
    // Nothing of this does harm.
    decodeLabels(lend, { row, labels }).dispose();
    decoder.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('with the backend is said, and what to type', async () => {
    await selectBackend({ backend: 'cpu' });
    try {
      expect(failure(() => requireLabelOperations('device'))).toMatchObject({
        code: 'BACKEND_UNAVAILABLE',
        field: 'device',
        found: 'backend cpu',
      });
    } finally {
      await selectBackend({ backend: 'tensorflow' });
    }
  });
});

describe('a student', async () => {
  const archive = await fixture.writeArchive(temporary.path('vqae'), await fixture.trainCodec());
  const { tau } = archive.manifest;
  afterAll(() => archive.close());
  const { images, normalisation } = fixture;
  const options = (change: Partial<LoaderOptions> = {}): LoaderOptions => {
    return { archive, images, normalisation, batchSize: 8, seed: 3, workers: 0, ...change };
  };
  const distillation = (y: tf.Tensor, z: tf.Tensor) =>
    kdLoss(z as tf.Tensor2D, y as tf.Tensor2D, tau);

  function network(): tf.Sequential {
    const kernelInitializer = tf.initializers.glorotUniform({ seed: 7 });
    return tf.sequential({
      layers: [
        tf.layers.flatten({ inputShape: [6, 5, 3] }),
        tf.layers.dense({ units: 16, activation: 'relu', kernelInitializer }),
        tf.layers.dense({ units: fixture.CLASSES, kernelInitializer }),
      ],
    });
  }

  async function fitted(change: Partial<LoaderOptions>, device: boolean): Promise<number[]> {
    const model = network();
    model.compile({ optimizer: tf.train.momentum(0.3, 0.9), loss: distillation });
    await using loader = createLoader(options(change));
    const dataset = loader.asTfDataset(tf, { mode: 'repeat', device });
    const { history } = await model.fitDataset(dataset, { epochs: 4, verbose: 0 });
    model.dispose();
    return history.loss as number[];
  }

  it('has the same losses on a data set of labels and on one of codes', async () => {
    const expected = await fitted({}, false);
    expect(expected[3]).toBeLessThan(expected[0]);
    expect(await fitted({ labels: 'codes' }, true)).toEqual(expected);
  });

  /** The losses of training straight from codes. */
  async function packed(device: boolean): Promise<number[]> {
    const model = network();
    const optimizer = tf.train.momentum(0.1, 0.9);
    using loss = new PackedLoss({ codec: archive.codecParts, device });
    await using loader = createLoader(options({ labels: 'codes' }));
    const losses: number[] = [];
    let tensors = 0;
    for await (const { xs, xsShape, codes } of loader) {
      const value = tf.tidy(() => {
        const input = tf.tensor4d(xs, [...xsShape]);
        return optimizer.minimize(
          () =>
            loss.loss(
              model.apply(input, { training: true }) as tf.Tensor,
              codes ?? expect.unreachable(),
            ),
          true,
        ) as tf.Scalar;
      });
      losses.push(value.dataSync()[0]);
      value.dispose();
      // The optimiser's own are made in the first step.
      if (losses.length === 1) tensors = tf.memory().numTensors;
      expect(tf.memory().numTensors).toBe(tensors);
    }
    optimizer.dispose();
    model.dispose();
    return losses;
  }

  it('has the same losses by PackedLoss on either path, and leaves no tensor', async () => {
    const expected = await packed(false);
    expect(expected).toHaveLength(15);
    const found = await packed(true);
    // Gradients are equal; the mean over the batch is rounded to float32 in another order.
    for (const [i, loss] of found.entries()) expect(loss).toBeCloseTo(expected[i], 5);
  });

  it('is refused device labels by a loader that decodes, and after the loader was closed', async () => {
    await using decoding = createLoader(options());
    expect(failure(() => decoding.asTfDataset(tf, { device: true }))).toMatchObject({
      code: 'UNSUPPORTED',
      field: 'device',
      expected: "a loader with labels: 'codes'",
    });
    const loader = createLoader(options({ labels: 'codes' }));
    const iterator = await loader.asTfDataset(tf, { device: true }).iterator();
    const { value } = await iterator.next();
    tf.dispose([value?.xs, value?.ys]);
    await loader.close();
    await expect(iterator.next()).rejects.toMatchObject({ code: 'ABORTED' });
    expect(tf.memory().numTensors).toBe(before);
  });
});

it('threads decode at once with this one, end and are ended', async () => {
  const body = `
    const { parentPort, workerData } = require('node:worker_threads');
    Promise.all(workerData.map((path) => import(path))).then(async ([select, load, operations]) => {
      await select.selectBackend({ backend: 'tensorflow' });
      const spec = { classes: 50, latent: 4, stages: 2, levels: 4, width: 2, codebookStride: 0, latentStep: 2, bits: 2,
        codebooks: new Float32Array(8).fill(1), basis: new Float32Array(200).fill(1), head: { kind: 'clamp', eps: 1 } };
      const decoder = load.loadKernels({ backend: 'cpu' }).createDecoder(spec);
      const lend = ({ row, ...args }, run) => decoder.lend({ codes: row, ...args }, run);
      const round = () => {
        const labels = operations.decodeLabels(lend, { row: new Uint8Array(50), labels: { start: 0, count: 100 } });
        const [value] = labels.dataSync();
        labels.dispose();
        return value;
      };
      parentPort.postMessage(round());
      parentPort.once('message', () => { for (;;) round(); });
      if (workerData.length === 4) parentPort.close();
    });`;
  const modules = ['nn/backend/select', 'kernels/load', 'nn/backend/operations'].map(
    (path) => new URL(`../../dist/${path}.js`, import.meta.url).href,
  );
  const start = (ends: boolean) =>
    new Worker(body, { eval: true, workerData: ends ? [...modules, modules[0]] : modules });
  const [ending, endless] = [start(true), start(false)];
  const ended = once(ending, 'exit');
  const firsts = await Promise.all([ending, endless].map((worker) => once(worker, 'message')));
  for (const [value] of firsts) expect(value).toBeCloseTo(1 / 50, 6);
  endless.postMessage('go');
  const random = randomStream(8);
  const spec = specOf(random, { classes: 40, stages: 2, width: 2, levels: 4 });
  const row = packedCodes(spec, 64, random);
  const { decoder, lend } = lenderOf(spec);
  const out = new Float32Array(64 * 40);
  const labels = { start: 0, count: 64 };
  decoder.decode({ codes: row, labels, out });
  for (let i = 0; i < 50; i++) {
    const tensor = decodeLabels(lend, { row, labels });
    expectEqual(tensor, out);
    tensor.dispose();
  }
  expect(await endless.terminate()).toBe(1);
  expect(await ended).toEqual([0]);
  decodeLabels(lend, { row, labels }).dispose();
  decoder.dispose();
});
