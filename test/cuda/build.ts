import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { whileLocked } from '../file-lock.js';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/** Longest time of a first build on a slow and busy machine. */
export const BUILD_TIMEOUT = 1_500_000;

/** Why the programs of the CUDA tests cannot be built here; undefined if they can. */
export function missingTools(): string | undefined {
  const missing = ['cmake', 'c++'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  return missing.length === 0 ? undefined : `not found: ${missing.join(', ')}`;
}

/**
 * The folder of native_cuda_check, softpack_fake_module.so, softpack_cuda_emulated.so, cuda_emulation_test and
 * softpack_kernels_test, built by CMake and kept in the user's cache folder under a hash of all native sources.
 *
 * CMake works on a copy of the sources that is kept too, where files that did not change keep their times: whichever
 * checkout asks, only what changed since the last build is compiled.
 */
export function nativeTestPrograms(sanitize: '' | 'thread' = ''): string {
  const name = sanitize === '' ? 'programs' : `programs-${sanitize}`;
  return cached(name, NATIVE_SOURCES, (out) => {
    const kept = path.join(cacheFolder(), `${name}-build-${shortHash(compiler())}`);
    const sources = path.join(kept, 'sources');
    const build = path.join(kept, 'build');
    whileLocked(kept, () => {
      mirrorSources(sources);
      run('cmake', ['-S', sources, '-B', build, `-DSOFTPACK_SANITIZE=${sanitize}`]);
      const targets = sanitize === 'thread' ? WATCHED : ['native_tests'];
      run('cmake', ['--build', build, '--parallel', '2', '--target', ...targets]);
      const programs = path.join(build, 'test/native');
      for (const file of readdirSync(programs)) {
        if (PROGRAM.test(file)) cpSync(path.join(programs, file), path.join(out, file));
      }
    });
  });
}

/** Targets that run under the thread sanitizer. */
const WATCHED = ['native_cuda_check', 'softpack_cuda_emulated', 'cuda_emulation_test'];
const NATIVE_SOURCES = ['native', 'test/native', 'CMakeLists.txt'];
const PROGRAM =
  /\.so$|^native_cuda_check$|^cuda_emulation_test$|^cuda_device_test$|^softpack_kernels_test$/;

/** Makes `target` equal to this checkout's native sources and writes only the files that differ. */
function mirrorSources(target: string): void {
  const files = filesBelow(root, NATIVE_SOURCES);
  for (const file of files) {
    const [bytes, copy] = [readFileSync(path.join(root, file)), path.join(target, file)];
    if (existsSync(copy) && readFileSync(copy).equals(bytes)) continue;
    mkdirSync(path.dirname(copy), { recursive: true });
    writeFileSync(copy, bytes);
  }
  const wanted = new Set(files);
  for (const file of filesBelow(target, ['.'])) {
    if (!wanted.has(file)) rmSync(path.join(target, file));
  }
}

/** Results of `make` in a folder, made once for given sources. */
export function cached(
  name: string,
  sources: readonly string[],
  make: (out: string) => void,
): string {
  const folder = path.join(cacheFolder(), `${name}-${sourcesHash(sources)}`);
  // Test files run side by side: the second that needs a build waits for the first's.
  whileLocked(folder, () => {
    if (existsSync(folder)) return;
    const out = `${folder}.building`;
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out);
    make(out);
    renameSync(out, folder);
  });
  return folder;
}

function cacheFolder(): string {
  const user = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache');
  const folder = path.join(user, 'softpack/native-tests');
  try {
    mkdirSync(folder, { recursive: true });
    return folder;
  } catch {
    const here = path.join(root, '.softpack/native-tests');
    mkdirSync(here, { recursive: true });
    return here;
  }
}

/** All files below the given files and folders, relative to `base`, in order. */
function filesBelow(base: string, names: readonly string[]): string[] {
  const files = names.flatMap((name) => {
    const start = path.join(base, name);
    if (!existsSync(start)) return [];
    if (statSync(start).isFile()) return [start];
    return readdirSync(start, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name));
  });
  return files.map((file) => path.relative(base, file)).sort();
}

function sourcesHash(sources: readonly string[]): string {
  const hash = createHash('sha256').update(compiler());
  for (const file of filesBelow(root, sources)) {
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(path.join(root, file)));
  }
  return hash.digest('hex').slice(0, 16);
}

function compiler(): string {
  return run('c++', ['--version']) + run('cmake', ['--version']);
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
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
