import { readdir, readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks } from '#src/core/blocks.js';
import { openStore } from '#src/store/open-store.js';
import { type Misbehaviour, noise, WebServer } from '../store/web-server.js';
import { temporaryDirectory } from '../temporary.js';
import { SMALL } from './fixture.js';

const directory = await temporaryDirectory();
const web = await WebServer.start();
beforeEach(() => web.reset());

const BASE: ArchiveSpec = {
  ...{ classes: 3, epochs: 3, tau: 20, decoding: 'none', samples: 0 },
  codec: { ...SMALL.codec, sampleTensors: new Map() },
  layout: { kind: 'fixed', bitsPerLabel: 360 },
  augmentation: { generator: 'none', seed: 1, mix: { kind: 'none' } },
};

/** Writes an archive and serves it; `bytesOf` a block of an epoch is for the layout `blocks`. */
async function served(
  name: string,
  change: Partial<ArchiveSpec>,
  bytesOf: (epoch: number, block: number) => number = () => 0,
): Promise<string> {
  const spec = { ...BASE, ...change };
  const { layout, samples, epochs } = spec;
  const folder = directory.path(name);
  await using writer = await createArchive(folder, spec);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const codes =
      layout.kind === 'fixed'
        ? noise((samples * layout.bitsPerLabel) / 8, epoch + 1)
        : joinBlocks(
            Array.from({ length: Math.ceil(samples / layout.labelsPerBlock) }, (_, i) =>
              noise(bytesOf(epoch, i), epoch + i + 1),
            ),
          );
    await writer.writeRow(epoch, { codes });
  }
  await writer.finish();
  for (const file of await readdir(folder)) {
    web.files.set(`${name}/${file}`, await readFile(`${folder}/${file}`));
  }
  return folder;
}

/** Requests for shards since the last reset, as first and last byte. */
const asked = () =>
  web.asked.filter(({ path }) => path.includes('codes-')).map(({ first, last }) => [first, last]);

async function rowsEqual(name: string, folder: string, cache: string | false): Promise<void> {
  const options = cache === false ? false : { folder: directory.path(cache), bytes: 2 ** 28 };
  await using local = await openArchive(folder);
  await using remote = await openArchive(await openStore(`${web.url}/${name}`, { cache: options }));
  web.asked.length = 0;
  for (let epoch = 0; epoch < local.epochs; epoch++) {
    const [found, wanted] = [await remote.readRow(epoch), await local.readRow(epoch)];
    expect(Buffer.compare(found, wanted)).toBe(0);
  }
}

describe('a shard is opened by one request', () => {
  test('for its checksums alone, and its row takes one per 8 MiB', async () => {
    const samples = 400_000;
    const folder = await served('wide', { samples, epochs: 1, grid: { epochs: 1, samples } });
    await using remote = await openArchive(await openStore(`${web.url}/wide`, { cache: false }));
    web.asked.length = 0;
    await remote.readRow(0);
    // 18,000,000 bytes: what is near the checksums comes with them, then three requests at a time.
    expect(asked().length).toBe(4);
    const [[first, last]] = asked() as [[number, number]];
    expect(last - first + 1).toBe(32_768);
    expect(last).toBe(Math.max(...asked().map(([, end = 0]) => end)));
    await rowsEqual('wide', folder, false);
  });

  test.each([
    ['small', 3_000, 1],
    ['of some MB', 90_000, 1],
    ['of some MB, tall', 30_000, 3],
  ])('with labels of any size: %s', async (name, samples, epochs) => {
    const change = {
      ...{ samples, grid: { epochs, samples: 24_000 } },
      layout: { kind: 'blocks', labelsPerBlock: 8 } as const,
    };
    const folder = await served(name, change, (epoch, i) => (epoch * 31 + i * 17) % 1201);
    await rowsEqual(name, folder, false);
    const shards = (await readdir(folder)).filter((file) => file.startsWith('codes-'));
    const firsts = web.asked.filter(({ headers }) => headers['if-match'] === undefined);
    const opened = firsts.filter(({ path }) => path.includes('codes-'));
    expect(opened.length).toBe(shards.length);
    // Each opening holds header and offsets: the other requests are for codes, one a shard and epoch at most.
    expect(asked().length).toBeLessThanOrEqual(shards.length * (1 + epochs));
    expect(
      web.asked.some(
        ({ path, first, last }) => path.includes('codes-') && first === 0 && last < 4096,
      ),
    ).toBe(false);
  });

  test('that asks for a few bytes where a cache keeps the rest, and each of them once', async () => {
    const samples = 90_000;
    const folder = await served('cached', { samples, grid: { epochs: 3, samples: 45_000 } });
    const total = 3 * samples * 45;
    let bytes = 0;
    for (let reader = 0; reader < 4; reader++) {
      await rowsEqual('cached', folder, 'cache');
      bytes += asked().reduce((sum, [first = 0, last = 0]) => sum + last - first + 1, 0);
    }
    expect(bytes).toBeGreaterThanOrEqual(total);
    expect(bytes).toBeLessThan(1.01 * total);
  });
});

