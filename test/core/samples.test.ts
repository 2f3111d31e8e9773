import { expect, it } from 'vitest';
import { concatenateIds, sampleIds } from '#src/core/samples.js';

it('joins more ids than fit on the stack as arguments', () => {
  const count = 1 << 20;
  const ids = Uint32Array.from({ length: count }, (_, i) => i);
  const all = concatenateIds(
    ids,
    ids.map((id) => id ^ 1),
  );
  expect(all.length).toBe(2 * count);
  expect([all[count - 1], all[count], all[2 * count - 1]]).toEqual([count - 1, 1, count - 2]);
});

it('takes samples as a range, a list and an array of ids, and nothing else', () => {
  expect(sampleIds({ start: 3, count: 2 })).toEqual(Uint32Array.of(3, 4));
  expect(sampleIds({ start: 3, count: 0 })).toEqual(new Uint32Array());
  expect(sampleIds([7, 0, 7])).toEqual(Uint32Array.of(7, 0, 7));
  const ids = Uint32Array.of(9, 1);
  expect(sampleIds(ids)).toBe(ids);
  const wrong: readonly (readonly [unknown, string])[] = [
    [undefined, 'samples'],
    [5, 'samples'],
    [new Float32Array(2), 'samples.start'],
    [{ start: 0 }, 'samples.count'],
    [{ start: -1, count: 1 }, 'samples.start'],
    [{ start: 0, count: 1.5 }, 'samples.count'],
    [{ start: 2 ** 32 - 1, count: 2 }, 'samples.count'],
    [[0, 0.5], 'samples[1]'],
    [[2 ** 32], 'samples[0]'],
    [['1'], 'samples[0]'],
  ];
  for (const [samples, field] of wrong) {
    expect(() => sampleIds(samples as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
    );
  }
});
