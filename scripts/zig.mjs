import { spawnSync } from 'node:child_process';

/** The command of zig, which has a C++ compiler and the headers of every libc; undefined without one (pip install ziglang). */
export function findZig() {
  const python = process.env.SOFTPACK_PYTHON || 'python3';
  return [['zig'], [python, '-m', 'ziglang']].find(([program, ...args]) => {
    return spawnSync(program, [...args, 'version'], { stdio: 'ignore' }).status === 0;
  });
}
