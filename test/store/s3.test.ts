import { readdirSync, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openArchive } from '#src/pipeline/open-archive.js';
import { parseS3Address, type S3Options, type S3Sdk, s3Store } from '#src/store/s3.js';
import { noise } from './web-server.js';

interface Input {
  readonly Bucket: string;
  readonly Key: string;
  readonly Range?: string;
  readonly IfMatch?: string;
  readonly RequestPayer?: string;
}

class Command {
  readonly input: Input;
  constructor(input: object) {
    this.input = input as Input;
  }
}
class GetObjectCommand extends Command {}
class HeadObjectCommand extends Command {}

/** What the SDK throws: a name, and metadata with the status. */
const failure = (name: string, status?: number, headers = {}) =>
  Object.assign(new Error(name), {
    name,
    $metadata: { httpStatusCode: status },
    $response: { headers },
  });

/** An SDK at the same interface whose bucket is in memory. `change` may alter answers, or throw. */
function bucketOf(
  objects: ReadonlyMap<string, Uint8Array>,
  change: (output: Record<string, unknown>, input: Input, index: number) => unknown = (o) => o,
) {
  const inputs: Input[] = [];
  const configs: object[] = [];
  const sdk: S3Sdk = {
    GetObjectCommand,
    HeadObjectCommand,
    S3Client: class {
      constructor(config: object) {
        configs.push(config);
      }
      async send(command: object) {
        const { input } = command as Command;
        const bytes = objects.get(input.Key);
        if (bytes === undefined) throw failure('NoSuchKey', 404);
        const ETag = '"tag"';
        if (command instanceof HeadObjectCommand) return { ETag, ContentLength: bytes.length };
        inputs.push(input);
        if (input.IfMatch !== undefined && input.IfMatch !== ETag) {
          throw failure('PreconditionFailed', 412);
        }
        const [, first, to] = (/^bytes=(\d+)-(\d+)$/.exec(input.Range ?? '') ?? []).map(Number);
        if (first >= bytes.length) throw failure('InvalidRange', 416);
        const last = Math.min(to, bytes.length - 1);
        const output = {
          $metadata: { httpStatusCode: 206 },
          ETag,
          ContentRange: `bytes ${first}-${last}/${bytes.length}`,
          ContentLength: last - first + 1,
          Body: Readable.from([Buffer.from(bytes.subarray(first, last + 1))]),
        };
        return change(output, input, inputs.length - 1);
      }
    },
  };
  return { sdk, inputs, configs };
}

const FILE = noise(200_000);
const OBJECTS = new Map([
  ['some/prefix/file', FILE],
  ['some/prefix/empty', new Uint8Array(0)],
]);

async function read(sdk: S3Sdk, options: S3Options = {}): Promise<Uint8Array> {
  const fast = { backoffMs: 1, retries: 3, ...options };
  const store = await s3Store('s3://bucket/some/prefix/', fast, async () => sdk);
  const file = await store.open('file');
  const into = new Uint8Array(100_000);
  await file.read(50_000, into);
  return into;
}
const WANTED = FILE.subarray(50_000, 150_000);

it('opens archives in a bucket', async () => {
  const folder = fileURLToPath(new URL('../golden/archives/topk', import.meta.url));
  const files = readdirSync(folder).map(
    (name) => [name, readFileSync(`${folder}/${name}`)] as const,
  );
  const { sdk, configs } = bucketOf(new Map(files));
  await using local = await openArchive(folder);
  await using remote = await openArchive(await s3Store('s3://bucket', {}, async () => sdk));
  expect(await remote.readRow(1)).toEqual(await local.readRow(1));
  expect(configs).toMatchObject([{ forcePathStyle: false, maxAttempts: 1 }]);
  expect(remote.fileOf(0)).toMatch(/^s3:\/\/bucket\/codes-/);
});

