import { spawnSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { TEST_ALL } from '../all.js';
import { cached, root } from './build.js';

/** What CMakeLists.txt compiles the module for. */
const ALL = ['sm_75', 'sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_100', 'sm_120'];
/** Those that the kernels have code of their own for; the others take as long again. */
const DISTINCT = ['sm_75', 'sm_80', 'sm_90a', 'sm_120'];

/** What the tests compile it for. */
export const ARCHITECTURES = TEST_ALL ? ALL : DISTINCT;
if (!TEST_ALL) {
  const left = ALL.filter((name) => !DISTINCT.includes(name)).join(', ');
  console.log(`left out: the CUDA module for ${left} (SOFTPACK_TEST_ALL=1 has them)`);
}

/** A kernel's mangled name without the namespace of its file. */
export function shortName(mangled: string): string {
  return mangled.replace(/^_ZN8softpack\d+_GLOBAL__N__\w*?_cu_[0-9a-f]{8}\d+/, '');
}

/** The compiler cannot be had. */
export class NoToolkit extends Error {}

/** The folder of softpack_cuda.so for these architectures, and of build.log, what the compiler said. */
export function cudaModule(): string {
  return cached(
    `module${TEST_ALL ? '-all' : ''}`,
    ['native', 'CMakeLists.txt', 'scripts/build-cuda.mjs'],
    build,
  );
}

function build(out: string): void {
  const folder = path.join(out, 'build');
  const real = ARCHITECTURES.map((name) => `${name.replace('sm_', '')}-real`);
  const architectures = [...real, '90-virtual'].join(';');
  const args = ['--toolkit', 'pypi', '--strict', '--out', folder, '--architectures', architectures];
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [path.join(root, 'scripts/build-cuda.mjs'), ...args],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  const output = `${stdout}\n${stderr}`;
  if (status !== 0 && stderr.includes('no toolkit from PyPI')) {
    throw new NoToolkit('the compiler could not be fetched from PyPI');
  }
  if (status !== 0) throw new Error(causesIn(output));
  writeFileSync(path.join(out, 'build.log'), output);
  cpSync(path.join(folder, 'Release/softpack_cuda.so'), path.join(out, 'softpack_cuda.so'));
  rmSync(folder, { recursive: true });
}

/** Lines that say what failed: other steps end after it and say much more. */
function causesIn(output: string): string {
  const lines = output.split('\n').filter((line) => /error|FAILED/i.test(line));
  return [...lines.slice(0, 40), output.slice(-1000)].join('\n');
}
