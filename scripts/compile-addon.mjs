// The addon of this machine by its C++ compiler, without another tool. CMakeLists.txt builds the same, for other platforms too.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';

const COMPILERS = ['c++', 'g++', 'clang++'];
// Contraction would fuse a multiplication and an addition on one machine and not on another.
const FLAGS = [
  ...['-std=c++17', '-O3', '-fPIC', '-pthread', '-ffp-contract=off', '-fvisibility=hidden'],
  ...['-Wall', '-Wextra', '-Wno-unused-parameter', '-DNODE_GYP_MODULE_NAME=softpack'],
  ...['-DNAPI_CPP_EXCEPTIONS', '-DNODE_ADDON_API_CPP_EXCEPTIONS_ALL', '-DBUILDING_NODE_EXTENSION'],
];
/** The pool's threads outlive the last environment that uses the addon: never unmap their code. */
const LINUX = ['-Wl,-z,nodelete', '-Wl,-z,now', '-Wl,--version-script=native/binding/module.map'];

/**
 * Writes build/Release/softpack.node.
 *
 * @throws An error with the output of the compiler if it fails, or if there is none.
 */
export async function compileAddon(root) {
  const compiler = findCompiler();
  const release = path.join(root, 'build/Release');
  // Names of this process: two builds at once, of installers that share a folder, do not mix their files.
  const work = path.join(release, `obj-${process.pid}`);
  mkdirSync(work, { recursive: true });
  try {
    const includes = [...headers(work), 'native'].map((folder) => `-I${folder}`);
    const { kernels, binding } = JSON.parse(
      readFileSync(path.join(root, 'native/sources.json'), 'utf8'),
    );
    const jobs = [...kernels, ...binding].map((source) => {
      const object = path.join(work, `${source.replaceAll('/', '-')}.o`);
      const flags = [...FLAGS, ...words('CXXFLAGS'), ...includes];
      return { object, args: [...flags, '-c', source, '-o', object] };
    });
    await inParallel(jobs, ({ args }) => run(compiler, args, root));
    const addon = path.join(work, 'softpack.node');
    const linking =
      process.platform === 'darwin'
        ? ['-bundle', '-undefined', 'dynamic_lookup']
        : ['-shared', '-pthread', ...(process.platform === 'linux' ? LINUX : [])];
    const objects = jobs.map(({ object }) => object);
    await run(compiler, [...linking, ...words('LDFLAGS'), ...objects, '-o', addon], root);
    // A process that has loaded the former addon keeps it.
    renameSync(addon, path.join(release, 'softpack.node'));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** CXX may hold a launcher too: `ccache g++`. */
function findCompiler() {
  const named = words('CXX');
  if (named.length > 0) return named;
  const found = COMPILERS.find((name) => spawnSync(name, ['--version']).status === 0);
  if (found !== undefined) return [found];
  throw new Error(
    `error: no C++ compiler was found: CXX is unset and PATH has no ${COMPILERS.join(', ')}`,
  );
}

function words(variable) {
  return (process.env[variable] ?? '').split(/\s+/).filter((word) => word !== '');
}

/** Folders of the headers of Node-API and of its C++ classes; copies if Yarn keeps the packages in archives. */
function headers(work) {
  const require = createRequire(import.meta.url);
  const { include_dir: nodeApi } = require('node-api-headers');
  const classes = path.dirname(require.resolve('node-addon-api/package.json'));
  return [nodeApi, classes].map((folder, i) => {
    if (!/\.zip[\\/]/.test(folder)) return folder;
    const copy = path.join(work, `include-${i}`);
    mkdirSync(copy);
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.h'))) {
      writeFileSync(path.join(copy, name), readFileSync(path.join(folder, name)));
    }
    return copy;
  });
}

/** One compiler per processor; the first failure ends the rest as soon as they have finished their files. */
async function inParallel(jobs, work) {
  const waiting = [...jobs];
  let failed = false;
  const lane = async () => {
    for (let job = waiting.shift(); job !== undefined && !failed; job = waiting.shift()) {
      await work(job).catch((error) => {
        failed = true;
        throw error;
      });
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: availableParallelism() }, lane));
  const failure = lanes.find(({ status }) => status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

function run([program, ...first], args, cwd) {
  const command = [program, ...first, ...args].join(' ');
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...first, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.on('error', ({ message }) => reject(new Error(`error: no compiler: ${message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(
          new Error(`${output}\nerror: the compiler ended with ${signal ?? code}: ${command}`),
        );
    });
  });
}
