import { describe, expect, test } from 'vitest';
import { type CodecFlags, codecOf } from '#src/cli/codec-options.js';

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
  ] as const)('%o is wrong usage of %s', (given, field) => {
    expect(() => codecOf(flags(given))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
    );
  });
});
