import { expect, it } from 'vitest';
import { fuzz } from './fuzz.mjs';

it('gives a typed error for any mutant of a valid file', { timeout: 300_000 }, async () => {
  const seed = Math.floor(Date.now() / 1000);
  const { executions, seconds, failures } = await fuzz({ seconds: 30, seed });
  console.log(`seed ${seed}: ${executions} inputs, ${Math.round(executions / seconds)} per second`);
  expect(failures.map(({ target, reason }) => `seed ${seed}, ${target}: ${reason}`)).toEqual([]);
});
