import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BatchPlan, type BatchPlanOptions, type Position } from '#src/loader/plan.js';

const EPOCHS = 3;
const options = fc.record({
  samples: fc.integer({ min: 1, max: 90 }),
  batchSize: fc.integer({ min: 1, max: 20 }),
  seed: fc.nat(),
  shuffle: fc.boolean(),
  dropLast: fc.boolean(),
  worldSize: fc.integer({ min: 1, max: 5 }),
});

/** The batches from a position on. */
function batchesFrom(plan: BatchPlan, start: Position = { epoch: 0, start: 0 }) {
  const batches: { readonly position: Position; readonly ids: readonly number[] }[] = [];
  let position = plan.from(start, EPOCHS);
  while (position !== undefined) {
    batches.push({ position, ids: [...plan.samplesOf(position)] });
    position = plan.after(position, EPOCHS);
  }
  return batches;
}

const planOf = (given: Omit<BatchPlanOptions, 'rank'>, rank = 0) =>
  new BatchPlan({ ...given, rank });

describe('a plan of batches', () => {
  test('shows every sample once an epoch, in batches of the size asked for', () => {
    fc.assert(
      fc.property(options, (given) => {
        const alone = { ...given, worldSize: 1 };
        const plan = planOf(alone);
        const batches = batchesFrom(plan);
        expect(batches.length).toBe(EPOCHS * plan.batchesPerEpoch);
        for (let epoch = 0; epoch < EPOCHS; epoch++) {
          const own = batches.filter(({ position }) => position.epoch === epoch);
          const ids = own.flatMap((batch) => batch.ids);
          expect(new Set(ids).size).toBe(ids.length);
          const whole = Math.floor(given.samples / given.batchSize) * given.batchSize;
          expect(ids.length).toBe(given.dropLast ? whole : given.samples);
          for (const [i, batch] of own.entries()) expect(plan.indexOf(batch.position)).toBe(i);
          for (const { ids: list } of own.slice(0, -1)) expect(list.length).toBe(given.batchSize);
        }
      }),
    );
  });

  test('goes on from any of its positions as it would have gone on', () => {
    fc.assert(
      fc.property(options, fc.nat(), (given, pick) => {
        const plan = planOf(given);
        const all = batchesFrom(plan);
        if (all.length === 0) return;
        const from = pick % all.length;
        expect(batchesFrom(planOf(given), all[from].position)).toEqual(all.slice(from));
      }),
    );
  });

  test('gives ranks together what one loader of all their batches gives, evenly', () => {
    fc.assert(
      fc.property(options, (given) => {
        const { worldSize } = given;
        const batchSize = given.batchSize * worldSize;
        const alone = batchesFrom(planOf({ ...given, batchSize, worldSize: 1 }));
        const ranks = Array.from({ length: worldSize }, (_, rank) =>
          batchesFrom(planOf(given, rank)),
        );
        for (const [i, { position, ids }] of alone.entries()) {
          const parts = ranks.map((batches) => batches[i]);
          for (const part of parts) {
            expect(part.position).toEqual(position);
            expect(part.ids.length).toBe(Math.ceil(ids.length / worldSize));
          }
          const woven = parts[0].ids.flatMap((_, at) => parts.map((part) => part.ids[at]));
          expect(woven.slice(0, ids.length)).toEqual(ids);
        }
        expect(ranks.every((batches) => batches.length === alone.length)).toBe(true);
      }),
    );
  });

  test('shows every sample once an epoch when another number of ranks goes on', () => {
    const fleet = {
      batchSize: fc.integer({ min: 1, max: 6 }),
      worldSize: fc.integer({ min: 1, max: 7 }),
    };
    fc.assert(
      fc.property(options, fc.record(fleet), fc.nat(), (given, change, pick) => {
        const before = { ...given, dropLast: false };
        const after = { ...before, ...change };
        const order = [
          ...planOf({ ...before, batchSize: before.samples, worldSize: 1 }).samplesOf({
            ...{ epoch: 0, start: 0 },
          }),
        ];
        const first = batchesFrom(planOf(before)).filter(({ position }) => position.epoch === 0);
        // What `state()` says after so many batches.
        const { start } = first[pick % first.length].position;
        const shown = (fleet: typeof before, from: number, to: number) => {
          const ranks = Array.from({ length: fleet.worldSize }, (_, rank) =>
            batchesFrom(planOf(fleet, rank), { epoch: 0, start: from }).filter(
              ({ position }) => position.epoch === 0 && position.start < to,
            ),
          );
          // Without what fills the last batch, which begins the order again.
          return ranks[0]
            .flatMap(({ ids }, i) => ids.flatMap((_, at) => ranks.map((own) => own[i].ids[at])))
            .slice(0, to - from);
        };
        const { samples } = before;
        const all = [...shown(before, 0, start), ...shown(after, start, samples)];
        expect(all).toEqual(order);
        expect(new Set(all).size).toBe(samples);
      }),
    );
  });
});
