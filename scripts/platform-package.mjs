// Packages with the addon built for one platform, found by the loader and the install script before any build:
//
//   node scripts/platform-package.mjs linux-arm64 [--out packages] [--addon file]   writes packages/linux-arm64
//   node scripts/platform-package.mjs --list                                        names the targets
//   node scripts/platform-package.mjs --link                                        makes package.json that of a release
//
// Without --addon it is compiled for Linux by zig, which has every libc and its headers (pip install ziglang): on glibc 2.28
// and newer or on musl, and with its own C++ library inside. --link is for the release alone: it lists the packages, which exist
// only after it, and drops the install script, which they make needless and which npm 12, pnpm and Yarn 4 would block.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { requireReleasable } from './release-check.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

/** What npm asks of a machine, and zig's name of the target. */
const TARGETS = {
  'linux-x64': { os: 'linux', cpu: 'x64', libc: 'glibc', zig: 'x86_64-linux-gnu.2.28' },
  'linux-arm64': { os: 'linux', cpu: 'arm64', libc: 'glibc', zig: 'aarch64-linux-gnu.2.28' },
  'linuxmusl-x64': { os: 'linux', cpu: 'x64', libc: 'musl', zig: 'x86_64-linux-musl' },
  'linuxmusl-arm64': { os: 'linux', cpu: 'arm64', libc: 'musl', zig: 'aarch64-linux-musl' },
  'darwin-arm64': { os: 'darwin', cpu: 'arm64' },
  'darwin-x64': { os: 'darwin', cpu: 'x64' },
  'win32-x64': { os: 'win32', cpu: 'x64' },
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string', default: 'packages' },
    addon: { type: 'string' },
    link: { type: 'boolean' },
    list: { type: 'boolean' },
  },
});
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));

if (values.list) console.log(Object.keys(TARGETS).join('\n'));
else if (values.link) link();
else for (const name of positionals) write(name);

function write(name) {
  const target = TARGETS[name];
  if (target === undefined) fail(`${name} is none of ${Object.keys(TARGETS).join(', ')}`);
  const addon = values.addon ?? compile(name, target);
  const folder = path.resolve(values.out, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { version, license, repository, homepage, bugs } = manifest;
  const { os, cpu, libc } = target;
  const description = {
    ...{ name: `@softpack/${name}`, version, license, repository, homepage, bugs },
    description: `The addon of softpack, built for ${name}.`,
    ...{ os: [os], cpu: [cpu], ...(libc && { libc: [libc] }) },
    ...{ main: 'softpack.node', files: ['softpack.node'], engines: manifest.engines },
    preferUnplugged: true, // Yarn's archives are no place for a library to load from.
  };
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);
  writeFileSync(
    path.join(folder, 'README.md'),
    `The native addon of softpack ${version} for ${name}. It is installed with softpack.\n`,
  );
  copyFileSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'));
  copyFileSync(addon, path.join(folder, 'softpack.node'));
  console.log(folder);
}

/** The addon for a target of Linux, by CMakeLists.txt and the headers of node-api-headers. */
function compile(name, { zig }) {
  if (zig === undefined) fail(`${name} is built on such a machine: name its file by --addon`);
  const build = path.join(root, 'build-platform', name);
  const command = findZig() ?? fail('no zig was found: pip install ziglang');
  const compiler = [...command, 'c++', '-target', zig].join(';');
  run('cmake', [
    ...['-S', root, '-B', build, '-DCMAKE_SYSTEM_NAME=Linux', `-DCMAKE_CXX_COMPILER=${compiler}`],
    `-DCMAKE_JS_INC=${require('node-api-headers').include_dir}`,
    '-DCMAKE_MODULE_LINKER_FLAGS=-Wl,-s',
  ]);
  const jobs = String(availableParallelism());
  run('cmake', ['--build', build, '--target', 'softpack_addon', '--parallel', jobs]);
  return path.join(build, 'softpack.node');
}

/** Writes the packages of this version into package.json as optional dependencies: npm installs the one that fits. */
function link() {
  requireReleasable(manifest);
  const names = Object.keys(TARGETS).map((name) => `@softpack/${name}`);
  const optionalDependencies = Object.fromEntries(names.map((name) => [name, manifest.version]));
  const { install: _, prepare: _prepare, ...scripts } = manifest.scripts;
  const linked = { ...manifest, scripts, optionalDependencies };
  writeFileSync(path.join(root, 'package.json'), `${JSON.stringify(linked, null, 2)}\n`);
}

function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' });
  if (status !== 0) fail(`${program} failed: ${error?.message ?? `exit code ${status}`}`);
}

function fail(message) {
  console.error(`platform-package: ${message}`);
  process.exit(1);
}

/** The command of zig, which has a C++ compiler and the headers of every libc; undefined without one (pip install ziglang). */
function findZig() {
  const python = process.env.SOFTPACK_PYTHON || 'python3';
  return [['zig'], [python, '-m', 'ziglang']].find(([program, ...args]) => {
    return spawnSync(program, [...args, 'version'], { stdio: 'ignore' }).status === 0;
  });
}
