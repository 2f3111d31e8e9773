import path from 'node:path';
import { expect, it } from 'vitest';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms, run } from '../cuda/build.js';

const lacking = missingTools();

it(
  'the C++ kernels pass their own tests, without Node.js',
  ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const output = run(path.join(nativeTestPrograms(), 'softpack_kernels_test'), []);
    expect(output.trim().split('\n').at(-1)).toBe('0 failed');
    for (const [line] of output.matchAll(/^skipped: .*$/gm)) console.log(line);
  },
  BUILD_TIMEOUT,
);
