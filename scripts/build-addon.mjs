// Builds the native addon with node-gyp. Run by npm when the package is installed, by `softpack doctor --build`, or by hand.
// As an install script it does nothing if the package of the platform brought an addon of this version.
//
// A failure does not fail the install: softpack then runs on its TypeScript kernels, slower, and says so. With
// SOFTPACK_REQUIRE_ADDON=1 it does fail, for continuous integration.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const logFile = path.join(root, 'build-addon.log');
const prefix = path.dirname(path.dirname(process.execPath));

const installing =
  process.env.npm_lifecycle_event === 'install' &&
  process.env.npm_config_build_from_source !== 'true';
if (!(installing && hasPrebuilt())) build();

function build() {
  const gyp = findNodeGyp();
  const result = gyp === undefined ? undefined : run(gyp);
  if (result?.status === 0) {
    rmSync(logFile, { force: true });
    return;
  }
  console.error(explain(result));
  process.exitCode = process.env.SOFTPACK_REQUIRE_ADDON === '1' ? 1 : 0;
}

/** Whether a platform's package of this version is installed and loads. */
function hasPrebuilt() {
  const require = createRequire(import.meta.url);
  const { version } = require('../package.json');
  const { platform, arch } = process;
  const systems = platform === 'linux' ? ['linux', 'linuxmusl'] : [platform];
  return systems.some((system) => {
    try {
      const name = `@softpack/${system}-${arch}`;
      require(name);
      return require(`${name}/package.json`).version === version;
    } catch {
      return false;
    }
  });
}

/** npm names its own node-gyp to scripts; by hand, the one inside the npm beside this Node.js, or one on PATH. */
function findNodeGyp() {
  const candidates = [
    process.env.npm_config_node_gyp,
    path.join(prefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js'),
    path.join(
      path.dirname(process.execPath),
      'node_modules/npm/node_modules/node-gyp/bin/node-gyp.js',
    ),
    resolveLocal('node-gyp/bin/node-gyp.js'),
  ];
  return candidates.find((file) => file !== undefined && existsSync(file));
}

function resolveLocal(file) {
  try {
    return createRequire(import.meta.url).resolve(file);
  } catch {
    return undefined;
  }
}

function run(nodeGyp) {
  const args = [nodeGyp, 'rebuild', '--jobs=max'];
  // Headers that came with this Node.js spare node-gyp its download.
  if (existsSync(path.join(prefix, 'include/node/node_api.h'))) args.push(`--nodedir=${prefix}`);
  return spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28 });
}

function explain(result) {
  const output =
    result === undefined ? 'no node-gyp was found' : `${result.stdout}\n${result.stderr}`;
  writeFileSync(logFile, output);
  const errors = output.split('\n').filter((line) => /error|ERR!|not found/i.test(line));
  const shown = (errors.length === 0 ? output.split('\n').slice(-5) : errors).slice(0, 5);
  return [
    'softpack: the native addon could not be built; the slower TypeScript kernels will be used.',
    ...shown.map((line) => `  ${line}`),
    `  Full log: ${logFile}`,
    '  It needs Python 3, make and a C++17 compiler (Debian, Ubuntu: apt install python3 make g++).',
    '  Then type: npx softpack doctor --build   (in a checkout: node scripts/build-addon.mjs)',
  ].join('\n');
}
