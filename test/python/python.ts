import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A Python with NumPy: `SOFTPACK_PYTHON`, or `python3`. */
export const python = process.env.SOFTPACK_PYTHON ?? 'python3';

export function hasModule(name: string, program = python): boolean {
  return spawnSync(program, ['-c', `import ${name}`]).status === 0;
}

export const root = fileURLToPath(new URL('../../', import.meta.url));
const runner = fileURLToPath(new URL('run_jobs.py', import.meta.url));

export interface Job {
  readonly kind:
    | 'labels'
    | 'views'
    | 'order'
    | 'pruned'
    | 'blocks'
    | 'packed'
    | 'tokens'
    | 'token-ids'
    | 'hidden'
    | 'fuzz-packed'
    | 'open'
    | 'native'
    | 'dataset'
    | 'hashes'
    | 'fuzz'
    | 'fields';
  readonly [option: string]: unknown;
}

/** Results of jobs of run_jobs.py, one process for all. `path` is where the package lies; default: this repository's. */
export function runJobs(
  jobs: readonly Job[],
  { program = python, path = `${root}python`, env = {} } = {},
): readonly Record<string, unknown>[] {
  const output = execFileSync(program, [runner], {
    input: JSON.stringify(jobs),
    env: { ...process.env, PYTHONPATH: path, PYTHONDONTWRITEBYTECODE: '1', ...env },
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  return JSON.parse(output);
}

/** Little-endian float32 values in base64. */
export function floatsOf(text: unknown): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(String(text), 'base64')).buffer);
}
