import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EpochOrder } from '#src/loader/order.js';

test('visits every sample exactly once', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3000 }),
      fc.nat(),
      fc.nat({ max: 500 }),
      (count, seed, epoch) => {
        const order = new EpochOrder(count, seed, epoch);
        const seen = new Set(Array.from({ length: count }, (_, i) => order.at(i)));
        expect(seen.size).toBe(count);
        expect(Math.max(...seen)).toBe(count - 1);
      },
    ),
  );
});

test('stays in range at four billion samples', () => {
  const order = new EpochOrder(2 ** 32, 7, 1);
  const seen = new Set<number>();
  for (let i = 0; i < 2000; i++) seen.add(order.at(2 ** 32 - 1 - i));
  expect(seen.size).toBe(2000);
  for (const sample of seen) expect(sample >= 0 && sample < 2 ** 32).toBe(true);
});

test('orders of seeds and epochs are unlike each other and unlike the identity', () => {
  const of = (seed: number, epoch: number) => {
    const order = new EpochOrder(1000, seed, epoch);
    return Array.from({ length: 1000 }, (_, i) => order.at(i));
  };
  const orders = [of(0, 0), of(0, 1), of(1, 0), of(2 ** 32, 0), of(0, 0).map((_, i) => i)];
  for (const [i, a] of orders.entries()) {
    for (const b of orders.slice(i + 1)) {
      // Two random orders agree in about one place of a thousand.
      expect(a.filter((sample, position) => sample === b[position]).length).toBeLessThan(12);
    }
  }
  expect(of(0, 0)).toEqual(of(0, 0));
});

test('the first half of an order holds samples from everywhere', () => {
  const order = new EpochOrder(1000, 5, 0);
  const low = Array.from({ length: 500 }, (_, i) => order.at(i)).filter((sample) => sample < 500);
  // Hypergeometric with mean 250 and standard deviation 8.
  expect(Math.abs(low.length - 250)).toBeLessThan(40);
});
