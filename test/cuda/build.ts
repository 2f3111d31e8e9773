import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/** Longest that a first build may take on a busy machine. */
export const BUILD_TIMEOUT = 600_000;

/** Why the programs of the CUDA tests cannot be built here; undefined where they can. */
export function missingTools(): string | undefined {
  const missing = ['cmake', 'c++'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  return missing.length === 0 ? undefined : `not found: ${missing.join(', ')}`;
}

/**
 * The folder of native_cuda_check, softpack_fake_module.so, softpack_cuda_emulated.so and cuda_emulation_test, built
 * by CMake and kept in the user's cache folder under a hash of all native sources.
 */
export function cudaTestPrograms(sanitize: '' | 'thread' = ''): string {
  return cached(`programs-${sanitize}`, (out) => {
    const build = path.join(out, 'build');
    run('cmake', ['-S', root, '-B', build, `-DSOFTPACK_SANITIZE=${sanitize}`]);
    run('cmake', ['--build', build, '--target', 'cuda_tests', '--parallel', '2']);
    for (const file of readdirSync(path.join(build, 'test/native'))) {
      if (/\.so$|^native_cuda_check$|^cuda_emulation_test$/.test(file)) {
        cpSync(path.join(build, 'test/native', file), path.join(out, file));
      }
    }
    rmSync(build, { recursive: true });
  });
}

/** What `make` leaves in a folder, made once for the native sources as they are. */
export function cached(name: string, make: (out: string) => void): string {
  const base = path.join(cacheFolder(), 'cuda-tests');
  const folder = path.join(base, `${name}-${sourcesHash()}`);
  if (existsSync(folder)) return folder;
  mkdirSync(base, { recursive: true });
  // Test files run side by side: the second that needs a build waits for the first's.
  const lock = `${folder}.lock`;
  const until = Date.now() + BUILD_TIMEOUT / 2;
  while (!takeLock(lock) && Date.now() < until) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250);
  }
  const out = mkdtempSync(path.join(base, 'building-'));
  try {
    if (existsSync(folder)) return folder;
    make(out);
    // Where a lock was left behind another process may have been quicker; its result is the same.
    if (!existsSync(folder)) renameSync(out, folder);
  } finally {
    rmSync(out, { recursive: true, force: true });
    rmSync(lock, { recursive: true, force: true });
  }
  return folder;
}

function takeLock(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch {
    return false;
  }
}

function cacheFolder(): string {
  const user = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'softpack');
  try {
    mkdirSync(user, { recursive: true });
    return user;
  } catch {
    return path.join(root, '.softpack');
  }
}

function sourcesHash(): string {
  const hash = createHash('sha256');
  const files = ['native', 'test/native']
    .flatMap((folder) =>
      readdirSync(path.join(root, folder), {
        recursive: true,
        encoding: 'utf8',
        withFileTypes: true,
      }),
    )
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
  const builds = ['CMakeLists.txt', 'scripts/build-cuda.mjs'].map((file) => path.join(root, file));
  for (const file of [...files, ...builds]) {
    hash.update(path.relative(root, file)).update('\0').update(readFileSync(file));
  }
  hash.update(spawnSync('c++', ['--version']).stdout ?? '');
  return hash.digest('hex').slice(0, 16);
}

export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) {
    const output = `${stdout}\n${stderr}`.split('\n').slice(-40).join('\n');
    throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? output}`);
  }
  return stdout;
}
