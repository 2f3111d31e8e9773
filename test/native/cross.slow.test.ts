import { spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { findZig } from '../../scripts/zig.mjs';
import { BUILD_TIMEOUT, cached, missingTools, root, run } from '../cuda/build.js';

const QEMU = ['qemu-aarch64-static', 'qemu-aarch64'];

function found(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

const zig = findZig();
const lacking = missingTools() ?? (zig === undefined ? 'no zig: pip install ziglang' : undefined);

/** The program of the kernels' own tests, compiled by clang for a target, with every warning an error. */
function compiled(target: string): string {
  const folder = cached(`strict-${target}`, ['native', 'test/native', 'CMakeLists.txt'], (out) => {
    const build = path.join(out, 'build');
    const compiler = [...(zig ?? []), 'c++', '-target', target].join(';');
    run('cmake', [
      ...['-S', root, '-B', build, '-DCMAKE_SYSTEM_NAME=Linux', '-DSOFTPACK_STRICT=ON'],
      ...[`-DCMAKE_CXX_COMPILER=${compiler}`, '-DCMAKE_EXE_LINKER_FLAGS=-static'],
    ]);
    run('cmake', ['--build', build, '--target', 'softpack_kernels_test', '--parallel', '2']);
    cpSync(path.join(build, 'test/native/softpack_kernels_test'), path.join(out, 'test'));
  });
  return path.join(folder, 'test');
}

describe('the kernels, compiled by clang without a warning', () => {
  it(
    'give equal bytes on every instruction set of x86',
    ({ skip }) => {
      if (lacking !== undefined) skip(lacking);
      if (process.arch !== 'x64') skip('no x86 processor');
      expect(run(compiled('x86_64-linux-musl'), [])).toMatch(/^done: scalar$[\s\S]*^0 failed$/m);
    },
    BUILD_TIMEOUT,
  );

  it(
    'give equal bytes with the vectors of arm64',
    ({ skip }) => {
      if (lacking !== undefined) skip(lacking);
      const emulator = process.arch === 'arm64' ? [] : QEMU.filter(found).slice(0, 1);
      if (process.arch !== 'arm64' && emulator.length === 0) skip(`no ${QEMU.join(' or ')}`);
      const [program = '', ...args] = [...emulator, compiled('aarch64-linux-musl')];
      expect(run(program, args)).toMatch(/^done: neon$[\s\S]*^0 failed$/m);
    },
    BUILD_TIMEOUT,
  );
});
