import { Piscina } from 'piscina';
import { afterAll, describe, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import { varyViews } from '#src/augment/varied-views.js';
import { NoneCodec } from '#src/codecs/none.js';
import { loadCodec } from '#src/codecs/registry.js';
import { memoryImages } from '#src/images/memory.js';
import { loadKernels } from '#src/kernels/load.js';
import { createLoader } from '#src/loader/loader.js';
import type { Batch, LoaderOptions } from '#src/loader/options.js';
import { temporaryDirectory } from '../temporary.js';
import {
  augmentation,
  CLASSES,
  collect as collectAll,
  digest,
  EPOCHS,
  images,
  normalisation,
  SAMPLES,
  trainCodec,
  writeArchive,
} from './fixture.js';

const kernels = loadKernels();
const temporary = await temporaryDirectory();
const archive = await writeArchive(temporary.path('vqae'), await trainCodec());
afterAll(() => archive.close());

function options(change: Partial<LoaderOptions> = {}): LoaderOptions {
  return { archive, images, normalisation, batchSize: 8, seed: 3, workers: 0, ...change };
}

const collect = (change: Partial<LoaderOptions> = {}) => collectAll(options(change));

describe('batches', () => {
  test('hold the decoded labels and rendered views of their samples', async () => {
    const codec = loadCodec(archive.codecParts, kernels);
    const augmenter = new Augmenter(augmentation, images);
    for (const { epoch, sampleIds, xs, xsShape, ys, ysShape } of await collect()) {
      const [labels, views] = [new Float32Array(ys.length), new Float32Array(xs.length)];
      const row = await archive.readRow(epoch);
      codec.decode({ row, labels: sampleIds, context: { epoch, samples: sampleIds }, out: labels });
      renderViews(augmenter, images, epoch, sampleIds, normalisation, views);
      expect(ys).toEqual(labels);
      expect(xs).toEqual(views);
      expect(ysShape).toEqual([sampleIds.length, CLASSES]);
      expect(xsShape).toEqual([sampleIds.length, 6, 5, 3]);
    }
  });

  test('of an epoch that is not stored are those of the stored one, in their own order', async () => {
    const path = temporary.path('served twice');
    await using served = await writeArchive(path, await trainCodec(), {
      spec: { storedEpochs: 2 },
    });
    const bySample = new Map<string, string>();
    const orders = new Map<number, string>();
    for (const workers of [0, 1]) {
      for (const { epoch, sampleIds, xs, ys } of await collect({ archive: served, workers })) {
        orders.set(epoch, `${orders.get(epoch) ?? ''} ${sampleIds}`);
        for (const [i, sample] of sampleIds.entries()) {
          const pixels = xs.subarray(i * 90, (i + 1) * 90);
          const content = `${pixels} ${ys.subarray(i * CLASSES, (i + 1) * CLASSES)}`;
          const key = `${epoch % 2} ${sample}`;
          expect(bySample.get(key) ?? content).toBe(content);
          bySample.set(key, content);
        }
      }
    }
    expect(bySample.size).toBe(2 * SAMPLES);
    expect(orders.size).toBe(EPOCHS);
    expect(orders.get(2)).not.toBe(orders.get(0));
  });

  test('of an epoch that is not stored may be mirrored and moved, in any worker and after a resume alike', async () => {
    const path = temporary.path('served varied');
    await using served = await writeArchive(path, await trainCodec(), {
      spec: { storedEpochs: 2 },
    });
    const same = await collect({ archive: served });
    const varied = await collect({ archive: served, reusedViews: 'varied' });
    for (const [i, { epoch, sampleIds, xs, ys }] of varied.entries()) {
      const expected = same[i].xs.slice();
      if (epoch === 2) varyViews(expected, { seed: 3, epoch, sampleIds, size: [6, 5] });
      expect(xs).toEqual(expected);
      expect(ys).toEqual(same[i].ys);
    }
    expect(varied.at(-1)?.xs).not.toEqual(same.at(-1)?.xs);
    const rest = { reusedViews: 'varied', workers: 1, buffers: 'slots' } as const;
    await using loader = createLoader({ ...options(), archive: served, ...rest });
    loader.seek(2);
    const resume = loader.state();
    const resumed = await collect({ archive: served, ...rest, resume });
    expect(resumed.map(({ xs }) => xs)).toEqual(
      varied.filter(({ epoch }) => epoch === 2).map(({ xs }) => xs),
    );
    const unknown = { reusedViews: 'other' as 'same' };
    for (const images of [options().images, undefined]) {
      await expect(collect({ archive: served, images, ...unknown })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: 'reusedViews',
        found: 'other',
      });
    }
  });

  test('hold labels within 2e-3 where speed is asked for, the same in any worker', async () => {
    const exact = await collect();
    const fast = await collect({ precision: 'fast' });
    for (const [i, { ys }] of fast.entries()) {
      const expected = exact[i]?.ys ?? new Float32Array();
      const error = ys.reduce((sum, y, j) => sum + (y - (expected[j] ?? Number.NaN)) ** 2, 0);
      const size = expected.reduce((sum, y) => sum + y ** 2, 0);
      expect(error).toBeGreaterThan(0);
      expect(Math.sqrt(error / size)).toBeLessThan(2e-3);
    }
    expect(digest(await collect({ precision: 'fast', workers: 2 }))).toEqual(digest(fast));
  });

  test('show every sample once an epoch, in an order of its own', async () => {
    const batches = await collect();
    const orders = Array.from({ length: EPOCHS }, (_, epoch) =>
      batches.filter((batch) => batch.epoch === epoch).flatMap(({ sampleIds }) => [...sampleIds]),
    );
    const all = Array.from({ length: SAMPLES }, (_, i) => i);
    for (const order of orders) expect([...order].sort((a, b) => a - b)).toEqual(all);
    expect(orders[0]).not.toEqual(orders[1]);
    const plain = await collect({ shuffle: false, epochs: { from: 1, to: 2 } });
    expect(plain.flatMap(({ sampleIds }) => [...sampleIds])).toEqual(all);
    const whole = await collect({ dropLast: true });
    expect(whole.map(({ sampleIds }) => sampleIds.length)).toEqual(new Array(12).fill(8));
  });

  test('are the same bytes for any number of workers and any prefetch', async () => {
    const expected = digest(await collect());
    for (const workers of [0, 1, 2, 7]) {
      for (const prefetch of [1, 8]) {
        expect(digest(await collect({ workers, prefetch }))).toBe(expected);
      }
    }
    expect(digest(await collect({ workers: 2, maxBytes: 1 }))).toBe(expected);
    expect(digest(await collect({ workers: 2, buffers: 'slots' }))).toBe(expected);
  });

  test('go on after every batch as if nothing had happened', async () => {
    const all = await collect();
    // One pool for all of them: starting threads is what takes the time.
    await using pool = new Piscina({ maxThreads: 2, idleTimeout: Number.POSITIVE_INFINITY });
    for (const workers of [0, 2]) {
      for (let cut = 0; cut <= all.length; cut++) {
        await using loader = createLoader(options({ workers, pool }));
        const before: Batch[] = [];
        if (cut > 0) {
          for await (const batch of loader) {
            before.push(batch);
            if (before.length === cut) break;
          }
        }
        const resume = JSON.parse(JSON.stringify(loader.state()));
        expect(JSON.stringify(resume).length).toBeLessThan(300);
        expect(digest([...before, ...(await collect({ resume }))])).toBe(digest(all));
      }
    }
  });

  test('go on in the same loader, and with another batch size', async () => {
    const all = (await collect()).flatMap(({ sampleIds }) => [...sampleIds]);
    await using loader = createLoader(options());
    const seen: number[] = [];
    for await (const { sampleIds } of loader.epoch()) {
      seen.push(...sampleIds);
      if (seen.length === 16) break;
    }
    const resume = loader.state();
    const others = await collect({ resume, batchSize: 5 });
    expect([...seen, ...others.flatMap(({ sampleIds }) => [...sampleIds])]).toEqual(all);
    for await (const { sampleIds } of loader) seen.push(...sampleIds);
    expect(seen).toEqual(all);
    expect(loader.state()).toMatchObject({ epoch: EPOCHS, delivered: 0 });
  });

  test('are shared out among ranks without a gap, and evenly', async () => {
    const alone = await collect({ batchSize: 12, dropLast: true });
    const ranks = await Promise.all(
      [0, 1, 2].map((rank) => collect({ rank, worldSize: 3, batchSize: 4, dropLast: true })),
    );
    for (const [i, { sampleIds, xs }] of alone.entries()) {
      for (let at = 0; at < sampleIds.length; at++) {
        const own = ranks[at % 3][i];
        const within = Math.floor(at / 3);
        expect(own.sampleIds[within]).toBe(sampleIds[at]);
        expect(own.xs.slice(90 * within, 90 * (within + 1))).toEqual(
          xs.slice(90 * at, 90 * at + 90),
        );
      }
    }
    // Without dropLast the last batch is filled up, so that no rank waits for another.
    const counts = await Promise.all(
      [0, 1, 2].map(async (rank) =>
        (await collect({ rank, worldSize: 3, batchSize: 4 })).map(({ sampleIds }) => sampleIds),
      ),
    );
    for (const ids of counts)
      expect(ids.map((list) => list.length)).toEqual(counts[0].map((l) => l.length));
    const seen = counts.flatMap((ids) => ids.slice(0, counts[0].length / 3).flatMap((l) => [...l]));
    expect(new Set(seen).size).toBe(SAMPLES);
    expect(seen.length).toBe(Math.ceil(SAMPLES / 3) * 3);
  });

  /** Samples of the first epoch from `resume` on, in the order of the batches that ranks make together. */
  async function ofRanks(worldSize: number, change: Partial<LoaderOptions>) {
    const ranks = await Promise.all(
      Array.from({ length: worldSize }, (_, rank) =>
        collect({ rank, worldSize, epochs: { from: 0, to: 1 }, ...change }),
      ),
    );
    return ranks[0].flatMap(({ sampleIds }, i) =>
      [...sampleIds].flatMap((_, at) => ranks.map((own) => own[i].sampleIds[at])),
    );
  }

  test.each([
    [4, 2, false],
    [4, 7, false],
    [4, 1, false],
    [3, 4, true],
    [4, 2, true],
    [2, 7, true],
  ])('of %d ranks go on from one state with %d, dropLast %s', async (before, after, dropLast) => {
    const order = await ofRanks(1, {});
    const batchSize = 2;
    await using one = createLoader(options({ rank: 1, worldSize: before, batchSize, dropLast }));
    for await (const { index } of one) if (index === 1) break;
    const resume = one.state();
    const shown = 2 * batchSize * before;
    expect(resume.delivered).toBe(shown);
    const rest = await ofRanks(after, { batchSize: 1, dropLast, resume });
    const left = SAMPLES - shown;
    // What fills the last batch begins the order again.
    const whole = dropLast ? left - (left % after) : Math.ceil(left / after) * after;
    expect(rest).toHaveLength(whole);
    expect(rest).toEqual([...order, ...order].slice(shown, shown + whole));
  });

  test('carry labels alone where there are no images', async () => {
    const [batch] = await collect({ images: undefined });
    expect(batch.xs.length).toBe(0);
    expect(batch.ys.length).toBe(8 * CLASSES);
  });

  test('carry codes alone where the loss decodes them', async () => {
    const codec = loadCodec(archive.codecParts, kernels);
    const expected = await collect();
    for (const workers of [0, 1]) {
      for (const [i, batch] of (await collect({ labels: 'codes', workers })).entries()) {
        expect(batch.ys.length).toBe(0);
        expect(batch.xs).toEqual(expected[i].xs);
        const { row, labels } = batch.codes ?? { row: new Uint8Array(), labels: new Uint32Array() };
        const out = new Float32Array(labels.length * CLASSES);
        const context = { epoch: batch.epoch, samples: labels };
        codec.decode({ row, labels, context, out });
        expect(out).toEqual(expected[i].ys);
      }
    }
  });

  test('come from float16 labels as well', async () => {
    const none = new NoneCodec({ classes: CLASSES, tau: 8, store: 'logits' });
    await using full = await writeArchive(temporary.path('none'), none);
    const expected = await collect({ archive: full });
    expect(digest(await collect({ archive: full, workers: 1 }))).toBe(digest(expected));
    const rows = expected.flatMap(({ ys }) => [...ys.subarray(0, CLASSES)]);
    expect(rows.every((value) => value > 0)).toBe(true);
  });
});

