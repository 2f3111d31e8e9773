import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms } from './build.js';

const lacking = missingTools();
if (lacking !== undefined) console.log(`skipped: races of the CUDA kernels (${lacking})`);

// Each emulated thread is one to the thread sanitizer; only barriers, shuffles and the ends of launches order them.
describe.skipIf(lacking !== undefined)('the thread sanitizer', () => {
  let programs = '';
  beforeAll(() => {
    programs = nativeTestPrograms('thread');
  }, BUILD_TIMEOUT);

  const watched = (program: string, ...args: string[]) =>
    spawnSync(path.join(programs, program), args, { encoding: 'utf8' });

  it('objects to a missing barrier and to two blocks that write one element', () => {
    for (const fault of ['race', 'block-race']) {
      const { stderr, status } = watched('cuda_emulation_test', fault);
      expect(stderr).toMatch(/WARNING: ThreadSanitizer: data race/);
      expect(status).toBe(66);
    }
    expect(watched('cuda_emulation_test').status).toBe(0);
  });

  it(
    'finds no race in any kernel',
    () => {
      const module = path.join(programs, 'softpack_cuda_emulated.so');
      const { stdout, stderr, status } = watched('native_cuda_check', module, '--brief');
      expect(stderr).toBe('');
      expect(stdout).toMatch(/\d{3,} checks, 0 failed/);
      expect(status).toBe(0);
    },
    BUILD_TIMEOUT,
  );
});
