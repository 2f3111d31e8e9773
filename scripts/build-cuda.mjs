// Builds the module of the CUDA backend, build-cuda/Release/softpack_cuda.so, by cmake-js.
//
//   npm run build:cuda                        with the nvcc on PATH, or of CUDACXX or CUDA_HOME
//   npm run build:cuda -- --toolkit pypi      with a toolkit from PyPI, kept in the user's cache folder
//     --architectures "80-virtual;90a-real"   other than the default of CMakeLists.txt
//     --strict                                report registers; spills and warnings fail
//     --check                                 also native_cuda_check, the check without Node.js
//     --out <folder>                          instead of build-cuda
//
// Nothing here runs when the package is installed.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** NVIDIA's packages by exact version, with the hash of each platform's wheel. */
const TOOLKIT = path.join(root, 'native/cuda/toolkit.txt');
const PYPI_PACKAGES = [...readFileSync(TOOLKIT, 'utf8').matchAll(/^[\w-]+==\S+/gm)].map(
  ([requirement]) => requirement,
);

/** Written first: a folder that has it was empty when this script began to fill it. */
const BEGUN = 'softpack-toolkit.json';
/** Written last: a folder that has it is complete. */
const COMPLETE = 'complete.json';

class Failure extends Error {}

try {
  main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`build:cuda: ${error.message}`);
  process.exitCode = 1;
}

function main() {
  const { values } = parseArgs({
    options: {
      toolkit: { type: 'string', default: 'system' },
      architectures: { type: 'string' },
      strict: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      out: { type: 'string', default: path.join(root, 'build-cuda') },
    },
  });
  const toolkit = values.toolkit === 'pypi' ? pypiToolkit() : systemToolkit(values.toolkit);
  const out = path.resolve(values.out);
  const env = { ...childEnvironment(), ...toolkit.env };
  const define = [
    '--CDSOFTPACK_CUDA=ON',
    `--CDSOFTPACK_CUDA_STRICT=${values.strict ? 'ON' : 'OFF'}`,
    `--CDCMAKE_CUDA_COMPILER=${toolkit.nvcc}`,
    ...(values.architectures ? [`--CDCMAKE_CUDA_ARCHITECTURES=${values.architectures}`] : []),
  ];
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const build = (target) => {
    const threads = String(availableParallelism());
    const args = [cmakeJs, 'compile', '--out', out, '--target', target, '--parallel', threads];
    const { status } = spawnSync(process.execPath, [...args, ...define], {
      cwd: root,
      env,
      stdio: 'inherit',
    });
    if (status !== 0) throw new Failure(`building ${target} failed; see the compiler output above`);
  };
  build('softpack_cuda');
  if (values.check) build('native_cuda_check');
  console.log(`built ${path.join(out, 'Release/softpack_cuda.so')}; see: npx softpack doctor`);
}

function systemToolkit(name) {
  if (name !== 'system') throw new Failure(`--toolkit ${name}: expected system or pypi`);
  const { CUDACXX, CUDA_HOME, CUDA_PATH } = process.env;
  const folders = [CUDA_HOME, CUDA_PATH, '/usr/local/cuda'].filter(Boolean);
  const candidates = [CUDACXX, 'nvcc', ...folders.map((folder) => path.join(folder, 'bin/nvcc'))];
  const nvcc = candidates.find((file) => file && spawnSync(file, ['--version']).status === 0);
  if (nvcc === undefined) {
    throw new Failure(
      'no nvcc on PATH, in CUDACXX, CUDA_HOME or /usr/local/cuda. Install a CUDA toolkit (12.8 or newer), or let ' +
        'this script fetch one from PyPI: npm run build:cuda -- --toolkit pypi',
    );
  }
  const file = nvcc.includes('/') ? nvcc : findOnPath(nvcc);
  return { nvcc: file, env: {} };
}

function findOnPath(name) {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file)) ?? name;
}

/** A virtual environment of Python with NVIDIA's packages, made once. */
function pypiToolkit() {
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache');
  const version = PYPI_PACKAGES[0].split('==')[1];
  const folder =
    process.env.SOFTPACK_CUDA_TOOLKIT_DIR || path.join(cache, 'softpack', `cuda-${version}`);
  if (!recorded(folder, COMPLETE)) install(folder);
  const python = spawnSync(
    path.join(folder, 'bin/python'),
    ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'],
    { env: childEnvironment() },
  );
  const toolkit = path.join(python.stdout.toString().trim(), 'nvidia/cu13');
  const libraries = path.join(toolkit, 'lib');
  const known = process.env.LIBRARY_PATH;
  return {
    nvcc: path.join(toolkit, 'bin/nvcc'),
    // The wheels have lib where nvcc looks for lib64.
    env: { LIBRARY_PATH: known ? `${libraries}${path.delimiter}${known}` : libraries },
  };
}

/** Whether a folder has a record of these packages. */
function recorded(folder, name) {
  try {
    const { packages } = JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
    return JSON.stringify(packages) === JSON.stringify(PYPI_PACKAGES);
  } catch {
    return false;
  }
}

function record(folder, name) {
  const file = path.join(folder, name);
  writeFileSync(`${file}.part`, JSON.stringify({ packages: PYPI_PACKAGES }));
  renameSync(`${file}.part`, file);
}

/** Fills an empty folder, or goes on with one that it began to fill. Removes nothing. */
function install(folder) {
  mkdirSync(folder, { recursive: true });
  if (!recorded(folder, BEGUN)) {
    const [found] = readdirSync(folder);
    if (found !== undefined) {
      throw new Failure(
        `${folder} holds other files (${found}); name an empty folder by SOFTPACK_CUDA_TOOLKIT_DIR`,
      );
    }
    record(folder, BEGUN);
  }
  console.log(`fetching ${PYPI_PACKAGES.join(' ')} into ${folder}`);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  const exact = ['--no-deps', '--only-binary=:all:', '--force-reinstall', '--require-hashes'];
  const steps = [
    ['python3', ['-m', 'venv', folder]],
    [path.join(folder, 'bin/python'), [...pip, ...exact, '-r', TOOLKIT]],
  ];
  for (const [command, args] of steps) {
    const options = { stdio: 'inherit', env: childEnvironment() };
    const { status, error } = spawnSync(command, args, options);
    if (status !== 0) {
      const why = error ? ` (${error.message})` : '';
      throw new Failure(
        `${command} ${args.slice(0, 3).join(' ')} failed${why}: no toolkit from PyPI`,
      );
    }
  }
  record(folder, COMPLETE);
}

/** Copy of src/core/child-environment.ts: this script also runs before that is compiled. */
function childEnvironment() {
  const list = readFileSync(path.join(root, 'assets/child-environment.json'), 'utf8');
  const { names, prefixes } = JSON.parse(list);
  const isAllowed = (name) =>
    names.includes(name) || prefixes.some((prefix) => name.startsWith(prefix));
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => isAllowed(name.toUpperCase())),
  );
}
