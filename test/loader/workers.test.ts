import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { afterAll, describe, expect, test } from 'vitest';
import { imageFolder } from '#src/images/folder.js';
import { createLoader } from '#src/loader/loader.js';
import type { LoaderOptions } from '#src/loader/options.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import {
  CLASSES,
  collect,
  digest,
  images,
  normalisation,
  SAMPLES,
  trainCodec,
  writeArchive,
} from './fixture.js';

const temporary = await temporaryDirectory();
const archive = await writeArchive(temporary.path('vqae'), await trainCodec());
afterAll(() => archive.close());
const folder = temporary.path('images');
for (let i = 0; i < SAMPLES; i++) {
  await writeImage(folder, `a/${String(i).padStart(3, '0')}.png`, i, [9 + (i % 3), 8]);
}

function options(change: Partial<LoaderOptions> = {}): LoaderOptions {
  return { archive, images, normalisation, batchSize: 8, seed: 3, ...change };
}

describe('a loader in a process of its own', async () => {
  const script = fileURLToPath(new URL('./leftovers.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, temporary.path('vqae'), folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 60_000,
  });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const ended = new Promise((resolve) => child.on('close', resolve));

  test.each(['finish', 'break', 'throw', 'abort', 'abandon', 'stream'])(
    'leaves no thread, no handle and no open file: %s',
    async (how) => {
      expect(await ended).toBe(0);
      const { started, left } = JSON.parse(out)[how];
      expect(started).toBeGreaterThan(0);
      expect(left).toEqual({ threads: 0, handles: [], files: 0 });
    },
  );

  test('starts no thread until it is used, and lets the process end unclosed', async () => {
    expect(await ended).toBe(0);
    const { unused, forget } = JSON.parse(out);
    expect(unused.started).toBe(0);
    expect(forget.left.threads).toBeGreaterThan(0);
  });
});

describe('threads', () => {
  test('that die once are replaced, and the stream is the same', async () => {
    const expected = digest(await collect(options({ workers: 0 })));
    await using pool = new Piscina({ maxThreads: 2, idleTimeout: Number.POSITIVE_INFINITY });
    await using loader = createLoader(options({ workers: 2, pool }));
    const batches = [];
    for await (const batch of loader) {
      batches.push(batch);
      // One at a time: a batch is given one more try.
      if (batch.index === 1) await pool.threads[0]?.terminate();
    }
    expect(digest(batches)).toBe(expected);
  });

  test('that die twice over one batch end the iteration with its name', async () => {
    await using pool = new Piscina({ maxThreads: 1 });
    pool.on('workerCreate', () => setImmediate(() => pool.threads[0]?.terminate()));
    const slow = await imageFolder(folder);
    await using loader = createLoader(options({ workers: 1, pool, images: slow, batchSize: 37 }));
    await expect(loader[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'WORKER_FAILED',
      message: expect.stringContaining('batch 0 of epoch 0'),
    });
  });

  test('that die without a task end neither the process nor the iteration', async () => {
    const expected = digest(await collect(options({ workers: 0 })));
    // Idle threads run timers only without atomics; none is to end but by its error.
    const idleTimeout = Number.POSITIVE_INFINITY;
    await using pool = new Piscina({ maxThreads: 2, idleTimeout, atomics: 'disabled' });
    const listeners = pool.getMaxListeners();
    const filename = new URL('./failing-thread.mjs', import.meta.url).href;
    let deaths = 0;
    await using loader = createLoader(options({ workers: 1, pool }));
    const batches = [];
    for await (const batch of loader) {
      batches.push(batch);
      if (batch.index !== 1) continue;
      const died = once(pool, 'workerDestroy');
      await pool.run(`thread of epoch ${batch.epoch}`, { filename, name: 'dieLater' });
      await died;
      deaths++;
    }
    expect(deaths).toBe(3);
    expect(digest(batches)).toBe(expected);
    await loader.close();
    expect(pool.listenerCount('error')).toBe(0);
    expect(pool.getMaxListeners()).toBe(listeners);
  });

  test('that cannot start end the iteration instead of leaving it waiting', async () => {
    await using pool = new Piscina({ filename: 'file:///no/such/worker.mjs', maxThreads: 2 });
    await using loader = createLoader(options({ workers: 2, pool }));
    await expect(loader.epoch().next()).rejects.toMatchObject({
      code: 'WORKER_FAILED',
      message: expect.stringContaining('batch 0 of epoch 0'),
    });
  });

  test('report what is wrong with the data, not that they died', async () => {
    const gone = temporary.path('gone');
    for (let i = 0; i < SAMPLES; i++) await writeImage(gone, `a/${i}.png`, i, [9, 8]);
    const source = await imageFolder(gone);
    await (await import('node:fs/promises')).rm(`${gone}/a/7.png`);
    for (const workers of [0, 2]) {
      await using loader = createLoader(options({ workers, images: source }));
      const read = async () => {
        for await (const _ of loader);
      };
      const failure = await read().catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'NOT_FOUND', field: expect.stringContaining('7.png') });
      // Earlier batches were delivered, and the loader can resume there.
      expect(loader.state().epoch).toBe(0);
    }
  });

  test('of one pool serve several loaders, and forget those that are closed', async () => {
    await using pool = new Piscina({ maxThreads: 2, idleTimeout: Number.POSITIVE_INFINITY });
    const expected = digest(await collect(options({ workers: 0 })));
    const other = digest(await collect(options({ workers: 0, seed: 4 })));
    const both = await Promise.all([
      collect(options({ workers: 2, pool })),
      collect(options({ workers: 2, pool, seed: 4 })),
    ]);
    expect(both.map(digest)).toEqual([expected, other]);
    expect(pool.threads.length).toBeLessThanOrEqual(2);
    // A pool of the caller's may give one thread several batches at a time.
    await using busy = new Piscina({ maxThreads: 1, concurrentTasksPerWorker: 4 });
    const files = await imageFolder(folder);
    const alone = digest(await collect(options({ workers: 0, images: files })));
    expect(digest(await collect(options({ workers: 4, images: files, pool: busy })))).toBe(alone);
    expect(digest(await collect(options({ workers: 2, pool })))).toBe(expected);
  });
});

