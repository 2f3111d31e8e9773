import { expect, it } from 'vitest';
import { fuzz } from './fuzz.mjs';

it('gives a typed error for any mutant of a valid file: a slice of the fuzzer', async () => {
  const { executions, targets, failures } = await fuzz({ seconds: 4, seed: 20 });
  expect(targets.length).toBeGreaterThan(50);
  expect(executions).toBeGreaterThan(100);
  expect(failures.map(({ target, reason }) => `${target}: ${reason}`)).toEqual([]);
});
