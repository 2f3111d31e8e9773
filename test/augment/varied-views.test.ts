import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { varyViews } from '#src/augment/varied-views.js';

/** Views whose pixels tell where they are: (sample, row, column). */
function numbered(samples: readonly number[], [height, width]: readonly [number, number]) {
  const views = new Float32Array(samples.length * height * width * 3);
  for (let i = 0; i < views.length / 3; i++) {
    const place = [Math.floor(i / width / height), Math.floor(i / width) % height, i % width];
    views.set(place, 3 * i);
  }
  return views;
}

/** Index of a pixel in a row that goes on as its own mirror image on both sides. */
function folded(place: number, side: number): number {
  const period = Math.max(1, 2 * (side - 1));
  const inside = ((place % period) + period) % period;
  return inside < side ? inside : period - inside;
}

/** Whether a numbered view is the whole one, moved and then mirrored, or rather read so. */
function isChanged(
  view: Float32Array,
  [height, width]: readonly [number, number],
  [mirrored, dy, dx]: readonly [number, number, number],
): boolean {
  for (let i = 0; i < height * width; i++) {
    const x = folded((i % width) + dx, width);
    if (view[3 * i + 1] !== folded(Math.floor(i / width) + dy, height)) return false;
    if (view[3 * i + 2] !== (mirrored ? width - 1 - x : x)) return false;
  }
  return true;
}

/** The (mirrored, dy, dx) that make the view out of the whole one, as text; undefined if none do. */
function changeOf(view: Float32Array, size: readonly [number, number], most: number) {
  for (let mirrored = 0; mirrored < 2; mirrored++) {
    for (let dy = -most; dy <= most; dy++) {
      for (let dx = -most; dx <= most; dx++) {
        if (isChanged(view, size, [mirrored, dy, dx])) return `${mirrored} ${dy} ${dx}`;
      }
    }
  }
  return undefined;
}

describe('varyViews', () => {
  const sides = fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 60 }));

  test('mirrors and moves each view by at most a 24th of its side', () => {
    fc.assert(
      fc.property(sides, fc.nat(), fc.nat(1000), (size, seed, epoch) => {
        const sampleIds = Uint32Array.of(7, 0, 4e9);
        const views = numbered([0, 1, 2], size);
        varyViews(views, { seed, epoch, sampleIds, size });
        const pixels = size[0] * size[1] * 3;
        const most = Math.max(1, ...size.map((side) => Math.round(side / 24)));
        for (let i = 0; i < sampleIds.length; i++) {
          const view = views.subarray(i * pixels, (i + 1) * pixels);
          expect(view.filter((_, j) => j % 3 === 0).every((own) => own === i)).toBe(true);
          expect(changeOf(view, size, most)).toBeDefined();
        }
      }),
      { numRuns: 60 },
    );
  });

  test('draws all changes equally often, each by seed, epoch and sample alone', () => {
    const size = [24, 48] as const;
    const count = 600;
    const sampleIds = Uint32Array.from({ length: count }, (_, i) => i);
    const views = numbered([...sampleIds], size);
    varyViews(views, { seed: 5, epoch: 3, sampleIds, size });
    const pixels = 24 * 48 * 3;
    const counts = new Map<string, number>();
    for (let i = 0; i < count; i++) {
      const change = changeOf(views.subarray(i * pixels, (i + 1) * pixels), size, 2);
      counts.set(`${change}`, (counts.get(`${change}`) ?? 0) + 1);
    }
    // 2 x 3 x 5 changes of 20 each: fewer than 5 or more than 45 of one come once in 10,000 runs of another seed.
    expect(counts.size).toBe(30);
    for (const found of counts.values()) expect(Math.abs(found - 20)).toBeLessThan(25);
    const alone = numbered([0], size);
    varyViews(alone, { seed: 5, epoch: 3, sampleIds: Uint32Array.of(17), size });
    const [, ...together] = [0, ...views.subarray(17 * pixels, 18 * pixels)];
    expect([...alone].filter((_, i) => i % 3 > 0)).toEqual(together.filter((_, i) => i % 3 > 0));
  });
});
