import { expect, test } from 'vitest';
import { childEnvironment } from '#src/core/child-environment.js';

test('programs get the variables that they need', () => {
  const needed = {
    ...{ PATH: '/bin', HOME: '/home/me', https_proxy: 'http://proxy', LC_ALL: 'C' },
    ...{
      PIP_INDEX_URL: 'x',
      npm_config_registry: 'y',
      CXX: 'clang++',
      TF_NUM_INTRAOP_THREADS: '1',
    },
    ...{ LD_LIBRARY_PATH: '/lib', CUDA_VISIBLE_DEVICES: '0', SOFTPACK_ISA: 'avx2' },
  };
  expect(childEnvironment(needed)).toEqual(needed);
});

test('credentials and what would run code in them stay here', () => {
  const kept = {
    ...{ AWS_SECRET_ACCESS_KEY: 'x', GITHUB_TOKEN: 'x', HF_TOKEN: 'x', DATABASE_URL: 'x' },
    ...{ NODE_OPTIONS: '--require ./x.js', LD_PRELOAD: 'x.so', PYTHONPATH: '.', BASH_ENV: 'x' },
  };
  expect(childEnvironment({ ...kept, PATH: '/bin' })).toEqual({ PATH: '/bin' });
});
