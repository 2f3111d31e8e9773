import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TRELLISES, type Trellis } from '#src/kernels/rans.js';
import { cpu, errorOf, guarded, randomStream, reference } from './support.js';

const BOTH = [{ kernels: reference }, { kernels: cpu }];

interface Shape {
  readonly labels: number;
  readonly rank: number;
  readonly seed: number;
}

const shapes = fc.record({
  labels: fc.constantFrom(0, 1, 2, 3, 5, 7, 8, 9, 63, 64, 65, 257),
  rank: fc.integer({ min: 1, max: 19 }),
  seed: fc.nat(),
});

/** Mostly a few units in size; some far beyond every table, some no numbers. */
function drawnValues(random: () => number, length: number): Float32Array {
  const odd = [Number.NaN, Infinity, -Infinity, -0, 0, 1e-40, -254.5, 255, 6e4, -7e4, 1e30];
  return Float32Array.from({ length }, () =>
    random() < 0.03 ? odd[Math.floor(odd.length * random())] : 12 * (random() - 0.5) ** 3,
  );
}

const drawnShifts = (random: () => number, rank: number) =>
  Int8Array.from({ length: rank }, () => 255 * random() - 127);

/** Small enough that errors matter, with ties. */
const drawnCosts = (random: () => number, rank: number) =>
  Float64Array.from({ length: rank * 512 }, () => Math.floor(6 * random()) / 4);

describe('the search of a trellis', () => {
  it.each([4, 8] as const)('gives the indices of plain TypeScript, %i states', (trellis) => {
    const run = ({ labels, rank, seed }: Shape) => {
      const random = randomStream(seed);
      const values = drawnValues(random, labels * rank);
      const [shifts, costs] = [drawnShifts(random, rank), drawnCosts(random, rank)];
      const args = { values, unit: 0.5 + random(), shifts, costs, trellis };
      const expected = new Int16Array(labels * rank).fill(99);
      reference.quantise({ ...args, out: expected });
      for (const threads of [1, 2]) {
        const { view, intact } = guarded(Uint16Array, labels * rank, { guard: 9 });
        const out = new Int16Array(view.buffer, view.byteOffset, view.length);
        cpu.quantise({ ...args, out, threads });
        expect(out).toEqual(expected);
        expect(intact()).toBe(true);
      }
    };
    fc.assert(fc.property(shapes, run), { numRuns: 40 });
  });

  it.each(BOTH)('finds what trying all ways finds, on $kernels.name', ({ kernels }) => {
    const random = randomStream(11);
    const [rank, most] = [3, 4];
    for (const trellis of [4, 8] as const) {
      for (let round = 0; round < 20; round++) {
        const values = Float32Array.from({ length: rank }, () => 9 * (random() - 0.5));
        const shifts = Int8Array.from({ length: rank }, () => 60 * (random() - 0.5));
        // Dearer the larger, as entropy tables are: an index that is not among the nearest never pays.
        const rate = 0.5 * random();
        const costs = Float64Array.from({ length: rank * 512 }, (_, i) => {
          return rate * Math.abs((i % 256) - 128);
        });
        const out = new Int16Array(rank);
        kernels.quantise({ values, unit: 1, shifts, costs, trellis, out });
        const costOf = (indices: readonly number[]) =>
          pathCost(indices, { values, shifts, costs, trellis });
        let least = Number.POSITIVE_INFINITY;
        for (const path of paths(rank, most)) least = Math.min(least, costOf(path));
        expect(costOf([...out])).toBeCloseTo(least, 9);
      }
    }
  });
});

function* paths(rank: number, most: number): Generator<readonly number[]> {
  const each = 2 * most + 1;
  for (let i = 0; i < each ** rank; i++) {
    yield Array.from({ length: rank }, (_, j) => (Math.floor(i / each ** j) % each) - most);
  }
}

interface Problem {
  readonly values: Float32Array;
  readonly shifts: Int8Array;
  readonly costs: Float64Array;
  readonly trellis: 4 | 8;
}

/** Squared error and costs of some indices, by the words of native/core/quantiser.h. */
function pathCost(indices: readonly number[], { values, shifts, costs, trellis }: Problem): number {
  let [state, sum] = [0, 0];
  for (const [j, k] of indices.entries()) {
    const context = TRELLISES[trellis].context[state];
    const size = Math.abs(k) * 2 - (k === 0 ? 0 : context);
    const value = Math.sign(k) * (k === 0 ? 0 : size - shifts[j] / 128);
    sum += (values[j] - value) ** 2 + costs[512 * j + 256 * context + 128 + k];
    state = TRELLISES[trellis].next[2 * state + (k & 1)];
  }
  return sum;
}