it('pins the version, pays if told to, and takes an endpoint', async () => {
  const { sdk, inputs, configs } = bucketOf(OBJECTS);
  const options = { endpoint: 'http://127.0.0.1:1', requesterPays: true, region: 'eu-north-1' };
  expect(Buffer.compare(await read(sdk, options), WANTED)).toBe(0);
  expect(inputs).toEqual([
    {
      Bucket: 'bucket',
      Key: 'some/prefix/file',
      Range: 'bytes=0-32767',
      RequestPayer: 'requester',
    },
    {
      Bucket: 'bucket',
      Key: 'some/prefix/file',
      Range: 'bytes=50000-149999',
      IfMatch: '"tag"',
      RequestPayer: 'requester',
    },
  ]);
  const { endpoint, region } = options;
  expect(configs).toMatchObject([{ endpoint, region, forcePathStyle: true }]);
  const store = await s3Store('s3://bucket/some/prefix', {}, async () => sdk);
  expect((await store.open('empty')).size).toBe(0);
});

it('goes on after failures that pass, also of bodies that break off', async () => {
  const broken = () =>
    Readable.from(
      (async function* () {
        yield Buffer.from(WANTED.subarray(0, 30_000));
        throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
      })(),
    );
  const { sdk, inputs } = bucketOf(OBJECTS, (output, _, index) => {
    if (index === 0 || index === 2) throw failure('SlowDown', 503, { 'retry-after': '0' });
    if (index === 3) return { ...output, Body: broken() };
    return output;
  });
  expect(Buffer.compare(await read(sdk), WANTED)).toBe(0);
  expect(inputs.at(-1)?.Range).toBe('bytes=80000-149999');
});

it.each([
  ['404', () => failure('NoSuchKey', 404), 'NOT_FOUND'],
  ['403', () => failure('AccessDenied', 403), 'PERMISSION_DENIED'],
  ['412', () => failure('PreconditionFailed', 412), 'CHANGED'],
  ['416', () => failure('InvalidRange', 416), 'CHANGED'],
  ['301', () => failure('PermanentRedirect', 301), 'NETWORK_FAILED'],
  ['400', () => failure('BadRequest', 400), 'NETWORK_FAILED'],
  ['500', () => failure('InternalError', 500), 'NETWORK_FAILED'],
  ['no credentials', () => failure('CredentialsProviderError'), 'PERMISSION_DENIED'],
  ['no region', () => new Error('Region is missing'), 'INVALID_ARGUMENT'],
  ['no host', () => Object.assign(new Error('x'), { code: 'ENOTFOUND' }), 'NETWORK_FAILED'],
  ['something else', () => new TypeError('who knows'), 'NETWORK_FAILED'],
])('gives a typed error: %s', async (_, error, code) => {
  const { sdk } = bucketOf(OBJECTS, (output, __, index) => {
    if (index > 0) throw error();
    return output;
  });
  await expect(read(sdk)).rejects.toMatchObject({ name: 'SoftpackError', code });
});

it.each([
  ['200 for a range', { $metadata: { httpStatusCode: 200 } }, 'UNSUPPORTED'],
  ['another range', { ContentRange: 'bytes 50001-150000/200000' }, 'NETWORK_FAILED'],
  ['another size', { ContentRange: 'bytes 50000-149999/200001' }, 'CHANGED'],
  ['another tag', { ETag: '"other"' }, 'CHANGED'],
  ['another length', { ContentLength: 99_999 }, 'NETWORK_FAILED'],
  ['compressed ranges', { ContentEncoding: 'gzip' }, 'UNSUPPORTED'],
  ['a short body', { Body: Readable.from([Buffer.alloc(10)]) }, 'NETWORK_FAILED'],
])('refuses %s', async (_, change, code) => {
  const { sdk } = bucketOf(OBJECTS, (output, __, index) =>
    index > 0 ? { ...output, ...change } : output,
  );
  await expect(read(sdk, { retries: 0 })).rejects.toMatchObject({ name: 'SoftpackError', code });
});

it('takes no notice of how an object was uploaded', async () => {
  const { sdk } = bucketOf(OBJECTS, (output) => ({ ...output, ContentEncoding: 'aws-chunked' }));
  expect(Buffer.compare(await read(sdk), WANTED)).toBe(0);
});

it('takes addresses of buckets only', () => {
  expect(parseS3Address('s3://my.bucket-1')).toEqual({ bucket: 'my.bucket-1', prefix: '' });
  expect(parseS3Address('S3://bucket//a/b//')).toEqual({ bucket: 'bucket', prefix: 'a/b' });
  for (const bad of ['s3://', 's3:///a', 's3://UPPER/a', 's3://a', 's3://me:pw@bucket/a']) {
    expect(() => parseS3Address(bad), bad).toThrow(/not the address of a bucket/);
  }
});
