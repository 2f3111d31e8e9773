import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LruCache } from '#src/core/lru-cache.js';

test('keeps what was used last, as far as it fits: against a list', () => {
  const use = fc.record({ key: fc.nat(5), size: fc.option(fc.integer({ min: 1, max: 12 })) });
  fc.assert(
    fc.property(fc.array(use, { maxLength: 40 }), (uses) => {
      const cache = new LruCache<string>(10, ({ length }) => length);
      let list: (readonly [number, string])[] = [];
      for (const { key, size } of uses) {
        const known = list.find(([own]) => own === key);
        const value = size === null ? known?.[1] : 'x'.repeat(size);
        if (size === null) expect(cache.get(key)).toBe(value);
        else cache.set(key, 'x'.repeat(size));
        if (value === undefined) continue;
        list = [...list.filter(([own]) => own !== key), [key, value]];
        while (list.reduce((sum, [, { length }]) => sum + length, 0) > 10) list.shift();
      }
      const kept = Array.from({ length: 6 }, (_, key) => cache.get(key));
      expect(kept).toEqual(
        Array.from({ length: 6 }, (_, key) => list.find(([own]) => own === key)?.[1]),
      );
      cache.clear();
      expect(cache.get(0)).toBeUndefined();
    }),
  );
});
