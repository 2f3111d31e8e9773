import { describe, expect, it } from 'vitest';
import { bytesOf, cpu, guarded, randomFloats, randomStream, reference } from './support.js';

function squaredDistances(vector: Float32Array, codebook: Float32Array, width: number): number[] {
  return Array.from({ length: codebook.length / width }, (_, level) =>
    vector.reduce((sum, value, d) => sum + (value - (codebook[level * width + d] ?? 0)) ** 2, 0),
  );
}

const CASES = [
  { count: 0, width: 3, levels: 4 },
  { count: 1, width: 1, levels: 1 },
  { count: 1, width: 7, levels: 2 },
  { count: 7, width: 5, levels: 15 },
  { count: 17, width: 1, levels: 16 },
  { count: 13, width: 20, levels: 17 },
  { count: 999, width: 5, levels: 64 },
  { count: 100, width: 50, levels: 128 },
  { count: 40, width: 15, levels: 999 },
  { count: 12, width: 100, levels: 1001 },
  { count: 3, width: 2, levels: 65536 },
];

describe.each([{ kernels: reference }, { kernels: cpu }])(
  'nearest of $kernels.name',
  ({ kernels }) => {
    it.each(CASES)('finds a nearest codeword: $count of $width in $levels', (size) => {
      const random = randomStream(size.count + size.levels);
      const vectors = randomFloats(random, size.count * size.width);
      const codebook = randomFloats(random, size.levels * size.width);
      const { view: out, intact } = guarded(Uint16Array, size.count);
      kernels.nearest({ vectors, codebook, out, width: size.width });
      expect(intact()).toBe(true);
      for (let i = 0; i < size.count; i++) {
        const vector = vectors.subarray(i * size.width, (i + 1) * size.width);
        const distances = squaredDistances(vector, codebook, size.width);
        const least = distances.reduce((a, b) => Math.min(a, b), Infinity);
        // The score ||mu||^2 / 2 - h mu cancels: its error is that of its terms, not of the distance.
        const terms = vector.reduce((sum, value) => sum + value * value, size.width);
        const slack = kernels === cpu ? 2 * (size.width + 1) * 2 ** -24 * 2 * terms : 0;
        expect(distances[out[i] ?? -1]).toBeLessThanOrEqual(least + slack);
        if (slack === 0) expect(out[i]).toBe(distances.indexOf(least));
      }
    });

    it('gives ties to the lowest index, wherever the equal codewords lie', () => {
      const width = 6;
      const levels = 77;
      const random = randomStream(3);
      for (const [first, second] of [
        [0, 76],
        [3, 4],
        [7, 8],
        [15, 16],
        [5, 21],
        [31, 70],
        [64, 76],
      ] as const) {
        const codebook = randomFloats(random, levels * width);
        codebook.copyWithin(second * width, first * width, (first + 1) * width);
        // The codeword itself is nearest to itself, and so is its copy.
        const vectors = new Float32Array(9 * width);
        for (let i = 0; i < 9; i++) {
          vectors.set(codebook.subarray(first * width, (first + 1) * width), i * width);
        }
        const out = new Uint16Array(9).fill(0xaaaa);
        kernels.nearest({ vectors, codebook, out, width });
        expect([...out]).toEqual(new Array(9).fill(first));
      }
      const equal = new Uint16Array(5).fill(0xaaaa);
      kernels.nearest({
        vectors: new Float32Array(20).fill(1),
        codebook: new Float32Array(4 * 300).fill(1),
        out: equal,
        width: 4,
      });
      expect([...equal]).toEqual([0, 0, 0, 0, 0]);
    });

    it('answers 0 for vectors without a nearest codeword', () => {
      const out = new Uint16Array(3).fill(0xaaaa);
      const vectors = Float32Array.of(Number.NaN, 0, Number.NaN, Number.NaN, 0, Number.NaN);
      kernels.nearest({ vectors, codebook: new Float32Array(64).fill(2), out, width: 2 });
      expect([...out]).toEqual([0, 0, 0]);
    });

    it('reads shared memory, and gives the asynchronous form the same bytes', async () => {
      const random = randomStream(9);
      const vectors = guarded(Float32Array, 800 * 5, { shared: true, guard: 1 }).view;
      vectors.set(randomFloats(random, vectors.length));
      const codebook = randomFloats(random, 40 * 5);
      const now = new Uint16Array(800);
      const later = guarded(Uint16Array, 800, { shared: true, guard: 7 });
      kernels.nearest({ vectors, codebook, out: now, width: 5, threads: 1 });
      await kernels.nearestAsync({ vectors, codebook, out: later.view, width: 5, threads: 2 });
      expect(bytesOf(later.view)).toEqual(bytesOf(now));
      expect(later.intact()).toBe(true);
    });
  },
);
