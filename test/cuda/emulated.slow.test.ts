import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms } from './build.js';

const lacking = missingTools();

it(
  'the emulated CUDA kernels pass every case of native_cuda_check',
  ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const programs = nativeTestPrograms();
    const { stdout, stderr, status } = spawnSync(
      path.join(programs, 'native_cuda_check'),
      [path.join(programs, 'softpack_cuda_emulated.so')],
      { encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    expect(stdout).toMatch(/\d{4,} checks, 0 failed/);
    expect(status).toBe(0);
  },
  BUILD_TIMEOUT,
);
