import { describe, expect, test } from 'vitest';
import { type CodecFlags, codecOf, keepOf } from '#src/cli/codec-options.js';

const flags = (change: object) => ({ codec: 'vqae', ...change }) as CodecFlags;

describe('codecOf', () => {
  test.each([
    [{ ratio: 40 }, { name: 'vqae', totalRatio: 40 }],
    [
      { dh: 10, dc: 5, k: 4 },
      { name: 'vqae', dh: 10, dc: 5, k: 4 },
    ],
    [{ codec: 'none' }, { name: 'none' }],
    [
      { codec: 'topk', k: 5, values: 'logits' },
      { name: 'topk', k: 5, values: 'logits' },
    ],
    [
      { codec: 'vq', dc: 4, k: 16 },
      { name: 'vq', dc: 4, k: 16 },
    ],
    [
      { codec: 'scalar', ratio: 4 },
      { name: 'scalar', totalRatio: 4 },
    ],
    [{ codec: 'mean' }, { name: 'mean' }],
    [{ megabytes: 1.5 }, { name: 'vqae', totalBytes: 1_572_864 }],
    [
      { codec: 'transform', rate: 12.5 },
      { name: 'transform', rate: 12.5 },
    ],
    [
      { codec: 'transform', kl: 1e-3 },
      { name: 'transform', kl: 1e-3 },
    ],
  ] as const)('%o', (given, choice) => {
    expect(codecOf(flags(given))).toEqual(choice);
  });

  test.each([
    [{}, '--ratio'],
    [{ ratio: 4, k: 2 }, '--ratio'],
    [{ dh: 4 }, '--ratio'],
    [{ codec: 'none', ratio: 4 }, '--ratio'],
    [{ codec: 'pca', k: 4, dc: 2 }, '--dc'],
    [{ codec: 'pca', k: 4, rest: 'zero' }, '--rest'],
    [{ ratio: 4, values: 'none' }, '--values'],
    [{ ratio: 4, megabytes: 1 }, '--ratio'],
    [{ dh: 10, dc: 5, k: 4, megabytes: 1 }, '--ratio'],
    [{ codec: 'transform' }, '--ratio'],
    [{ codec: 'transform', rate: 10, kl: 1e-3 }, '--ratio'],
    [{ codec: 'transform', rate: 10, ratio: 4 }, '--ratio'],
    [{ codec: 'pca', rate: 10 }, '--rate'],
    [{ kl: 1e-3 }, '--kl'],
  ] as const)('%o is wrong usage of %s', (given, field) => {
    expect(() => codecOf(flags(given))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
    );
  });
});

test.each([
  [{ codec: 'transform', ratio: 400 }, 'auto'],
  [{ codec: 'transform', megabytes: 2 }, 'auto'],
  [{ codec: 'transform', ratio: 400, keep: 8 }, 8],
  [{ codec: 'transform', ratio: 400, prune: 4 }, undefined],
  [{ codec: 'transform', rate: 100 }, undefined],
  [{ codec: 'transform', kl: 1e-3 }, undefined],
  [{ ratio: 40 }, undefined],
  [{ ratio: 40, keep: 3 }, 3],
] as const)('%o stores %s epochs', (given, keep) => {
  expect(keepOf(flags(given))).toBe(keep);
});