test('reads shards of a row at the same time, as many as its limit lets', async () => {
  const folder = await served('narrow', { samples: 32_000, grid: { epochs: 3, samples: 1_000 } });
  let [open, most] = [0, 0];
  web.misbehave = (one, response) => {
    most = Math.max(most, ++open);
    void setTimeout(2).then(() => {
      open--;
      web.range(one, response);
    });
    return true;
  };
  await rowsEqual('narrow', folder, false);
  expect(most).toBeGreaterThan(4);
  expect(most).toBeLessThanOrEqual(8);
});

test('reads the header where it is not the one that it expects, and names files of another size', async () => {
  const folder = await served('changed', { samples: 8_000, grid: { epochs: 3, samples: 8_000 } });
  const name = 'changed/codes-00000.safetensors';
  const bytes = web.files.get(name) as Uint8Array;
  // Without the checksums that came with the opening, nothing proves a header.
  let damaged = 0;
  web.misbehave = (one, response) => {
    if (one.path !== name || damaged > 0) return false;
    damaged++;
    const body = Buffer.from(one.bytes.subarray(one.first, one.last + 1));
    body[body.length - 1] ^= 1;
    web.range(one, response, {}, body);
    return true;
  };
  await rowsEqual('changed', folder, false);
  expect(damaged).toBe(1);
  web.reset();
  for (const size of [bytes.length - 1, 100, 0, bytes.length + 1]) {
    const other = new Uint8Array(size);
    other.set(bytes.subarray(0, size));
    web.files.set(name, other);
    await using remote = await openArchive(await openStore(`${web.url}/changed`, { cache: false }));
    await expect(remote.readRow(0)).rejects.toMatchObject({ code: 'INVALID_FILE', found: size });
  }
});

/** Answers a request for a range in another way: other headers, another body. */
const answer =
  (
    change: (first: number, last: number, size: number) => Readonly<Record<string, string>>,
    bodyOf: (right: Uint8Array) => Uint8Array = (right) => right,
  ): Misbehaviour =>
  (one, response) => {
    const { first, last, bytes } = one;
    const body = bodyOf(bytes.subarray(first, last + 1));
    web.range(one, response, change(first, last, bytes.length), body);
    return true;
  };
const told = (first: number, last: number, size: number) => ({
  'content-range': `bytes ${first}-${last}/${size}`,
});
const status =
  (code: number, headers: Readonly<Record<string, string>> = {}, body = ''): Misbehaviour =>
  (_, response) => {
    response.writeHead(code, headers).end(body);
    return true;
  };

