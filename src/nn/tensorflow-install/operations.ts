import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { packageFile } from '../../core/package-files.js';
import { compileShared } from './compile.js';
import type { FetchOptions } from './fetch.js';
import { OPERATIONS } from './location.js';

const SOURCE = 'native/tensorflow/operations.cc';
/** Everything of this package that they are compiled from. */
const SOURCES = [
  SOURCE,
  ...['label_calls', 'backend', 'dtypes', 'status'].map((name) => `native/core/${name}.h`),
];

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
  const hidden = ['-fvisibility=hidden', `-I${packageFile('native')}`];
  const library = {
    name: 'operations',
    inputs: [...hidden, packageFile(SOURCE)],
    output: OPERATIONS,
    // Registered kernels are TensorFlow's as long as the process lives: never unmapped.
    links: [
      ...['-Ltensorflow', '-l:libtensorflow_framework.so.2', '-Wl,-z,nodelete'],
      `-Wl,-rpath,$ORIGIN/${dirname(OPERATIONS).replaceAll(/[^/]+/g, '..')}/tensorflow`,
    ],
  };
  await compileShared(compiler, library, options);
}
