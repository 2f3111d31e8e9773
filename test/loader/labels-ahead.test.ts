import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { TopKCodec } from '#src/codecs/top-k.js';
import { LabelsAhead, type LabelsOfBatch } from '#src/loader/labels-ahead.js';
import { createLoader } from '#src/loader/loader.js';
import { BatchPlan, type Position } from '#src/loader/plan.js';
import { temporaryDirectory } from '../temporary.js';
import {
  CLASSES,
  collect,
  digest,
  EPOCHS,
  images,
  normalisation,
  SAMPLES,
  trainCodec,
  writeArchive,
} from './fixture.js';

const PLAN = { seed: 3, shuffle: true, dropLast: false, rank: 0, worldSize: 1 };

function planOf(samples: number, batchSize: number, change: Partial<typeof PLAN> = {}): BatchPlan {
  return new BatchPlan({ samples, batchSize, ...PLAN, ...change });
}

/** Labels that tell whose they are: `classes` times the sample's number. */
function decoder(classes: number) {
  const calls: number[] = [];
  const decode = async (sampleIds: Uint32Array, into: Float32Array) => {
    calls.push(sampleIds.length);
    expect(into.length).toBe(sampleIds.length * classes);
    into.fill(Number.NaN);
    for (const [i, id] of sampleIds.entries()) into.fill(id, i * classes, (i + 1) * classes);
  };
  return { calls, decode };
}

describe('labels decoded ahead', () => {
  test('are those of each batch, wherever an iteration starts and however late batches end', async () => {
    const cases = fc.record({
      samples: fc.integer({ min: 1, max: 400 }),
      batchSize: fc.integer({ min: 1, max: 40 }),
      classes: fc.integer({ min: 1, max: 5 }),
      maxBytes: fc.integer({ min: 1, max: 40_000 }),
      dropLast: fc.boolean(),
      worldSize: fc.integer({ min: 1, max: 3 }),
      start: fc.integer({ min: 0, max: 399 }),
      held: fc.integer({ min: 1, max: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ samples, batchSize, classes, maxBytes, ...rest }) => {
        const { dropLast, worldSize, start, held } = rest;
        const plan = planOf(samples, batchSize, { dropLast, worldSize, rank: worldSize - 1 });
        const ahead = LabelsAhead.create(plan, { batchSize, classes, maxBytes });
        if (ahead === undefined) return;
        const { calls, decode } = decoder(classes);
        const queue: LabelsOfBatch[] = [];
        const first = plan.from({ epoch: 0, start: start % samples }, 2) as Position;
        expect([ahead.bytesToTake(first), ahead.take(first)]).toEqual([0, undefined]);
        let position = plan.after(first, 2);
        let delivered = 0;
        while (position !== undefined) {
          const before = ahead.bytes;
          const more = ahead.bytesToTake(position);
          const batch = ahead.take(position) as LabelsOfBatch;
          expect(ahead.bytes).toBe(before + more);
          expect(more).toBeLessThanOrEqual(maxBytes / 16);
          const labels = await batch.read(decode);
          const expected = [...plan.samplesOf(position)].flatMap((id) => Array(classes).fill(id));
          expect([...(labels ?? [])]).toEqual(expected);
          delivered += plan.sizeOf(position);
          queue.push(batch);
          if (queue.length === held) queue.shift()?.release();
          position = plan.after(position, 2);
        }
        // Each label once.
        expect(calls.reduce((sum, count) => sum + count, 0)).toBe(delivered);
        for (const batch of queue) batch.release();
        expect(ahead.bytes).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test('lie where they are until their last batch ends, and then others may', async () => {
    const ahead = LabelsAhead.create(planOf(72, 8), {
      batchSize: 8,
      classes: 4,
      maxBytes: 16 * 256,
    });
    ahead?.take({ epoch: 0, start: 0 });
    const { calls, decode } = decoder(4);
    const buffers: unknown[] = [];
    const taken: LabelsOfBatch[] = [];
    for (let start = 8; start < 72; start += 8) {
      const batch = ahead?.take({ epoch: 0, start }) as LabelsOfBatch;
      buffers.push((await batch.read(decode))?.buffer);
      taken.push(batch);
      if (start === 32) for (const earlier of taken.slice(0, 2)) earlier.release();
    }
    expect(calls).toEqual([16, 16, 16, 16]);
    const [first, , second, , third, , fourth] = buffers;
    expect(new Set([first, second, fourth]).size).toBe(3);
    expect(third).toBe(first);
    ahead?.clear();
    expect(ahead?.bytes).toBe(0);
    // Batches of an iteration that was left may still be writing.
    ahead?.take({ epoch: 0, start: 0 });
    const next = ahead?.take({ epoch: 0, start: 8 });
    const buffer = (await next?.read(decode))?.buffer;
    expect(buffers).not.toContain(buffer);
    for (const late of taken) late.release();
    const last = ahead?.take({ epoch: 0, start: 24 });
    expect(buffers).not.toContain((await last?.read(decode))?.buffer);
  });

  test('are left to each batch where decoding them fails', async () => {
    const ahead = LabelsAhead.create(planOf(64, 8), { batchSize: 8, classes: 4, maxBytes: 1e6 });
    ahead?.take({ epoch: 0, start: 0 });
    const labels = ahead?.take({ epoch: 0, start: 8 })?.read(() => Promise.reject(new Error()));
    expect(labels).toBeInstanceOf(Promise);
    expect(await labels).toBeUndefined();
  });
});

describe('a loader that decodes ahead', async () => {
  const temporary = await temporaryDirectory();
  const archive = await writeArchive(temporary.path('vqae'), await trainCodec());
  // Class ids of 5 bits below 21: bits 152 to 159, of samples 30 and 31, are no classes.
  const hard = { classes: CLASSES, tau: 8, k: 1, values: 'none', rest: 'zero' } as const;
  const codec = new TopKCodec(hard);
  const whole = await writeArchive(temporary.path('whole'), codec);
  const rows = await Promise.all(
    Array.from({ length: EPOCHS }, (_, epoch) => whole.readRow(epoch)),
  );
  const broken = await writeArchive(temporary.path('broken'), codec, {
    rows: (epoch) => ({ codes: rows[epoch].map((byte, i) => (i === 19 ? 0xff : byte)) }),
  });
  afterAll(() => Promise.all([archive, whole, broken].map((each) => each.close())));
  const options = { images, normalisation, batchSize: 4, shuffle: false };

  test('delivers what comes before a label whose codes are wrong, and names the error', async () => {
    for (const workers of [0, 2]) {
      await using loader = createLoader({ ...options, archive: broken, workers });
      const indices: number[] = [];
      const read = async () => {
        for await (const { index } of loader) indices.push(index);
      };
      await expect(read()).rejects.toMatchObject({
        code: 'INVALID_FILE',
        field: `${broken.fileOf(0)}: epoch 0, sample 30: codes`,
        expected: 'a class below 21',
      });
      expect(indices).toEqual([0, 1, 2, 3, 4, 5, 6]);
      expect(loader.state()).toMatchObject({ epoch: 0, delivered: 28 });
    }
  });

  test('gives the bytes of one that has no room for it', async () => {
    const alone = digest(await collect({ ...options, archive, maxBytes: 1, workers: 0 }));
    expect(
      LabelsAhead.create(planOf(SAMPLES, 4), { batchSize: 4, classes: CLASSES, maxBytes: 1 }),
    ).toBe(undefined);
    for (const buffers of ['fresh', 'slots'] as const) {
      expect(digest(await collect({ ...options, archive, workers: 2, buffers }))).toBe(alone);
    }
  });
});
