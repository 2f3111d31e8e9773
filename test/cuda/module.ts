import { spawnSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { cached, root } from './build.js';

/** The compiler cannot be had. */
export class NoToolkit extends Error {}

/** The folder of softpack_cuda.so for all architectures, and of build.log, what the compiler said. */
export function cudaModule(): string {
  return cached('module', ['native', 'CMakeLists.txt', 'scripts/build-cuda.mjs'], build);
}

function build(out: string): void {
  const folder = path.join(out, 'build');
  const args = ['--toolkit', 'pypi', '--strict', '--out', folder];
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [path.join(root, 'scripts/build-cuda.mjs'), ...args],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  const output = `${stdout}\n${stderr}`;
  if (status !== 0 && stderr.includes('no toolkit from PyPI')) {
    throw new NoToolkit('the compiler could not be fetched from PyPI');
  }
  if (status !== 0) throw new Error(output.slice(-8000));
  writeFileSync(path.join(out, 'build.log'), output);
  cpSync(path.join(folder, 'Release/softpack_cuda.so'), path.join(out, 'softpack_cuda.so'));
  rmSync(folder, { recursive: true });
}
