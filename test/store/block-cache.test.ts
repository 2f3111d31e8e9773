import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { beforeEach, expect, it } from 'vitest';
import { openArchive } from '#src/pipeline/open-archive.js';
import { BlockCache, blockCache } from '#src/store/block-cache.js';
import type { ByteFile } from '#src/store/byte-store.js';
import { coalesced } from '#src/store/coalesce.js';
import { openStore } from '#src/store/open-store.js';
import { readAhead } from '#src/store/read-ahead.js';
import { temporaryDirectory } from '../temporary.js';
import { noise, WebServer } from './web-server.js';

const MIB = 2 ** 20;
const directory = await temporaryDirectory();
const web = await WebServer.start();
beforeEach(() => web.reset());
let folders = 0;
const freshFolder = () => directory.path(`cache-${folders++}`);

/** A file in memory with a version; counts the bytes read. */
function versioned(bytes: Uint8Array, version = 'one') {
  const state = { read: 0 };
  const file: ByteFile = {
    name: 'memory',
    size: bytes.length,
    version,
    async read(offset, into) {
      state.read += into.length;
      await new Promise(setImmediate);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
  return { file, state };
}

async function readAll(file: ByteFile): Promise<Buffer> {
  const into = Buffer.alloc(file.size);
  await file.read(0, into);
  return into;
}

/** Files of a cache folder: path, bytes. */
function filesOf(folder: string): readonly (readonly [string, number])[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return names
    .map((name) => [`${folder}/${name}`, statSync(`${folder}/${name}`)] as const)
    .filter(([, found]) => found.isFile())
    .map(([path, found]) => [path, found.size] as const);
}

const FILE = noise(5 * MIB + 12_345);

it('gives the bytes of direct reads, whatever is read at the same time', async () => {
  const { file, state } = versioned(FILE);
  const folder = freshFolder();
  const read = fc.record({
    offset: fc.integer({ min: 0, max: FILE.length }),
    length: fc.integer({ min: 0, max: 3 * MIB }),
    more: fc.integer({ min: 0, max: 3 * MIB }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(read, { minLength: 1, maxLength: 5 }), async (reads) => {
      // A cache of its own has what the ones before it left on the disk, and nothing else.
      const cache = new BlockCache(folder, 64 * MIB);
      const cached = readAhead(cache.wrap(coalesced(file)));
      const running = reads.map(async ({ offset, length, more }) => {
        const into = Buffer.alloc(Math.min(length, FILE.length - offset));
        await cached.read(offset, into, { until: offset + into.length + more });
        expect(into.compare(FILE.subarray(offset, offset + into.length))).toBe(0);
      });
      await Promise.all(running);
    }),
    { numRuns: 30 },
  );
  expect(state.read).toBeLessThanOrEqual(FILE.length);
});

it('keeps versions apart, and keeps nothing of files without one', async () => {
  const folder = freshFolder();
  const cache = new BlockCache(folder, 64 * MIB);
  const [one, two] = [noise(100_000, 1), noise(100_000, 2)];
  for (let i = 0; i < 2; i++) {
    expect((await readAll(cache.wrap(versioned(one, 'one').file))).compare(one)).toBe(0);
    expect((await readAll(cache.wrap(versioned(two, 'two').file))).compare(two)).toBe(0);
  }
  expect(filesOf(folder).length).toBe(2);
  const { version: _, ...plain } = versioned(one).file;
  expect(cache.wrap(plain)).toBe(plain);
});

it('fetches damaged blocks again: flipped, cut, longer, empty, of another place', async () => {
  const folder = freshFolder();
  const { file, state } = versioned(FILE);
  const read = async () =>
    (await readAll(new BlockCache(folder, 64 * MIB).wrap(file))).compare(FILE);
  expect(await read()).toBe(0);
  const paths = filesOf(folder).map(([path]) => path);
  const original = paths.map((path) => readFileSync(path));
  const damages: readonly ((path: string, bytes: Buffer, i: number) => void)[] = [
    (path, bytes, i) => {
      bytes[(i * 7919 + 40) % bytes.length] ^= 1 << (i % 8);
      writeFileSync(path, bytes);
    },
    (path, bytes, i) => {
      bytes[i % 32] ^= 0x10;
      writeFileSync(path, bytes);
    },
    (path, bytes) => truncateSync(path, bytes.length - 1),
    (path) => truncateSync(path, 0),
    (path, _, i) => writeFileSync(path, original[(i + 1) % original.length] as Buffer),
  ];
  for (const damage of damages) {
    state.read = 0;
    for (const [i, path] of paths.entries()) damage(path, readFileSync(path), i);
    expect(await read()).toBe(0);
    expect(state.read).toBe(FILE.length);
    expect(paths.map((path) => readFileSync(path).equals(original[paths.indexOf(path)]))).toEqual(
      paths.map(() => true),
    );
  }
});

it('stays below its limit, and throws away what was not used for longest', async () => {
  const folder = freshFolder();
  const limit = 16 * MIB;
  const cache = new BlockCache(folder, limit);
  const files = Array.from({ length: 40 }, (_, i) => versioned(noise(MIB, i), `file ${i}`));
  const used = versioned(noise(MIB, 99), 'used');
  for (const { file } of files) {
    await readAll(cache.wrap(used.file));
    await readAll(cache.wrap(file));
    const total = filesOf(folder).reduce((sum, [, bytes]) => sum + bytes, 0);
    expect(total).toBeLessThanOrEqual(limit);
    // Uses are told apart by the second.
    const past = new Date(Date.now() - 100_000);
    for (const [path] of filesOf(folder)) {
      const { mtimeMs } = statSync(path);
      const older = new Date(Math.min(past.getTime(), mtimeMs - 10_000));
      utimesSync(path, older, older);
    }
  }
  expect(used.state.read).toBe(MIB);
  expect(filesOf(folder).length).toBeGreaterThan(10);
});

it('does without a folder that it cannot write, and says so once', async () => {
  const blocked = await directory.file('blocked', 'a file');
  const warnings: unknown[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const cache = new BlockCache(`${blocked}/folder`, 64 * MIB);
  const { file } = versioned(FILE);
  for (let i = 0; i < 2; i++) {
    expect((await readAll(cache.wrap(file))).compare(FILE)).toBe(0);
  }
  await new Promise(setImmediate);
  process.off('warning', onWarning);
  const mine = warnings.filter(
    (warning) => (warning as { code?: string }).code === 'SOFTPACK_CACHE',
  );
  expect(mine.length).toBe(1);
  expect(String(mine[0])).toMatch(/no more blocks are kept.*not a folder/);
});

it('says so if it is too small for a block', async () => {
  const warned = async (bytes: number) => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    const folder = freshFolder();
    await readAll(new BlockCache(folder, bytes).wrap(versioned(FILE).file));
    await new Promise(setImmediate);
    process.off('warning', onWarning);
    return [warnings.length, filesOf(folder).some(([, size]) => size > MIB)];
  };
  const least = 8 * (MIB + 32);
  expect(await warned(least - 1)).toEqual([1, false]);
  expect(await warned(least)).toEqual([0, true]);
});

it('is where options and environment say, and only if they say a size', () => {
  expect(blockCache({ folder: 'x', bytes: 0 })).toBeUndefined();
  expect(blockCache({}, { SOFTPACK_CACHE_BYTES: '0' })).toBeUndefined();
  const env = { XDG_CACHE_HOME: '/x' };
  expect(blockCache({}, env)).toBe(blockCache({ folder: '/x/softpack/blocks' }, {}));
  for (const bad of ['-1', '1.5', 'much']) {
    expect(() => blockCache({}, { SOFTPACK_CACHE_BYTES: bad })).toThrow(/SOFTPACK_CACHE_BYTES/);
  }
  expect(() => blockCache({ bytes: -1 })).toThrow(/cache.bytes/);
});

const script = fileURLToPath(new URL('read-remote.mjs', import.meta.url));
const digest = createHash('sha256').update(FILE).digest('hex');
/** Bytes that were asked for, besides the heads with which each reader opens its file. */
const fetched = () =>
  web.asked
    .filter(({ first, last }) => first > 0 || last > 40_000)
    .reduce((sum, { first, last }) => sum + last - first + 1, 0);

it('fetches each block once for processes and threads that read at the same time', async () => {
  web.files.set('shared', FILE);
  // Slow enough for all of them to want the same blocks.
  web.misbehave = (asked, response) => {
    void setTimeout(asked.first > 0 ? 50 : 5).then(() => web.range(asked, response));
    return true;
  };
  const args = [script, web.url, 'shared', freshFolder()];
  const run = promisify(execFile);
  const inThread = async () => {
    const worker = new Worker(script, { argv: args.slice(1) });
    return { stdout: String((await once(worker, 'message'))[0]) };
  };
  const runs = [run(process.execPath, args), run(process.execPath, args), inThread(), inThread()];
  for (const { stdout } of await Promise.all(runs)) expect(stdout.trim()).toBe(digest);
  expect(fetched()).toBe(FILE.length);
});

it('gives the bytes although its disk takes no more', async () => {
  web.files.set('full', FILE);
  const folder = freshFolder();
  // The system refuses files of more than 100 KiB, in the middle of a block.
  const command = 'trap "" XFSZ; ulimit -f 100; exec "$0" "$@"';
  const args = ['-c', command, process.execPath, script, web.url, 'full', folder];
  const { stdout, stderr } = await promisify(execFile)('bash', args);
  expect(stdout.trim()).toBe(digest);
  expect(stderr.match(/SOFTPACK_CACHE/g)?.length).toBe(1);
  expect(stderr).toMatch(/too large|no space/);
  // The last block, of 12,345 bytes, may be there; neither locks nor parts of others are.
  expect(filesOf(folder).filter(([path]) => !path.endsWith('/5.12345'))).toEqual([]);
});

it('goes on after a process that was killed while it fetched', async () => {
  web.files.set('killed', FILE);
  const folder = freshFolder();
  let asked: () => void = () => undefined;
  const stuck = new Promise<void>((resolve) => {
    asked = resolve;
  });
  web.misbehave = ({ first, last }) => {
    if (first === 0 && last < 40_000) return false;
    asked();
    return true;
  };
  const child = spawn(process.execPath, [script, web.url, 'killed', folder]);
  await stuck;
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(filesOf(folder).some(([path]) => path.endsWith('.lock'))).toBe(true);
  web.reset();
  const store = await openStore(web.url, { cache: { folder, bytes: 64 * MIB } });
  expect((await readAll(await store.open('killed'))).compare(FILE)).toBe(0);
  expect(filesOf(folder).some(([path]) => path.endsWith('.lock'))).toBe(false);
});

it('asks again for what came damaged, instead of keeping it', async () => {
  const golden = fileURLToPath(new URL('../golden/archives/vqae', import.meta.url));
  for (const name of readdirSync(golden)) web.files.set(name, readFileSync(`${golden}/${name}`));
  const names = readdirSync(golden);
  await using local = await openArchive(golden);
  // The first answer about each file is damaged, at places in headers, data and checksums.
  for (const place of [9, 300, 0.5, 0.9, 0.999]) {
    const damaged = new Set<string>();
    web.misbehave = (asked, response) => {
      if (damaged.has(asked.path)) return false;
      damaged.add(asked.path);
      const body = Buffer.from(asked.bytes.subarray(asked.first, asked.last + 1));
      body[place < 1 ? Math.floor(place * body.length) : place] ^= 0x80;
      web.range(asked, response, {}, body);
      return true;
    };
    const options = { cache: { folder: freshFolder(), bytes: 64 * MIB } };
    const store = await openStore(web.url, options);
    await using remote = await openArchive(store);
    expect(await remote.readRow(0)).toEqual(await local.readRow(0));
    expect(damaged.size).toBe(names.length);
  }
});
