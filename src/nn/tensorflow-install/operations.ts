import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { packageFile } from '../../core/package-files.js';
import { errorMessage } from '../../errors.js';
import { compileObject, compileShared } from './compile.js';
import type { FetchOptions } from './fetch.js';
import { DEVICE_STREAM, OPERATIONS } from './location.js';
import { Wheel } from './wheel.js';

const SOURCE = 'native/tensorflow/operations.cc';
const STREAM_SOURCE = 'native/tensorflow/device_stream.cc';
/** Everything of this package that they are compiled from, but for STREAM_SOURCE, which installing again does not change. */
const SOURCES = [
  SOURCE,
  ...['label_calls', 'backend', 'device_module', 'dtypes', 'status'].map(
    (name) => `native/core/${name}.h`,
  ),
];
const FRAMEWORK = 'libtensorflow_framework.so.2';
const HEADERS = /^tensorflow\/include\//;

/** Digest of the sources: operations of another one are built again. */
export async function operationsDigest(): Promise<string> {
  const hash = createHash('sha256');
  for (const path of SOURCES) hash.update(await readFile(packageFile(path)));
  return hash.digest('hex');
}

/** Compiles the operations that decode labels, against the unpacked libraries and headers. */
export async function buildOperations(
  compiler: readonly string[],
  options: FetchOptions,
): Promise<void> {
  await mkdir(join(options.work, dirname(OPERATIONS)), { recursive: true });
  const device = existsSync(join(options.work, DEVICE_STREAM));
  // Registered kernels are TensorFlow's as long as the process lives: never unmapped.
  const flags = ['-fvisibility=hidden', '-Wl,-z,nodelete', `-I${packageFile('native')}`];
  const library = {
    name: 'operations',
    inputs: [
      ...[...flags, packageFile(SOURCE)],
      ...(device ? ['-DSOFTPACK_TENSORFLOW_DEVICE', DEVICE_STREAM] : []),
    ],
    output: OPERATIONS,
    libraries: [FRAMEWORK],
  };
  await compileShared(compiler, library, options);
}

/**
 * Compiles what finds TensorFlow's stream on a GPU, against all headers of a wheel (268 MB, removed again). Operations
 * are built without if a compiler cannot: labels are then decoded on the processor, after a warning with its errors.
 */
export async function buildDeviceStream(
  compiler: readonly string[],
  wheel: string,
  options: FetchOptions,
): Promise<void> {
  const { work, signal } = options;
  const headers = join('tmp', 'headers');
  await mkdir(join(work, dirname(DEVICE_STREAM)), { recursive: true });
  {
    using opened = await Wheel.open(wheel);
    const needed = (path: string) => HEADERS.test(path) && !path.endsWith('/');
    await opened.extract({ into: join(work, headers), needed, signal });
  }
  const newStrings = await hasNewStrings(join(work, 'tensorflow', FRAMEWORK));
  const abi = `-D_GLIBCXX_USE_CXX11_ABI=${newStrings ? 1 : 0}`;
  const include = `-I${join(headers, 'tensorflow/include')}`;
  try {
    const inputs = ['-w', '-fvisibility=hidden', abi, include, packageFile(STREAM_SOURCE)];
    await compileObject(compiler, { name: 'operations', inputs, output: DEVICE_STREAM }, options);
  } catch (error) {
    signal?.throwIfAborted();
    process.emitWarning(`TensorFlow will decode no labels on GPUs: ${errorMessage(error)}`, {
      type: 'SoftpackWarning',
      code: 'SOFTPACK_NO_DEVICE_OPERATIONS',
    });
    await rm(join(work, DEVICE_STREAM), { force: true });
  }
  await rm(join(work, headers), { recursive: true, force: true });
}

/** Whether a library was compiled with the std::string of C++11: its symbols say so. */
async function hasNewStrings(library: string): Promise<boolean> {
  return (await readFile(library)).includes('NSt7__cxx1112basic_stringIcSt11char_traitsIcE');
}
