import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lender } from '#src/codecs/codec.js';
import { findAddon } from '#src/kernels/find-addon.js';
import { loadKernels } from '#src/kernels/load.js';
import type { Kernels } from '#src/kernels/types.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { tensorflowFolder } from '#src/nn/tensorflow-install/location.js';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms, root } from '../cuda/build.js';
import { packedCodes, randomFloats, randomStream, segmentSpec } from '../kernels/support.js';
import { python } from '../python/python.js';
import { temporaryDirectory } from '../temporary.js';
import { nativeTensorflow } from './native.js';

const lacking = missingTools() ?? (await nativeTensorflow());
const temporary = await temporaryDirectory();
const FLAGS = ['-O1', '-std=c++17', '-fPIC', '-fvisibility=hidden'];
const WARNINGS = ['-Wall', '-Wextra', '-Werror'];

function compile(args: readonly string[]): void {
  const { status, stderr, error } = spawnSync('c++', args, { encoding: 'utf8' });
  expect(status, `${error ?? ''}${stderr}`).toBe(0);
}

/** Stands for TensorFlow's stream of a GPU, which the emulated module does not look into. */
const STREAM = `
extern "C" void* SoftpackStreamOf(void*) {
  static int stream;
  return &stream;
}`;

/**
 * The operations as a `gpu` installation has them, their device kernels registered for the processor: the CUDA module is
 * emulated.
 */
async function buildOperations(): Promise<string> {
  const folder = tensorflowFolder();
  const [stream, library] = ['stream.cc', 'operations.node'].map(temporary.path);
  await writeFile(stream, STREAM);
  const headers = ['node_modules/node-api-headers/include', 'tensorflow/include'];
  compile([
    ...[...FLAGS, ...WARNINGS, '-shared', '-Wl,-z,nodelete', '-DNAPI_VERSION=8'],
    ...['-DSOFTPACK_TENSORFLOW_DEVICE', '-DSOFTPACK_TENSORFLOW_DEVICE_NAME="CPU"'],
    ...[`-I${root}native`, ...headers.map((path) => `-isystem${join(folder, path)}`)],
    ...[`${root}native/tensorflow/operations.cc`, stream, '-o', library],
    ...[`-L${join(folder, 'tensorflow')}`, '-l:libtensorflow_framework.so.2'],
    `-Wl,-rpath,${join(folder, 'tensorflow')}`,
  ]);
  return library;
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

interface Library {
  start(calls: unknown): string;
  readonly device?: boolean;
}

function execute(lend: Lender, args: Parameters<Lender>[0], name: string, inputs: tf.Tensor[]) {
  return lend(args, (call) => {
    const number = tf.scalar(call, 'int32');
    const backend = tf.backend() as unknown as Executing;
    const count = 1 + inputs.length;
    const outputs = backend.executeMultipleOutputs(name, [], [number, ...inputs], count);
    const values = outputs.map((output) => output.dataSync());
    tf.dispose([number, ...outputs]);
    return values;
  });
}

function lenderOf(kernels: Kernels, spec: Parameters<Kernels['createDecoder']>[0]) {
  const decoder = kernels.createDecoder(spec);
  const lend: Lender = ({ row, ...args }, run) =>
    decoder.lend?.({ codes: row, ...args }, run) ?? expect.unreachable();
  return { decoder, lend };
}

describe("TensorFlow's operations on a device, the CUDA module emulated", () => {
  let cuda: Kernels;
  const before = process.env.SOFTPACK_CUDA_MODULE;
  afterAll(() => {
    if (before === undefined) delete process.env.SOFTPACK_CUDA_MODULE;
    else process.env.SOFTPACK_CUDA_MODULE = before;
  });

  beforeAll(async () => {
    if (lacking !== undefined) {
      console.log(`skipped: operations of TensorFlow on a device (${lacking})`);
      return;
    }
    process.env.SOFTPACK_CUDA_MODULE = join(nativeTestPrograms(), 'softpack_cuda_emulated.so');
    cuda = loadKernels({ backend: 'cuda' });
    await selectBackend({ backend: 'tensorflow' });
    const library: { exports: Partial<Library> } = { exports: {} };
    process.dlopen(library, await buildOperations());
    const addon = findAddon();
    if (addon.state !== 'ready') return expect.unreachable();
    expect(library.exports.device).toBe(true);
    expect(library.exports.start?.(addon.addon.labelCalls())).toBe('');
  }, BUILD_TIMEOUT);

  const random = randomStream(12);
  const spec = {
    ...segmentSpec(random, { classes: 37, stages: 5, width: 3, levels: 7 }),
    head: { kind: 'clamp', eps: 0.01 },
    method: 'table',
  } as const;
  const row = packedCodes(spec, 40, random);
  const labels = { start: 3, count: 29 };

  it("give the CPU's labels, losses and gradients, on a stream of the caller's", ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const { decoder, lend } = lenderOf(cuda, spec);
    using here = loadKernels({ backend: 'cpu' }).createDecoder(spec);
    const out = new Float32Array(29 * 37);
    here.decode({ codes: row, labels, out });
    expect(execute(lend, { row, labels }, 'SoftpackDecodeOnDevice', [])).toEqual([out]);
    const logits = randomFloats(random, out.length);
    const [losses, gradient] = [new Float32Array(29), new Float32Array(out.length)];
    const scaled = { tau: 3, scale: 0.25 };
    here.decodeKl({ codes: row, labels, logits, losses, gradient, ...scaled });
    const z = tf.tensor2d(logits, [29, 37]);
    const found = execute(lend, { row, labels, ...scaled }, 'SoftpackDecodeKlOnDevice', [z]);
    expect(found).toEqual([losses, gradient]);
    z.dispose();
    decoder.dispose();
  });

  it('tell wrong codes, and refuse a decoder of the CPU', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const { decoder, lend } = lenderOf(cuda, spec);
    const wrong = row.map(() => 0xff);
    expect(() => execute(lend, { row: wrong, labels }, 'SoftpackDecodeOnDevice', [])).toThrow();
    expect(execute(lend, { row, labels }, 'SoftpackDecodeOnDevice', [])).toHaveLength(1);
    decoder.dispose();
    const cpu = lenderOf(loadKernels({ backend: 'cpu' }), spec);
    expect(() => execute(cpu.lend, { row, labels }, 'SoftpackDecodeOnDevice', [])).toThrow();
    cpu.decoder.dispose();
  });
});

/** The include folder of TensorFlow's C++ headers, which only wheels have. */
function cppHeaders(): string | undefined {
  const program =
    "import importlib.util as u; print(u.find_spec('tensorflow').submodule_search_locations[0])";
  const { stdout } = spawnSync(python, ['-c', program], { encoding: 'utf8' });
  const folders = [join(tensorflowFolder(), 'tensorflow'), (stdout ?? '').trim()];
  return folders
    .map((folder) => join(folder, 'include'))
    .find((folder) => existsSync(join(folder, 'tensorflow/core/framework/op_kernel.h')));
}

it(
  "what finds TensorFlow's stream compiles against its C++ headers",
  ({ skip }) => {
    const headers = cppHeaders();
    const reason = `no C++ headers of TensorFlow: neither installed nor in the package of ${python}`;
    if (headers === undefined) return skip(reason);
    const source = `${root}native/tensorflow/device_stream.cc`;
    const output = temporary.path('device_stream.o');
    compile([...FLAGS, ...WARNINGS, `-isystem${headers}`, '-c', source, '-o', output]);
  },
  BUILD_TIMEOUT,
);
