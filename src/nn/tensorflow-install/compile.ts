import { SoftpackError } from '../../errors.js';
import type { FetchOptions } from './fetch.js';
import { diskFull, errorLines, runTool } from './tools.js';

export interface SharedLibrary {
  /** Name for people. */
  readonly name: string;
  /** Sources, include folders, defines. */
  readonly inputs: readonly string[];
  readonly output: string;
  readonly links: readonly string[];
}

/** Compiles a library in the work folder; `BUILD_FAILED` with the compiler's errors if it cannot. */
export async function compileShared(
  compiler: readonly string[],
  { name, inputs, output, links }: SharedLibrary,
  { work, env, signal }: FetchOptions,
): Promise<void> {
  const flags = ['-O2', '-std=c++17', '-shared', '-fPIC', '-DNAPI_VERSION=8'];
  const headers = ['-Inode_modules/node-api-headers/include', '-Itensorflow/include'];
  const command = [...compiler, ...flags, ...headers, ...inputs, '-o', output, ...links];
  const result = await runTool(command, { cwd: work, env, signal });
  if (result?.ok) return;
  if (/No space left on device/.test(result?.output ?? '')) throw diskFull(work);
  throw new SoftpackError(
    'BUILD_FAILED',
    `${compiler.join(' ')} failed:\n${errorLines(result?.output ?? '')}`,
    { field: name },
  );
}
