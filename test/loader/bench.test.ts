import { expect, test } from 'vitest';
import { boundOf } from '#src/loader/bench.js';

const run = { workers: 2, waitShare: 0.6, read: 10, augment: 10, label: 10, elapsedMs: 1000 };

test.each([
  ['training', { waitShare: 0.01, read: 1500 }],
  ['reading images', { read: 1500 }],
  ['rendering views', { augment: 1500 }],
  ['decoding labels', { label: 1500 }],
  ['reading images', { workers: 0, read: 900 }],
  // Threads busy for less than half of the time, while the consumer waits for more.
  ['handing over', { read: 700 }],
] as const)('a run is bound by %s', (bound, change) => {
  expect(boundOf({ ...run, ...change })).toBe(bound);
});
