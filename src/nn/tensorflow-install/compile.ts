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
  readonly links: readonly string[];
}

const FLAGS = ['-O2', '-std=c++17', '-fPIC'] as const;

/** Compiles a library in the work folder; `BUILD_FAILED` with the compiler's errors if it cannot. */
export function compileShared(
  compiler: readonly string[],
  { name, inputs, output, links }: SharedLibrary,
  options: FetchOptions,
): Promise<void> {
  const headers = ['-Inode_modules/node-api-headers/include', '-Itensorflow/include'];
  const flags = [...FLAGS, '-shared', '-DNAPI_VERSION=8', ...headers];
  return compile(compiler, name, [...flags, ...inputs, '-o', output, ...links], options);
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
