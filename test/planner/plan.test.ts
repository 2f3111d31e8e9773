import { describe, expect, test } from 'vitest';
import { type PlanRequest, planLabels } from '#src/planner/plan.js';

const paper = { classes: 1000, ipc: 10, epochs: 300, imageBytes: 13_600, batch: 64 };

describe('planLabels', () => {
  test('every codec stays within the budget, and its archive is told with all of its parts', () => {
    const plan = planLabels({ ...paper, ratio: 40 });
    expect(plan.full).toBe(6e9);
    expect(plan.budget).toBe(1.5e8);
    const names = plan.codecs.map(({ name }) => name);
    expect(names).toEqual([
      'vqae',
      'topk',
      'pca',
      'rpca',
      'vq',
      'transform',
      'predictive',
      'prune',
      'none',
    ]);
    for (const { name, bytes, formula } of plan.codecs) {
      const { codes, codec, metadata, container, total } = bytes;
      expect(codes + codec + metadata + container).toBe(total);
      if (name === 'none') continue;
      expect(total).toBeLessThanOrEqual(1.5e8);
      expect(total).toBeGreaterThan(0.95 * 1.5e8);
      // What the formulas leave out is small at this size; bits are whole in an archive.
      if (formula !== undefined) expect(Math.abs(total / formula - 1)).toBeLessThan(0.01);
    }
  });

  test('a size in bytes is the same question', () => {
    const { budget: _, ...byRatio } = planLabels({ ...paper, ratio: 40 });
    const { budget: __, ...byBytes } = planLabels({ ...paper, bytes: 1.5e8 });
    expect(byBytes).toEqual(byRatio);
  });

  test('says from which ratio on, and up to how many epochs, labels are smaller than the teacher', () => {
    const { teacher } = planLabels({ ...paper, ratio: 40, teacherBytes: 46_800_000 });
    expect(teacher).toEqual({
      bytes: 46_800_000,
      forwardPassesAnEpoch: 10_000,
      forwardPasses: 3_000_000,
      smallerFrom: 6e9 / 46_800_000,
      epochsAtBudget: 93,
    });
    // Labels of 94 epochs at 40x: just above the teacher.
    expect((94 / 300) * (6e9 / 40)).toBeGreaterThan(46_800_000);
    expect((93 / 300) * (6e9 / 40)).toBeLessThan(46_800_000);
  });

  test.each([
    [1, 40, ['none'], ['vqae', 'topk', 'pca', 'rpca', 'vq', 'scalar']],
    [2, 1, ['none'], []],
    [3, 2, ['none'], []],
    [4, 3, ['none'], []],
    [10_450, 40, ['vqae', 'topk', 'pca', 'rpca', 'vq', 'none', 'prune'], ['scalar']],
    [50_257, 200, ['vqae', 'topk', 'pca', 'rpca', 'vq', 'none', 'prune'], ['scalar']],
  ])(
    '%i classes at %ix: what cannot be is marked, and the rest is planned',
    (classes, ratio, some, not) => {
      const ipc = classes > 20_000 ? 1 : 10;
      const { codecs, impossible } = planLabels({ ...paper, classes, ipc, ratio });
      expect(codecs.map(({ name }) => name)).toEqual(expect.arrayContaining(some));
      expect(impossible.map(({ name }) => name)).toEqual(expect.arrayContaining(not));
      const all = [...codecs, ...impossible].map(({ name }) => name);
      for (const name of ['vqae', 'topk', 'pca', 'rpca', 'vq', 'scalar', 'none']) {
        expect(all.filter((other) => other === name)).toHaveLength(1);
      }
      for (const { reason } of impossible)
        expect(reason).toMatch(/this small|a shard can hold|the size of a shard|make no batch/);
    },
  );

  test.each([
    [{ ratio: 0.5 }, 'ratio'],
    [{ ratio: Number.NaN }, 'ratio'],
    [{ bytes: 7e9 }, 'bytes'],
    [{ bytes: 0 }, 'bytes'],
  ])('%o is no size', (size, field) => {
    expect(() => planLabels({ ...paper, ...size } as PlanRequest)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
    );
  });

  test('weighs the epochs of codecs of few bits per label, and tells', () => {
    const { codecs, budget } = planLabels({ ...paper, ratio: 400 });
    const transform = codecs.find(({ name }) => name === 'transform');
    expect(transform?.storedEpochs).toBe(66);
    expect(transform?.weighed?.map(({ epochs }) => epochs)).toEqual([300, 150, 66, 60, 30]);
    expect(transform?.bytes.total).toBeLessThanOrEqual(budget);
    expect(transform?.bytes.total).toBeGreaterThan(0.99 * budget);
    expect(codecs.find(({ name }) => name === 'vqae')?.storedEpochs).toBeUndefined();
  });

  test('stores as many epochs as it is told, with every codec', () => {
    const { codecs, budget } = planLabels({ ...paper, ratio: 400, keep: 30 });
    for (const { name, storedEpochs, bytes, weighed } of codecs) {
      expect([name, storedEpochs, weighed]).toEqual([name, 30, undefined]);
      if (name !== 'none') expect(bytes.total).toBeLessThanOrEqual(budget);
    }
    const most = () => planLabels({ ...paper, ratio: 400, keep: 301 });
    expect(most).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'keep' }));
  });

  test('of one codec, by bits per label too', () => {
    const plan = planLabels({ ...paper, codec: 'transform', rate: 100, keep: 60 });
    expect(plan.codecs.map(({ name }) => name)).toEqual(['transform']);
    expect(plan.codecs[0].bitsPerLabel).toBeCloseTo(100, 0);
    expect(plan.levelSet).toEqual([]);
    for (const change of [{ codec: 'vqae', rate: 100 }, { rate: 100 }, { codec: 'no', ratio: 4 }]) {
      const call = () => planLabels({ ...paper, ...change } as PlanRequest);
      expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'codec' }));
    }
  });

  test('says what the teacher is worth in a byte per parameter', () => {
    const { teacher } = planLabels({ ...paper, ratio: 40, teacherParameters: 11_700_000 });
    expect(teacher).toMatchObject({
      bytes: 46_800_000,
      int8: { bytes: 11_700_000, smallerFrom: 6e9 / 11_700_000 },
    });
  });
});
