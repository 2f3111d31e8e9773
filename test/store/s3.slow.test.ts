import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWritableStore } from '#src/container/writable-folder.js';
import { copyArchive } from '#src/pipeline/copy.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { openStore } from '#src/store/open-store.js';
import { temporaryDirectory } from '../temporary.js';
import { startSeaweed, stopServer } from './servers.js';
import { noise, WebServer } from './web-server.js';
import { CONTRACT } from './writable-contract.js';

const directory = await temporaryDirectory();
const FILE = noise(20 * 2 ** 20 + 17);
const BUCKET = 'softpack-test';

interface Client {
  send(command: object): Promise<unknown>;
}
interface Sdk {
  readonly S3Client: new (config: object) => Client;
  readonly CreateBucketCommand: new (input: object) => object;
  readonly PutObjectCommand: new (input: object) => object;
}

let missing: string | undefined;
let server: ChildProcess | undefined;
let endpoint = '';
let client: Client | undefined;
let sdk: Sdk | undefined;

beforeAll(async () => {
  const name = '@aws-sdk/client-s3';
  sdk = await import(name).catch(() => undefined);
  if (sdk === undefined) {
    missing = `${name} is not installed`;
    return;
  }
  process.env.AWS_ACCESS_KEY_ID = 'test';
  process.env.AWS_SECRET_ACCESS_KEY = 'testtest';
  try {
    ({ endpoint, process: server } = await startSeaweed(directory.path('data')));
  } catch (error) {
    missing = `SeaweedFS cannot be installed or started here: ${error}`;
    return;
  }
  client = new sdk.S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true });
  await client.send(new sdk.CreateBucketCommand({ Bucket: BUCKET }));
}, 180_000);
afterAll(() => stopServer(server));

async function put(key: string, body: Uint8Array): Promise<void> {
  if (client === undefined || sdk === undefined) throw new Error(missing);
  await client.send(new sdk.PutObjectCommand({ Bucket: BUCKET, Key: key, Body: body }));
}

it('reads an archive and ranges of a large object from SeaweedFS', async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  const folder = fileURLToPath(new URL('../golden/archives/vqae', import.meta.url));
  for (const name of readdirSync(folder))
    await put(`a/b/${name}`, readFileSync(join(folder, name)));
  await put('a/b/large', FILE);
  await put('a/b/empty', new Uint8Array(0));
  const cache = { folder: directory.path('cache'), bytes: 2 ** 28 };
  const store = await openStore(`s3://${BUCKET}/a/b`, { s3: { endpoint }, cache });
  await using local = await openArchive(folder);
  await using remote = await openArchive(store);
  for (let epoch = 0; epoch < local.epochs; epoch++) {
    expect(await remote.readRow(epoch)).toEqual(await local.readRow(epoch));
  }
  const large = await store.open('large');
  for (const [offset, length] of [
    [0, FILE.length],
    [FILE.length - 1, 1],
    [9_999_999, 3],
  ] as const) {
    const into = Buffer.alloc(length);
    await large.read(offset, into, { fresh: true });
    expect(into.compare(FILE.subarray(offset, offset + length))).toBe(0);
  }
  expect((await store.open('empty')).size).toBe(0);
  await expect(store.open('none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

for (const [what, hold] of Object.entries(CONTRACT)) {
  it(`as a store to write to: ${what}`, async ({ skip }) => {
    if (missing !== undefined) skip(missing);
    await hold(await openWritableStore(`s3://${BUCKET}/written`, { s3: { endpoint } }));
  }, 60_000);
}

it('takes a copy of an archive, resumed, which is read and copied back', async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  const folder = fileURLToPath(new URL('../golden/archives/vqae', import.meta.url));
  const s3 = { endpoint };
  const to = `s3://${BUCKET}/copies/vqae`;
  const first = await copyArchive(folder, to, { s3 });
  const again = await copyArchive(folder, to, { s3 });
  expect(again.copied).toBeLessThan(first.copied);
  expect(again).toMatchObject({ id: first.id, bytes: first.bytes });
  const back = directory.path('back');
  await copyArchive(to, back, { s3 });
  for (const name of readdirSync(folder)) {
    expect(readFileSync(join(back, name)).equals(readFileSync(join(folder, name)))).toBe(true);
  }
});

it('notices an object that was replaced, and names what it may not read', async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  await put('changing', FILE);
  const options = { s3: { endpoint, retries: 1, backoffMs: 1 }, cache: false } as const;
  const store = await openStore(`s3://${BUCKET}`, options);
  const file = await store.open('changing');
  await put('changing', noise(FILE.length, 5));
  await expect(file.read(10_000_000, new Uint8Array(100))).rejects.toMatchObject({
    code: 'CHANGED',
  });
  process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
  const stranger = await openStore(`s3://${BUCKET}`, options);
  await expect(stranger.open('changing')).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
  process.env.AWS_SECRET_ACCESS_KEY = 'testtest';
});

it('holds the SDK to the rules against a server that misbehaves', async ({ skip }) => {
  if (sdk === undefined) skip(missing);
  const web = await WebServer.start();
  web.files.set('bucket/file', FILE.subarray(0, 500_000));
  const limits = { retries: 4, backoffMs: 1, stallMs: 1000 };
  const read = async () => {
    const options = { s3: { endpoint: web.url, ...limits }, cache: false } as const;
    const store = await openStore('s3://bucket', options);
    const into = Buffer.alloc(300_000);
    await (await store.open('file')).read(100_000, into);
    return into.compare(FILE.subarray(100_000, 400_000));
  };
  expect(await read()).toBe(0);
  web.reset();
  // Storms, bodies that break off, stalls: the bytes come in the end.
  web.misbehave = (asked, response) => {
    const { index, first, last, bytes } = asked;
    if ([0, 1, 3].includes(index)) response.writeHead(503).end();
    else if (index === 4) return true;
    else if (index === 5) {
      const range = `bytes ${first}-${last}/${bytes.length}`;
      response.writeHead(206, { etag: '"one"', 'content-range': range });
      response.write(bytes.subarray(first, first + 1000), () => response.destroy());
    } else return false;
    return true;
  };
  expect(await read()).toBe(0);
  expect(web.asked.length).toBe(7);
  for (const [headers, code] of [
    [{ etag: '"two"' }, 'CHANGED'],
    [{ 'content-range': 'bytes 100001-400000/500000' }, 'NETWORK_FAILED'],
  ] as const) {
    web.reset();
    web.misbehave = (asked, response) => {
      if (asked.index === 0) return false;
      web.range(asked, response, headers);
      return true;
    };
    await expect(read()).rejects.toMatchObject({ code });
  }
});
