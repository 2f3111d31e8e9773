import { describe, expect, test } from 'vitest';
import type { CheckContext } from '#src/codecs/descriptor.js';
import { CODECS, type CodecChoice } from '#src/codecs/registry.js';
import { requireNoProblems } from '#src/core/check.js';

const context = { classes: 200, samples: 1000, labels: 10_000, tau: 20, eps: 1e-6, memory: 8e9 };

describe('what cannot be made is known before labels are read', () => {
  test.each([
    [{ name: 'vqae', dh: 100, dc: 30, k: 48 }, {}, ['dh', 'k']],
    [{ ratio: 200 }, { classes: 4 }, ['ratio']],
    [{ ratio: Number.NaN }, {}, ['ratio']],
    [{ name: 'topk', ratio: 134 }, {}, ['ratio']],
    [{ name: 'topk', k: 9 }, { classes: 4 }, ['k']],
    [{ name: 'topk', k: 9, values: 'none', rest: 'uniform' }, { classes: 4 }, ['k', 'rest']],
    [{ ratio: 40 }, { training: { steps: -1, seed: 0.5 } }, ['training.steps', 'training.seed']],
    [
      { ratio: 40 },
      { training: { batch: 0, beta: Number.NaN } },
      ['training.batch', 'training.beta'],
    ],
    [{ ratio: 40 }, { training: { initialisation: 'kmeans' } }, ['training.initialisation']],
    [{ name: 'pca', k: 201 }, {}, ['k']],
    [{ name: 'rpca', k: 1.5 }, {}, ['k']],
    [{ name: 'vq', dc: 0, k: 3 }, { tau: 0, eps: 1 }, ['tau', 'eps', 'dc', 'k']],
    [{ name: 'scalar', levels: 12 }, { tau: Number.POSITIVE_INFINITY }, ['tau', 'levels']],
    [{ name: 'mean', groups: new Uint32Array(4) }, {}, ['groups']],
    [{ name: 'mean', ratio: 4 }, {}, ['ratio']],
    [{ name: 'none', store: 'halves' }, { classes: 2 ** 29 }, ['classes', 'store']],
    [{ name: 'huffman' }, {}, ['codec']],
    // A decoder of 50,256 x 50,257 float32, and eight times as much to train it.
    [{ ratio: 40 }, { classes: 50_257 }, ['codec', 'codec']],
    [{ name: 'pca', k: 10 }, { classes: 502_570 }, ['codec']],
    [{ name: 'pca', k: 10 }, { trainingLabels: 10 }, ['labels']],
    [{ name: 'vqae', dh: 8, dc: 4, k: 64 }, { labels: 127 }, ['labels']],
  ])('%o of %o: %o', (choice, change, fields) => {
    const all = { ...context, ...change } as CheckContext;
    const problems = CODECS.problemsOf(choice as CodecChoice, all);
    expect(problems.map(({ field }) => field)).toEqual(fields);
    for (const { message, expected } of problems) expect(`${message}${expected}`).not.toBe('');
  });

  test.each([
    [{ ratio: 40 }, {}],
    [{ ratio: 64 }, { classes: 4 }],
    [{ name: 'topk', k: 4 }, { classes: 4 }],
    [{ name: 'vqae', dh: 8, dc: 4, k: 64 }, { labels: 128 }],
    [{ name: 'pca', k: 10 }, { trainingLabels: 11 }],
    [{ name: 'topk', ratio: 40 }, { classes: 50_257 }],
  ] as const)('%o of %o can be', (choice, change) => {
    expect(CODECS.problemsOf(choice, { ...context, ...change })).toEqual([]);
  });

  test('one error lists every problem, with the code of a single kind', () => {
    const choice = { name: 'vqae', dh: 100, dc: 30, k: 48 } as const;
    const raise = () => requireNoProblems(CODECS.problemsOf(choice, context));
    expect(raise).toThrow(/2 problems:\n- dh: .* multiple of dc = 30.*\n- k: .* power of two/);
    expect(raise).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'dh' }));
    expect(() => requireNoProblems([])).not.toThrow();
  });
});