describe('a loader', () => {
  test('counts what it did', async () => {
    const seen: number[] = [];
    const onProgress = ({ done, batches }: { done: number; batches: number }) =>
      seen.push(done / batches);
    await using loader = createLoader(options({ workers: 1, prefetch: 3, onProgress }));
    for await (const batch of loader) {
      const { queueDepth, bufferedBytes } = loader.metrics();
      expect(queueDepth).toBeLessThan(3);
      // Two batches, and the labels of two epochs of five, decoded ahead.
      const most = 2 * 4 * 8 * (6 * 5 * 3 + CLASSES) + 2 * 4 * 8 * 5 * CLASSES;
      expect(bufferedBytes).toBeLessThanOrEqual(most);
      batch.release();
    }
    expect(seen.filter((share) => share === 1).length).toBe(EPOCHS);
    const metrics = loader.metrics();
    expect(metrics).toMatchObject({ batches: 15, samples: EPOCHS * SAMPLES, queueDepth: 0 });
    expect(metrics.bytes).toBe(EPOCHS * SAMPLES * 4 * (6 * 5 * 3 + CLASSES));
    for (const name of ['imageMs', 'augmentMs', 'labelMs', 'codesMs', 'waitMs'] as const) {
      expect(metrics[name]).toBeGreaterThan(0);
    }
  });

  test('makes nothing before it is asked, and no more than it may', async () => {
    await using loader = createLoader(options({ workers: 2, prefetch: 6, maxBytes: 8000 }));
    expect(loader.metrics().bufferedBytes).toBe(0);
    const batches = loader.epoch();
    await batches.next();
    // Two batches of 3,552 bytes fit; one of them was just delivered.
    expect(loader.metrics().bufferedBytes).toBe(3552);
    await batches.return();
    expect(loader.metrics().bufferedBytes).toBe(0);
  });

  test('lends a slot until it is given back', async () => {
    await using loader = createLoader(options({ buffers: 'slots', prefetch: 2 }));
    const batches = loader[Symbol.asyncIterator]();
    const held: Batch[] = [];
    const read = async () => {
      for (;;) held.push((await batches.next()).value as Batch);
    };
    await expect(read()).rejects.toMatchObject({ field: 'buffers' });
    expect(held.length).toBe(3);
    expect(held[0].xs.buffer).toBeInstanceOf(SharedArrayBuffer);
    held[1].release();
    held[1].release();
    const next = await loader[Symbol.asyncIterator]().next();
    expect((next.value as Batch).xs.buffer).toBe(held[1].xs.buffer);
  });

  test.each([
    ['batchSize', { batchSize: 0 }],
    ['workers', { workers: 1.5 }],
    ['prefetch', { prefetch: 0 }],
    ['maxBytes', { maxBytes: 0 }],
    ['rank', { rank: 2, worldSize: 2 }],
    ['worldSize', { worldSize: 0 }],
    ['epochs.to', { epochs: { from: 0, to: 4 } }],
    ['normalisation', { normalisation: undefined }],
    ['images', { images: memoryImages(new Uint8Array(8 * 7 * 3), 8, 7) }],
  ] as const)('refuses a bad %s', (field, change) => {
    expect(() => createLoader(options(change))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
    );
  });

  test.each([
    ['archiveId', { archiveId: 'other' }],
    ['seed', { seed: 9 }],
    ['shuffle', { shuffle: false }],
    ['version', { version: 2 }],
    ['epoch', { epoch: 4 }],
    ['delivered', { delivered: -1 }],
  ])('refuses the state of another run by its %s, with both values', (field, change) => {
    const state = createLoader(options()).state();
    const resume = { ...state, ...change } as typeof state;
    expect(() => createLoader(options({ resume }))).toThrow(
      expect.objectContaining({
        field: `resume.${field}`,
        found: Object.values(change)[0],
        expected:
          field in state && !['epoch', 'delivered'].includes(field)
            ? state[field as 'seed']
            : expect.any(String),
      }),
    );
  });
});
