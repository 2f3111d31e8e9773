import fc from 'fast-check';
import { expect, it } from 'vitest';
import { byProbability, drawnByFrequency, textRanks } from '#src/tokens/text-ranks.js';

it('orders entries by probability, equal ones as they were, unused ones behind them', () => {
  const label = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 7, maxLength: 7 });
  fc.assert(
    fc.property(fc.array(label, { maxLength: 5 }), (labels) => {
      const values = Float32Array.from(labels.flat(), (count) => count / 4);
      const ids = Int32Array.from(values, (_, i) => 100 + i);
      const expected = labels.flatMap((own, row) =>
        [...own.keys()].sort((a, b) => own[b] - own[a] || a - b).map((i) => 100 + row * 7 + i),
      );
      expect([...byProbability(ids, values, 7)]).toEqual(expected);
    }),
  );
});

it('orders draws by how often they came, equal ones by id', () => {
  const draws = Uint32Array.of(3, 3, 5, 9, 9, 9, 0, 1, 2, 2, 7, 8);
  const ids = drawnByFrequency(draws, 6);
  expect([...ids]).toEqual([9, 3, 5, 0, 0, 0, 2, 0, 1, 7, 8, 0]);
});

it.each([
  [{ k: 12, samples: 8 }, 12],
  [{ k: 50, samples: 0 }, 32],
  [{ k: 0, samples: 50, draws: 'counted' }, 32],
  [{ k: 0, samples: 12, draws: 'counted' }, 12],
  // As archives of before have them.
  [{ k: 0, samples: 50 }, 0],
] as const)('texts of %j are told by %i entries', (config, ranks) => {
  expect(textRanks(config)).toBe(ranks);
});