describe('values of indices', () => {
  it.each([1, 4, 8] as const)('are those of plain TypeScript, %i states', (trellis: Trellis) => {
    const run = ({ labels, rank, seed }: Shape) => {
      const random = randomStream(seed);
      const indices = Int16Array.from({ length: labels * rank }, () =>
        random() < 0.05 ? 65_536 * random() - 32_768 : 5 * (random() - 0.5),
      );
      const args = { indices, shifts: drawnShifts(random, rank), unit: 3 * random(), trellis };
      const expected = new Float32Array(labels * rank).fill(9);
      reference.dequantise({ ...args, out: expected });
      const { view, intact } = guarded(Float32Array, labels * rank, { guard: 17 });
      cpu.dequantise({ ...args, out: view });
      expect(view).toEqual(expected);
      expect(intact()).toBe(true);
    };
    fc.assert(fc.property(shapes, run), { numRuns: 40 });
  });

  it.each(BOTH)(
    'are multiples by the walk, moved towards zero, on $kernels.name',
    ({ kernels }) => {
      // Of 4 states: 0 --odd--> 2 (context 1) --even--> 1 (context 0) --odd--> 0.
      const indices = Int16Array.of(3, -2, -1, 0);
      const out = new Float32Array(4);
      const shifts = Int8Array.of(64, -32, 0, 100);
      kernels.dequantise({ indices, shifts, unit: 2, trellis: 4, out });
      expect([...out]).toEqual([2 * (6 - 0.5), -2 * (3 + 0.25), -4, 0]);
    },
  );
});

describe('centred logits', () => {
  it('are those of plain TypeScript, and of float64 sums to rounding', () => {
    const run = ({ labels, rank: classes, seed }: Shape, given: boolean) => {
      const random = randomStream(seed);
      const logits = Float32Array.from({ length: labels * classes }, () =>
        random() < 0.1 ? -60_000 : 30 * (random() - 0.5),
      );
      const mean = Float32Array.from({ length: classes }, random);
      const args = { logits, classes, depth: 87 * random() + 1, ...(given && { mean }) };
      const { view, intact } = guarded(Float32Array, logits.length, { guard: 17 });
      cpu.centreLogits({ ...args, out: view });
      const expected = new Float32Array(logits.length).fill(9);
      reference.centreLogits({ ...args, out: expected });
      expect(view).toEqual(expected);
      expect(intact()).toBe(true);
      for (let row = 0; row < labels; row++) {
        const own = [...logits.subarray(row * classes, (row + 1) * classes)];
        const limited = own.map((value) => Math.max(value, Math.max(...own) - args.depth));
        const centre = limited.reduceRight((sum, value) => sum + value / classes, 0);
        for (const [j, value] of limited.entries()) {
          const exact = value - centre - (given ? mean[j] : 0);
          expect(Math.abs(view[row * classes + j] - exact)).toBeLessThan(1e-5);
        }
      }
    };
    fc.assert(fc.property(shapes, fc.boolean(), run), { numRuns: 20 });
  });
});

it.each(BOTH)('wrong arguments are named, on $kernels.name', ({ kernels }) => {
  const [shifts, costs] = [new Int8Array(2), new Float64Array(1024)];
  const quantise = { shifts, costs, values: new Float32Array(4), unit: 1, trellis: 4 } as const;
  const out = new Int16Array(4);
  for (const [field, change] of [
    ['trellis', { trellis: 1 }],
    ['trellis', { trellis: 16 }],
    ['values', { values: new Float32Array(3) }],
    ['values', { values: new Float64Array(4) }],
    ['shifts', { shifts: new Int8Array(0) }],
    ['costs', { costs: new Float64Array(1023) }],
    ['unit', { unit: 0 }],
    ['unit', { unit: Number.NaN }],
    ['out', { out: new Int16Array(5) }],
    ['out', { out: new Int16Array(quantise.values.buffer, 0, 4) }],
    ['threads', { threads: -1 }],
  ] as const) {
    const error = errorOf(() => kernels.quantise({ ...quantise, out, ...(change as object) }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
  const dequantise = { indices: new Int16Array(4), shifts, unit: 1, trellis: 8 } as const;
  for (const [field, change] of [
    ['trellis', { trellis: 2 }],
    ['indices', { indices: new Int16Array(5) }],
    ['unit', { unit: -1 }],
    ['out', { out: new Float32Array(3) }],
  ] as const) {
    const own = { ...dequantise, out: new Float32Array(4), ...(change as object) };
    const error = errorOf(() => kernels.dequantise(own));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
  const centre = { logits: new Float32Array(6), classes: 3, depth: 1 };
  for (const [field, change] of [
    ['classes', { classes: 0 }],
    ['logits', { classes: 4 }],
    ['depth', { depth: Infinity }],
    ['mean', { mean: new Float32Array(2) }],
    ['out', { out: centre.logits }],
  ] as const) {
    const own = { ...centre, out: new Float32Array(6), ...(change as object) };
    const error = errorOf(() => kernels.centreLogits(own));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
});
