import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import { abiDifference } from '#src/kernels/abi.js';
import type { Addon } from '#src/kernels/addon.js';

const { abi } = createRequire(import.meta.url)('../../build/Release/softpack.node') as Addon;
const tables = abi as Record<string, Record<string, number>>;

it('agrees with the numbers and layouts that the addon was compiled with', () => {
  expect(abiDifference(abi)).toBeUndefined();
});

it('names any single number that differs, is missing or is new', () => {
  for (const [name, table] of Object.entries(tables)) {
    for (const [key, value] of Object.entries(table)) {
      const changed = { ...tables, [name]: { ...table, [key]: value + 1 } };
      expect(abiDifference(changed)).toBe(`${name}.${key} is ${value + 1}, expected ${value}`);
      const { [key]: _, ...fewer } = table;
      expect(abiDifference({ ...tables, [name]: fewer })).toMatch(`${name}.${key} is undefined`);
    }
    expect(abiDifference({ ...tables, [name]: { ...table, more: 1 } })).toMatch(`${name}.more`);
  }
});

it.each([undefined, null, 1, {}, []])('refuses an addon whose tables are %j', (found) => {
  expect(abiDifference(found)).toMatch(/is undefined/);
});
