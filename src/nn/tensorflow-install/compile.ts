import { dirname } from 'node:path';
import { SoftpackError } from '../../errors.js';
import type { FetchOptions } from './fetch.js';
import { diskFull, errorLines, runTool } from './tools.js';

export interface Compilation {
  /** Name for people. */
  readonly name: string;
  /** Sources, include folders, defines. */
  readonly inputs: readonly string[];
  readonly output: string;
}

export interface SharedLibrary extends Compilation {
  /** Those of TensorFlow that it needs, each before those whose symbols it needs. */
  readonly libraries: readonly string[];
}

const FLAGS = ['-O2', '-std=c++17', '-fPIC'] as const;

/**
 * Compiles a library in the work folder, which finds TensorFlow's relative to itself; `BUILD_FAILED` with the compiler's
 * errors if it cannot.
 */
export function compileShared(
  compiler: readonly string[],
  { name, inputs, output, libraries }: SharedLibrary,
  options: FetchOptions,
): Promise<void> {
  const headers = ['-Inode_modules/node-api-headers/include', '-Itensorflow/include'];
  const flags = [...FLAGS, '-shared', '-DNAPI_VERSION=8', ...headers];
  const up = dirname(output).replaceAll(/[^/]+/g, '..');
  const links = ['-Ltensorflow', ...libraries.map((file) => `-l:${file}`)];
  const finding = `-Wl,-rpath,$ORIGIN/${up}/tensorflow`;
  return compile(compiler, name, [...flags, ...inputs, '-o', output, ...links, finding], options);
}

/** The same for an object file. */
export function compileObject(
  compiler: readonly string[],
  { name, inputs, output }: Compilation,
  options: FetchOptions,
): Promise<void> {
  return compile(compiler, name, [...FLAGS, '-c', ...inputs, '-o', output], options);
}

async function compile(
  compiler: readonly string[],
  name: string,
  args: readonly string[],
  { work, env, signal }: FetchOptions,
): Promise<void> {
  const result = await runTool([...compiler, ...args], { cwd: work, env, signal });
  if (result?.ok) return;
  if (/No space left on device/.test(result?.output ?? '')) throw diskFull(work);
  throw new SoftpackError(
    'BUILD_FAILED',
    `${compiler.join(' ')} failed:\n${errorLines(result?.output ?? '')}`,
    { field: name },
  );
}
