// Builds the native addon: by the C++ compiler alone with the headers of node-api-headers, on Windows by node-gyp. Run by npm
// when the package is installed, by `softpack doctor --build`, or by hand. CXX, CXXFLAGS and LDFLAGS are obeyed.
//
// As an install script it does nothing if the package of the platform brought an addon of this version.
//
// A failure does not fail the install: softpack then runs on its TypeScript kernels, slower, and says so. With
// SOFTPACK_REQUIRE_ADDON=1 it does fail, for continuous integration.
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileAddon } from './compile-addon.mjs';
import { runNodeGyp } from './node-gyp.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const logFile = path.join(root, 'build-addon.log');
const onWindows = process.platform === 'win32';

const installing =
  process.env.npm_lifecycle_event === 'install' &&
  process.env.npm_config_build_from_source !== 'true';
if (!(installing && hasPrebuilt())) await build();

async function build() {
  try {
    await (onWindows ? runNodeGyp(root) : compileAddon(root));
    rmSync(logFile, { force: true });
  } catch (error) {
    console.error(explain(error.message));
    process.exitCode = process.env.SOFTPACK_REQUIRE_ADDON === '1' ? 1 : 0;
  }
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

function explain(output) {
  const errors = output.split('\n').filter((line) => /error|ERR!|not found/i.test(line));
  const shown = (errors.length === 0 ? output.split('\n').slice(-5) : errors).slice(0, 5);
  const needed = onWindows
    ? 'It needs Python 3 and Visual Studio with C++.'
    : 'It needs a C++17 compiler and nothing else (Debian, Ubuntu: apt install g++; Alpine: apk add g++).';
  return [
    'softpack: the native addon could not be built; the slower TypeScript kernels will be used.',
    ...shown.map((line) => `  ${line}`),
    `  ${writeLog(output)}`,
    `  ${needed}`,
    '  Then type: npx softpack doctor --build   (in a checkout: node scripts/build-addon.mjs)',
  ].join('\n');
}

/** Says where the log is; a package folder that others own takes none, and that must not hide why the build failed. */
function writeLog(output) {
  try {
    writeFileSync(logFile, output);
    return `Full log: ${logFile}`;
  } catch (error) {
    return `No log was written: ${error.message}`;
  }
}
