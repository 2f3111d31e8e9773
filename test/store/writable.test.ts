import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openWritableStore } from '#src/container/writable-folder.js';
import { s3WritableStore } from '#src/store/s3-writer.js';
import { temporaryDirectory } from '../temporary.js';
import { MemoryBucket } from './memory-s3.js';
import { CONTRACT, contentOf } from './writable-contract.js';

const temporary = await temporaryDirectory();
const FAST = { region: 'x', retries: 3, backoffMs: 1 };
const bucketStore = (bucket: MemoryBucket) =>
  s3WritableStore('s3://bucket/some/prefix', FAST, async () => bucket.sdk);

describe.each([
  ['a folder', () => openWritableStore(temporary.path('new/folder'))],
  ['a bucket in memory', () => bucketStore(new MemoryBucket())],
] as const)('%s', async (_, open) => {
  const store = await open();
  test.each(Object.entries(CONTRACT))('%s', (_name, hold) => hold(store));
});

test('a folder lists files that are whole, and nothing else', async () => {
  const folder = temporary.path('mixed');
  await mkdir(join(folder, 'inner'), { recursive: true });
  await writeFile(join(folder, 'whole'), 'x');
  await writeFile(join(folder, 'whole.tmp-0123456789abcdef'), 'x');
  const store = await openWritableStore(folder);
  expect(await store.list()).toEqual(['whole']);
  await store.putIfAbsent('other', Uint8Array.of(1));
  expect((await readdir(folder)).length).toBe(4);
});

test('a writer that comes second is told so though what it writes is swept away meanwhile', async () => {
  const folder = temporary.path('swept');
  const store = await openWritableStore(folder);
  await store.put('a', Uint8Array.of(1));
  let writing = true;
  const bytes = new Uint8Array(2 ** 20);
  const late = Promise.all(Array.from({ length: 32 }, () => store.putIfAbsent('a', bytes)));
  const ended = late.finally(() => {
    writing = false;
  });
  ended.catch(() => undefined);
  while (writing) await store.sweep?.(['a']);
  expect(await ended).toEqual(new Array(32).fill(false));
  expect(await readdir(folder)).toEqual(['a']);
});

test('web servers are refused', async () => {
  const open = openWritableStore('https://user:secret@host/x');
  await expect(open).rejects.toMatchObject({ code: 'UNSUPPORTED', found: 'https://' });
});

describe('a bucket', () => {
  test('is listed page by page, without what lies deeper', async () => {
    const bucket = new MemoryBucket();
    const store = await bucketStore(bucket);
    for (let i = 0; i < 5; i++) await store.put(`f${i}`, Uint8Array.of(i));
    const other = await s3WritableStore(
      's3://bucket/some/prefix/deeper',
      FAST,
      async () => bucket.sdk,
    );
    await other.put('x', Uint8Array.of(1));
    expect(await store.list()).toEqual(['f0', 'f1', 'f2', 'f3', 'f4']);
  });

  test('whose server ignores conditions is refused before anything is written', async () => {
    const bucket = new MemoryBucket();
    bucket.ignoresConditions = true;
    const store = await bucketStore(bucket);
    const claim = store.putIfAbsent('claim', Uint8Array.of(1));
    await expect(claim).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(bucket.objects.size).toBe(0);
  });

  test('is probed once', async () => {
    const bucket = new MemoryBucket();
    const store = await bucketStore(bucket);
    for (let i = 0; i < 3; i++) await store.putIfAbsent(`f${i}`, Uint8Array.of(i));
    expect(bucket.asked.filter((kind) => kind === 'Put').length).toBe(5);
    expect(bucket.objects.size).toBe(3);
  });

  test('whose answer to the first writer is lost tells it that it was first', async () => {
    const bucket = new MemoryBucket();
    const store = await bucketStore(bucket);
    await store.putIfAbsent('probed', Uint8Array.of(0));
    let lost = 0;
    bucket.fault = (kind, when) => {
      if (kind === 'Put' && when === 'after' && lost++ === 0) {
        throw Object.assign(new Error('reset'), { code: 'ECONNRESET' });
      }
    };
    expect(await store.putIfAbsent('claim', Uint8Array.of(7))).toBe(true);
    expect(await store.putIfAbsent('claim', Uint8Array.of(8))).toBe(false);
    expect(await contentOf(store, 'claim')).toEqual(Buffer.of(7));
  });

  test('answers that fail are asked for again, conflicts too; others are told', async () => {
    const bucket = new MemoryBucket();
    const store = await bucketStore(bucket);
    const answers = [503, 409, 500];
    bucket.fault = (_, when) => {
      const status = when === 'before' ? answers.shift() : undefined;
      if (status === undefined) return;
      throw Object.assign(new Error('x'), { $metadata: { httpStatusCode: status } });
    };
    await store.put('file', Uint8Array.of(1));
    expect(bucket.asked).toEqual(['Put', 'Put', 'Put', 'Put']);
    answers.push(403);
    const denied = store.put('file', Uint8Array.of(1));
    await expect(denied).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
  });
});
