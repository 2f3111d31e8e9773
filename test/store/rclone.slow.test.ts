import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWritableStore } from '#src/container/writable-folder.js';
import { temporaryDirectory } from '../temporary.js';
import { startRclone, stopServer } from './servers.js';

const directory = await temporaryDirectory();
let missing: string | undefined;
let server: ChildProcess | undefined;
let endpoint = '';

beforeAll(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'test';
  process.env.AWS_SECRET_ACCESS_KEY = 'testtest';
  const sdk = '@aws-sdk/client-s3';
  try {
    await import(sdk);
    ({ endpoint, process: server } = await startRclone(directory.path('data')));
  } catch (error) {
    missing = `rclone or the AWS SDK cannot be installed or started here: ${error}`;
  }
}, 180_000);
afterAll(() => stopServer(server));

it('a server that ignores conditions and ranges is refused where it matters', async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  const store = await openWritableStore('s3://bucket/prefix', { s3: { endpoint, retries: 1 } });
  await store.put('file', Uint8Array.of(1, 2));
  const claim = store.putIfAbsent('claim', Uint8Array.of(1));
  await expect(claim).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await expect(store.open('file')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  expect(await store.list()).toEqual(['file']);
  await store.delete('file');
  expect(await store.list()).toEqual([]);
});
