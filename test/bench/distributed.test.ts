import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';

const { committed, DOCS, tables } = await import(
  new URL('../../bench/distributed/table.mjs', import.meta.url).href
);

it('docs/distributed.md says what was measured', async () => {
  expect(committed(await readFile(DOCS, 'utf8'))).toBe(tables());
});
