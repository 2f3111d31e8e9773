import fc from 'fast-check';
import { expect, it } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import type { ByteFile } from '#src/store/byte-store.js';
import { coalesced } from '#src/store/coalesce.js';
import { readAhead } from '#src/store/read-ahead.js';
import { noise } from './web-server.js';

const BYTES = noise(100_000);

/** A file in memory that answers later, and notes what it was asked for and how many reads ran at a time. */
function memoryFile(bytes = BYTES, fail: (offset: number) => unknown = () => undefined) {
  const asked: (readonly [number, number])[] = [];
  const state = { running: 0, most: 0 };
  const file: ByteFile = {
    name: 'memory',
    size: bytes.length,
    async read(offset, into, { signal } = {}) {
      asked.push([offset, offset + into.length]);
      state.most = Math.max(state.most, ++state.running);
      await new Promise(setImmediate);
      state.running--;
      if (signal?.aborted) throw new SoftpackError('ABORTED', 'aborted');
      const error = fail(offset);
      if (error !== undefined) throw error;
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
  return { file, asked, state };
}

const ranges = fc.array(
  fc
    .tuple(fc.integer({ min: 0, max: BYTES.length }), fc.integer({ min: 0, max: 20_000 }))
    .map(([offset, length]) => [offset, Math.min(length, BYTES.length - offset)] as const),
  { minLength: 1, maxLength: 20 },
);

it('gives the bytes of direct reads, whatever is read at the same time', async () => {
  const sizes = fc.record({
    gapBytes: fc.integer({ min: 0, max: 5000 }),
    requestBytes: fc.integer({ min: 1000, max: 30_000 }),
    inFlight: fc.integer({ min: 1, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(ranges, sizes, async (reads, options) => {
      const { file, asked, state } = memoryFile();
      const joined = coalesced(file, options);
      await Promise.all(
        reads.map(async ([offset, length]) => {
          const into = new Uint8Array(length);
          await joined.read(offset, into);
          expect(Buffer.compare(into, BYTES.subarray(offset, offset + length))).toBe(0);
        }),
      );
      expect(state.most).toBeLessThanOrEqual(options.inFlight);
      for (const [from, to] of asked) expect(to - from).toBeLessThanOrEqual(options.requestBytes);
    }),
    { numRuns: 150 },
  );
});

it('joins neighbours, across gaps up to the limit', async () => {
  const { file, asked } = memoryFile();
  const joined = coalesced(file, { gapBytes: 100, requestBytes: 1000 });
  const read = (offset: number, length: number) => joined.read(offset, new Uint8Array(length));
  await Promise.all([read(0, 100), read(100, 50), read(250, 50), read(401, 10), read(5000, 2500)]);
  expect(asked).toEqual([
    [0, 300],
    [401, 411],
    [5000, 6000],
    [6000, 7000],
    [7000, 7500],
  ]);
});

it('fails the reads of a failed request only, and none of them writes later', async () => {
  const error = new SoftpackError('NETWORK_FAILED', 'no');
  const { file } = memoryFile(BYTES, (offset) => (offset < 1000 ? error : undefined));
  const joined = coalesced(file, { gapBytes: 0, requestBytes: 1000 });
  const large = new Uint8Array(3000);
  const results = await Promise.allSettled([
    joined.read(0, large),
    joined.read(0, new Uint8Array(10)),
    joined.read(50_000, new Uint8Array(10)),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
  expect(results[0]).toMatchObject({ reason: error });
  await expect(joined.read(99_999, new Uint8Array(2))).rejects.toMatchObject({
    code: 'INVALID_FILE',
  });
});

it('aborts one of several reads of a request, and the request once all are', async () => {
  const { file } = memoryFile();
  const joined = coalesced(file);
  const abort = new AbortController();
  const into = new Uint8Array(100);
  const reads = [joined.read(0, into, { signal: abort.signal }), joined.read(100, into.slice())];
  await new Promise(setImmediate);
  abort.abort();
  const [aborted, other] = await Promise.allSettled(reads);
  expect(aborted).toMatchObject({ reason: { code: 'ABORTED' } });
  expect(other?.status).toBe('fulfilled');
  expect([...into]).toEqual(Array(100).fill(0));
});

it('reads ahead up to where a reader goes, each byte once, and never beyond', async () => {
  const { file, asked, state } = memoryFile();
  const ahead = readAhead(file, { pieceBytes: 8000, pieces: 4 });
  const into = new Uint8Array(1000);
  for (let at = 2000; at < 70_000; at += 1000) {
    await ahead.read(at, into, { until: 70_000 });
    expect(Buffer.compare(into, BYTES.subarray(at, at + 1000))).toBe(0);
  }
  expect(asked.length).toBe(9);
  expect(asked[0]).toEqual([2000, 10_000]);
  expect(asked.at(-1)).toEqual([66_000, 70_000]);
  expect(state.most).toBe(4);
});

it('gives the bytes of direct reads to readers of any ways', async () => {
  const steps = fc.array(
    fc.record({
      offset: fc.integer({ min: 0, max: BYTES.length }),
      length: fc.integer({ min: 0, max: 9000 }),
      more: fc.integer({ min: 0, max: 30_000 }),
      sequential: fc.boolean(),
    }),
    { maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (reads) => {
      const ahead = readAhead(coalesced(memoryFile().file, { requestBytes: 3000 }), {
        pieceBytes: 4000,
        pieces: 3,
      });
      let next = 0;
      const running = reads.map(({ offset, length, more, sequential }) => {
        const at = sequential ? next : offset;
        const into = new Uint8Array(Math.min(length, BYTES.length - at));
        next = at + into.length;
        return ahead.read(at, into, { until: next + more }).then(() => {
          expect(Buffer.compare(into, BYTES.subarray(at, at + into.length))).toBe(0);
        });
      });
      await Promise.all(running);
    }),
    { numRuns: 150 },
  );
});

it('reads on after a piece that was aborted by another read', async () => {
  const { file } = memoryFile();
  const ahead = readAhead(file, { pieceBytes: 4000, pieces: 2 });
  const abort = new AbortController();
  const into = new Uint8Array(1000);
  const reading = ahead.read(0, into, { until: 50_000, signal: abort.signal });
  abort.abort();
  await expect(reading).rejects.toMatchObject({ code: 'ABORTED' });
  await ahead.read(1000, into, { until: 50_000 });
  expect(Buffer.compare(into, BYTES.subarray(1000, 2000))).toBe(0);
});
