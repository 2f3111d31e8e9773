import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms } from './build.js';

const lacking = missingTools();
if (lacking !== undefined) console.log(`skipped: the emulated CUDA kernels (${lacking})`);

describe.skipIf(lacking !== undefined)('the CUDA kernels, emulated', () => {
  let programs = '';
  beforeAll(() => {
    programs = nativeTestPrograms();
  }, BUILD_TIMEOUT);

  /** What native_cuda_check says of an emulated device, if nothing fails. */
  function check(emulation: string, ...options: string[]): string {
    const { stdout, stderr, status } = spawnSync(
      path.join(programs, 'native_cuda_check'),
      [path.join(programs, 'softpack_cuda_emulated.so'), ...options],
      { encoding: 'utf8', env: { ...process.env, SOFTPACK_EMULATION: emulation } },
    );
    expect(stderr).toBe('');
    expect(stdout).toMatch(/\n\d{3,} checks, 0 failed/);
    expect(status).toBe(0);
    return stdout;
  }

  it(
    'pass every case of native_cuda_check',
    () => {
      expect(check('ready')).toMatch(/\d{4,} checks, 0 failed/);
    },
    BUILD_TIMEOUT,
  );

  it('pass it where tensor cores round as much as the bounds allow', () => {
    check('ready,coarse:1', '--brief');
  });

  it.each(['80', '75'])(
    'use no instruction that their image lacks, on a device that has it: PTX %s on Blackwell',
    (image) => {
      const output = check(`blackwell,image:${image}`, '--brief');
      expect(output).toMatch(/compute capability 12\.0/);
      expect(output).toMatch(/skipped: version 2 of tables/);
    },
  );

  it('leave version 2 of bfloat to images that have its instructions', () => {
    expect(check('ready,plain:1', '--brief')).toMatch(/skipped: version 2 of bfloat/);
  });
});