describe('a bad answer to the request that opens a shard is a typed error:', () => {
  const name = 'bad';
  const NONE: Misbehaviour = () => false;
  /** Answers the first request for the shard so, and later ones as `then` does. */
  async function opened(first: Misbehaviour, then: Misbehaviour): Promise<Uint8Array> {
    const http = { retries: 1, backoffMs: 1, stallMs: 500 };
    const store = await openStore(`${web.url}/${name}`, { cache: false, http });
    await using remote = await openArchive(store);
    web.reset();
    let asked = 0;
    web.misbehave = (one, response) =>
      one.path.includes('codes-') && (asked++ === 0 ? first : then)(one, response);
    return remote.readRow(1);
  }
  let folder: string;
  beforeAll(async () => {
    folder = await served(name, { samples: 8_000, grid: { epochs: 3, samples: 8_000 } });
  });

  test.each<readonly [string, Misbehaviour, string, RegExp]>([
    ['200 to a range', status(200, {}, 'all of it'), 'UNSUPPORTED', /does not answer ranges/],
    ['204', status(204), 'NETWORK_FAILED', /unexpected/],
    ['404', status(404), 'NOT_FOUND', /no such file/],
    ['403', status(403), 'PERMISSION_DENIED', /denies/],
    ['412', status(412), 'UNSUPPORTED', /status 412/],
    ['416', status(416), 'UNSUPPORTED', /status 416/],
    ['503', status(503), 'NETWORK_FAILED', /status 503/],
    [
      'the first bytes instead',
      answer((first, last, size) => told(0, last - first, size)),
      'NETWORK_FAILED',
      /another range/,
    ],
    [
      'a shorter range',
      answer((first, last, size) => told(first, last - 1, size)),
      'NETWORK_FAILED',
      /another range/,
    ],
    ['no range', answer(() => ({ 'content-range': '' })), 'NETWORK_FAILED', /which range/],
    [
      'no size',
      answer((a, b) => ({ 'content-range': `bytes ${a}-${b}/*` })),
      'UNSUPPORTED',
      /size/,
    ],
    ['a larger size', answer((a, b, size) => told(a, b, size + 1)), 'INVALID_FILE', /size/],
    ['a size that the range is beyond', answer((a, b) => told(a, b, b)), 'NETWORK_FAILED', /range/],
    ['a huge size', answer((a, b) => told(a, b, Number.MAX_SAFE_INTEGER)), 'INVALID_FILE', /size/],
    [
      'a short body',
      answer(
        () => ({}),
        (right) => right.subarray(1),
      ),
      'NETWORK_FAILED',
      /length of the answer/,
    ],
    [
      'a body that ends early',
      ({ first, last, bytes }, response) => {
        response.writeHead(206, told(first, last, bytes.length)).end(bytes.subarray(first, last));
        return true;
      },
      'NETWORK_FAILED',
      /ends early/,
    ],
    [
      'a body that goes on',
      ({ first, last, bytes }, response) => {
        response.writeHead(206, told(first, last, bytes.length)).end(bytes.subarray(first - 1));
        return true;
      },
      'NETWORK_FAILED',
      /more than/,
    ],
    [
      'compressed bytes',
      answer(
        () => ({ 'content-encoding': 'gzip' }),
        (right) => gzipSync(right),
      ),
      'UNSUPPORTED',
      /compresses/,
    ],
    ['nothing at all', () => true, 'NETWORK_FAILED', /sends nothing/],
  ])('%s', async (_, bad, code, words) => {
    const error = { name: 'SoftpackError', code, message: expect.stringMatching(words) };
    await expect(opened(bad, bad)).rejects.toMatchObject(error);
    // Two attempts of two openings at most.
    expect(asked().length).toBeLessThanOrEqual(4);
  });

  test('unless the next answer is right, where it may pass', async () => {
    await using local = await openArchive(folder);
    const wanted = await local.readRow(1);
    const larger = answer((a, b, size) => told(a, b, size + 1));
    for (const passing of [NONE, status(416), status(503), larger]) {
      expect(Buffer.compare(await opened(passing, NONE), wanted)).toBe(0);
    }
  });

  test('other bytes under the right header, which the hash does not prove', async () => {
    const noised = answer(
      () => ({}),
      (right) => noise(right.length, 5),
    );
    const error = {
      name: 'SoftpackError',
      code: expect.stringMatching(/INVALID_FILE|CORRUPT_DATA/),
    };
    await expect(opened(noised, noised)).rejects.toMatchObject(error);
  });
});
