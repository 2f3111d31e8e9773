import { describe, expect, it } from 'vitest';
import type { ProjectArgs } from '#src/kernels/types.js';
import { bytesOf, cpu, guarded, randomFloats, randomStream, reference } from './support.js';

const FLAGS = [false, true];
const SIZES = [0, 1, 7, 17, 97];

type Shape = Pick<
  ProjectArgs,
  'rows' | 'inner' | 'columns' | 'transposeA' | 'transposeB' | 'accumulate'
>;

function operands(shape: Shape, seed: number) {
  const random = randomStream(seed);
  return {
    a: randomFloats(random, shape.rows * shape.inner),
    b: randomFloats(random, shape.inner * shape.columns),
    before: randomFloats(random, shape.rows * shape.columns),
  };
}

/** Dot product and sum of absolute products of one output element, from the definition. */
function element(shape: Shape, a: Float32Array, b: Float32Array, row: number, column: number) {
  let sum = 0;
  let size = 0;
  for (let k = 0; k < shape.inner; k++) {
    const left = a[shape.transposeA ? k * shape.rows + row : row * shape.inner + k] ?? Number.NaN;
    const right =
      b[shape.transposeB ? column * shape.inner + k : k * shape.columns + column] ?? Number.NaN;
    sum += left * right;
    size += Math.abs(left * right);
  }
  return { sum, size };
}

/** The greatest error over its bound; `roundings` are those of a chain of float32 multiply-adds, or 1. */
function worst(shape: Shape, seed: number, out: Float32Array, roundings: number): number {
  const { a, b, before } = operands(shape, seed);
  let most = 0;
  for (let i = 0; i < out.length; i++) {
    const { sum, size } = element(shape, a, b, Math.floor(i / shape.columns), i % shape.columns);
    const start = shape.accumulate ? (before[i] ?? 0) : 0;
    const bound = roundings * 2 ** -24 * (size + Math.abs(start)) + Number.MIN_VALUE;
    const error = Math.abs((out[i] ?? Number.NaN) - (sum + start)) / bound;
    most = Number.isNaN(error) ? Infinity : Math.max(most, error);
  }
  return most;
}

const shapes: Shape[] = SIZES.flatMap((rows) =>
  SIZES.flatMap((inner) =>
    SIZES.flatMap((columns) =>
      FLAGS.flatMap((transposeA) =>
        FLAGS.flatMap((transposeB) =>
          FLAGS.map((accumulate) => ({
            rows,
            inner,
            columns,
            transposeA,
            transposeB,
            accumulate,
          })),
        ),
      ),
    ),
  ),
);
// Edges of register tiles, row blocks, inner blocks and column blocks.
for (const transposeA of FLAGS) {
  for (const transposeB of FLAGS) {
    const flags = { transposeA, transposeB, accumulate: transposeA };
    shapes.push({ rows: 3, inner: 999, columns: 1001, ...flags });
    shapes.push({ rows: 1001, inner: 3, columns: 17, ...flags });
    shapes.push({ rows: 129, inner: 257, columns: 49, ...flags });
  }
}

describe.each([
  { kernels: reference, roundings: () => 1 },
  { kernels: cpu, roundings: (inner: number) => inner + 1 },
])('project of $kernels.name', ({ kernels, roundings }) => {
  it('keeps within its bound of float64 sums on all shapes and transposes', () => {
    for (const [seed, shape] of shapes.entries()) {
      const { a, b, before } = operands(shape, seed);
      const out = guarded(Float32Array, before.length);
      if (shape.accumulate) out.view.set(before);
      else out.view.fill(Number.NaN);
      kernels.project({ a, b, out: out.view, ...shape });
      const found = worst(shape, seed, out.view, roundings(shape.inner));
      expect(found, JSON.stringify(shape)).toBeLessThanOrEqual(1);
      expect(out.intact(), JSON.stringify(shape)).toBe(true);
    }
  });

  it('reads and writes views with offsets and shared memory', () => {
    const shape = { rows: 13, inner: 29, columns: 23 };
    const { a, b } = operands(shape, 5);
    const expected = new Float32Array(13 * 23);
    kernels.project({ a, b, out: expected, ...shape });
    for (const shared of FLAGS) {
      const views = {
        a: guarded(Float32Array, a.length, { shared, guard: 3 }).view,
        b: guarded(Float32Array, b.length, { shared, guard: 5 }).view,
      };
      views.a.set(a);
      views.b.set(b);
      const out = guarded(Float32Array, expected.length, { shared, guard: 1 });
      kernels.project({ ...views, out: out.view, ...shape });
      expect(bytesOf(out.view)).toEqual(bytesOf(expected));
      expect(out.intact()).toBe(true);
    }
  });

  it('gives the asynchronous form the same bytes', async () => {
    const shape = { rows: 100, inner: 200, columns: 150 };
    const { a, b } = operands(shape, 6);
    const now = new Float32Array(15000);
    const later = new Float32Array(15000).fill(Number.NaN);
    kernels.project({ a, b, out: now, ...shape });
    await kernels.projectAsync({ a, b, out: later, ...shape });
    expect(bytesOf(later)).toEqual(bytesOf(now));
  });
});

it('gives the same bytes for any number of threads, 20 times over', () => {
  const shape = { rows: 211, inner: 301, columns: 307 };
  const { a, b } = operands(shape, 7);
  const run = (threads: number) => {
    const out = new Float32Array(shape.rows * shape.columns).fill(Number.NaN);
    cpu.project({ a, b, out, ...shape, threads });
    return Buffer.from(out.buffer);
  };
  const expected = run(1);
  for (let repeat = 0; repeat < 20; repeat++) {
    for (const threads of [0, 1, 2, 5]) expect(run(threads).equals(expected)).toBe(true);
  }
});
