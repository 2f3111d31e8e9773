import { spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { BUILD_TIMEOUT, cached, missingTools, root, run } from '../cuda/build.js';
import { temporaryDirectory } from '../temporary.js';

/** The newest first: what the plain name is may be older, and lack the linker. */
const CLANG = [...[21, 20, 19, 18, 17, 16].map((version) => `clang++-${version}`), 'clang++'];
const QEMU = ['qemu-aarch64-static', 'qemu-aarch64'];

function found(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

const clang = CLANG.find(found);
const lacking = missingTools() ?? (clang === undefined ? 'no clang++' : undefined);

/** Why programs for a target cannot be linked here; undefined if they can. */
async function lackingFor(target: string): Promise<string | undefined> {
  const out = (await temporaryDirectory()).path('program');
  const args = ['-target', target, '-fuse-ld=lld', '-static', '-x', 'c++', '-', '-o', out];
  const input = '#include <vector>\nint main() { return std::vector<int>(1)[0]; }\n';
  return spawnSync(clang ?? '', args, { input }).status === 0
    ? undefined
    : `no lld, or no C++ library for ${target} (on Debian: lld, libstdc++-12-dev-arm64-cross)`;
}

/** The program of the kernels' own tests, compiled by clang for a target, with every warning an error. */
function compiled(target: string): string {
  const folder = cached(`strict-${target}`, ['native', 'test/native', 'CMakeLists.txt'], (out) => {
    const build = path.join(out, 'build');
    run('cmake', [
      ...['-S', root, '-B', build, '-DCMAKE_SYSTEM_NAME=Linux', '-DSOFTPACK_STRICT=ON'],
      ...[`-DCMAKE_CXX_COMPILER=${clang}`, `-DCMAKE_CXX_COMPILER_TARGET=${target}`],
      // GCC's std::stable_sort calls what its headers call deprecated.
      '-DCMAKE_CXX_FLAGS=-Wno-error=deprecated-declarations',
      '-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld -static',
    ]);
    run('cmake', ['--build', build, '--target', 'softpack_kernels_test', '--parallel', '2']);
    cpSync(path.join(build, 'test/native/softpack_kernels_test'), path.join(out, 'test'));
  });
  return path.join(folder, 'test');
}

describe('the kernels, compiled by clang without a warning', () => {
  it(
    'give equal bytes on every instruction set of x86',
    async ({ skip }) => {
      if (process.arch !== 'x64') skip('no x86 processor');
      const target = 'x86_64-linux-gnu';
      const reason = lacking ?? (await lackingFor(target));
      if (reason !== undefined) skip(reason);
      expect(run(compiled(target), [])).toMatch(/^done: scalar$[\s\S]*^0 failed$/m);
    },
    BUILD_TIMEOUT,
  );

  it(
    'give equal bytes with the vectors of arm64',
    async ({ skip }) => {
      const target = 'aarch64-linux-gnu';
      const reason = lacking ?? (await lackingFor(target));
      if (reason !== undefined) skip(reason);
      const emulator = process.arch === 'arm64' ? [] : QEMU.filter(found).slice(0, 1);
      if (process.arch !== 'arm64' && emulator.length === 0) skip(`no ${QEMU.join(' or ')}`);
      // Emulated, the scalar kernels would be most of the time; the vectors are compared with them.
      const [program = '', ...args] = [...emulator, compiled(target), 'neon'];
      expect(run(program, args)).toMatch(/^done: neon$[\s\S]*^0 failed$/m);
    },
    BUILD_TIMEOUT,
  );
});
