import { expect, test } from 'vitest';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';

const draw = (count: number, bound: number) => [
  ...new RandomSequence(7, STREAM.training, 3).distinct(count, bound),
];

test('fewer distinct numbers are the start of more of them, however few', () => {
  const all = draw(1000, 1000);
  expect([...all].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  for (const count of [0, 1, 2, 61, 62, 63, 64, 500]) {
    expect(draw(count, 1000)).toEqual(all.slice(0, count));
  }
});

test('a few of 2^32 numbers take no memory for the others', () => {
  const few = draw(1000, 2 ** 32);
  expect(new Set(few).size).toBe(1000);
  expect(Math.max(...few)).toBeGreaterThan(2 ** 31);
});

test('continues after any number of words', () => {
  const whole = new RandomSequence(3, STREAM.codec, 1);
  const words = Array.from({ length: 40 }, () => whole.word());
  for (let drawn = 0; drawn < 40; drawn++) {
    const rest = new RandomSequence(3, STREAM.codec, 1);
    rest.word();
    rest.skipTo(drawn);
    expect(rest.drawn).toBe(drawn);
    expect(rest.word()).toBe(words[drawn]);
    expect(rest.drawn).toBe(drawn + 1);
  }
});
