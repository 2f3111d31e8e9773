import { expect, it } from 'vitest';
import { concatenateIds } from '#src/core/samples.js';

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
