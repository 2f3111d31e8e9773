import { register } from 'node:module';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

/** Optional packages that are not there, in a process that cannot import them. */

const hook = `export const resolve = (name, context, next) => {
  if (['@aws-sdk/client-s3', 'ioredis', 'pg'].includes(name)) {
    throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
  }
  // Anything that loads stands for it: the driver is asked for after it.
  if (name === 'bullmq') return next('node:path', context);
  return next(name, context);
};`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const directory = await temporaryDirectory();

it.each([
  [['inspect', 's3://bucket/labels'], '@aws-sdk/client-s3'],
  [['cache', 'status', 's3://bucket/labels'], '@aws-sdk/client-s3'],
  [
    ['cache', 'work', directory.path('job'), '--queue', 'postgres://user:secret@127.0.0.1:1/db'],
    'pg',
  ],
  [['cache', 'work', directory.path('job'), '--queue', 'redis://127.0.0.1:1'], 'ioredis'],
])('softpack %j without %s says what to type', async (args, name) => {
  const { code, out, err } = await softpack(args);
  expect(code).not.toBe(0);
  expect(out).toBe('');
  expect(err).toContain(`npm install ${name} [TOOL_MISSING]\n`);
  expect(err).not.toContain('secret');
  expect(err.trimEnd().split('\n').length, err).toBeLessThan(3);
});