describe('iterations', () => {
  test('end at the signal, at once, and those to come', async () => {
    const controller = new AbortController();
    await using loader = createLoader(options({ workers: 1, signal: controller.signal }));
    const read = async () => {
      for await (const { index } of loader) if (index === 1) controller.abort(new Error('enough'));
    };
    await expect(read()).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(loader.epoch().next()).rejects.toMatchObject({ code: 'ABORTED' });
    expect(loader.state()).toMatchObject({ epoch: 0, delivered: 16 });
  });

  test('end while they wait for a batch', async () => {
    const controller = new AbortController();
    const slow = await imageFolder(folder);
    const change = { workers: 1, images: slow, batchSize: SAMPLES, signal: controller.signal };
    await using loader = createLoader(options(change));
    const next = loader.epoch().next();
    setTimeout(() => controller.abort(), 5);
    await expect(next).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('are ended by the next one, and by close', async () => {
    await using loader = createLoader(options({ workers: 1 }));
    const first = loader.epoch();
    await first.next();
    const second = loader.epoch();
    expect((await second.next()).value).toMatchObject({ index: 1 });
    await expect(first.next()).rejects.toMatchObject({ code: 'ABORTED' });
    expect((await second.next()).value).toMatchObject({ index: 2 });
    await loader.close();
    await expect(second.next()).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(loader.epoch().next()).rejects.toMatchObject({ code: 'ABORTED' });
    await loader.close();
  });

  test('flow as a stream, whose state counts what was read', async () => {
    const expected = await collect(options({ workers: 0 }));
    await using loader = createLoader(options({ workers: 1 }));
    const read = [];
    for await (const batch of loader.toReadable()) {
      read.push(batch);
      if (read.length === 3) expect(loader.state()).toMatchObject({ epoch: 0, delivered: 24 });
    }
    expect(digest(read)).toBe(digest(expected));
    expect(read[0].ysShape).toEqual([8, CLASSES]);
  });
});
