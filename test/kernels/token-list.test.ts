import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ListTokensArgs } from '#src/kernels/tokens.js';
import { bytesOf, cpu, errorOf, randomStream, reference } from './support.js';

interface Shape {
  readonly vocabulary: number;
  /** Columns behind the vocabulary, which must not be looked at. */
  readonly padding: number;
  readonly k: number;
  readonly samples: number;
}

const NONE = Number.NEGATIVE_INFINITY;

/** Logits with equal ones and ids that cannot be. */
function argsOf({ vocabulary, padding, k, samples }: Shape, rows: number, seed: number) {
  const random = randomStream(seed);
  const width = vocabulary + padding;
  const logits = Float32Array.from({ length: rows * width }, (_, i) => {
    if (i % width >= vocabulary) return Number.NaN;
    const kind = random();
    if (kind < 0.1) return i % width === 0 ? 0 : NONE;
    return kind < 0.3 ? Math.round(4 * random()) : 30 * random() - 12;
  });
  const uniforms = new Float64Array(rows * samples);
  for (let row = 0; row < rows; row++) {
    const own = uniforms.subarray(row * samples, (row + 1) * samples);
    for (const i of own.keys()) own[i] = [0, random(), 1 - 2 ** -53][Math.floor(3 * random())];
    own.sort();
  }
  return {
    ...{ logits, width, vocabulary, uniforms },
    ...{ k: Math.min(k, vocabulary), samples },
    ids: new Uint32Array(rows * Math.min(k, vocabulary)),
    drawn: new Uint32Array(rows * samples),
    sums: new Float64Array(rows),
  };
}

const shapes = fc.record({
  vocabulary: fc.constantFrom(1, 2, 3, 63, 64, 65, 128, 397, 1000, 4099),
  padding: fc.constantFrom(0, 1, 7, 128),
  k: fc.nat(40),
  samples: fc.nat(12),
});

describe('listing a teacher’s most probable ids and drawing others', () => {
  it('the addon and the reference give the same, and what float64 by brute force gives', () => {
    fc.assert(
      fc.property(shapes, fc.nat(4), fc.nat(), (shape, rows, seed) => {
        const args = argsOf(shape, rows, seed);
        const native = { ...args, ...fresh(args) };
        expect(reference.listTokens(args)).toBe(rows);
        expect(cpu.listTokens(native)).toBe(rows);
        expect(native.ids).toEqual(args.ids);
        expect(native.drawn).toEqual(args.drawn);
        expect(bytesOf(native.sums)).toEqual(bytesOf(args.sums));
        for (let row = 0; row < rows; row++) checkLabel(args, row);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ['NaN', Number.NaN],
    ['+infinity', Number.POSITIVE_INFINITY],
  ])('stop before a label with %s, wherever it is', (_, wrong) => {
    for (const at of [0, 17, 63, 64, 130, 199]) {
      const args = argsOf({ vocabulary: 200, padding: 3, k: 4, samples: 2 }, 3, at);
      args.logits[args.width + at] = wrong;
      for (const kernels of [reference, cpu]) expect(kernels.listTokens(args)).toBe(1);
    }
    const none = argsOf({ vocabulary: 70, padding: 0, k: 4, samples: 2 }, 2, 1);
    none.logits.fill(NONE, 70);
    for (const kernels of [reference, cpu]) expect(kernels.listTokens(none)).toBe(1);
  });

  it('take vocabularies of 262,144 ids, and lists of 1,024', () => {
    const args = argsOf({ vocabulary: 262_144, padding: 0, k: 1024, samples: 8 }, 1, 5);
    const native = { ...args, ...fresh(args) };
    expect([reference.listTokens(args), cpu.listTokens(native)]).toEqual([1, 1]);
    expect([native.ids, native.drawn]).toEqual([args.ids, args.drawn]);
  });

  it.each<[string, Partial<ListTokensArgs>]>([
    ['vocabulary', { vocabulary: 201 }],
    ['k', { k: 1025 }],
    ['logits', { logits: new Float32Array(201) }],
    ['uniforms', { uniforms: new Float64Array(1) }],
    ['ids', { ids: new Uint32Array(3) }],
    ['drawn', { drawn: new Uint32Array(3) }],
    ['sums', { sums: new Float64Array(3) }],
  ])('refuse wrong %s', (field, change) => {
    const args = argsOf({ vocabulary: 200, padding: 0, k: 4, samples: 2 }, 2, 1);
    for (const kernels of [reference, cpu]) {
      const error = errorOf(() => kernels.listTokens({ ...args, ...change }));
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
    }
  });
});

function fresh({ ids, drawn, sums }: ListTokensArgs) {
  return { ids: ids.slice().fill(7), drawn: drawn.slice().fill(7), sums: sums.slice().fill(7) };
}

/** Against a cumulative distribution in the order of ids. */
function checkLabel({ logits, width, ...args }: ListTokensArgs, row: number): void {
  const { vocabulary, k, samples } = args;
  const own = Array.from(logits.subarray(row * width, row * width + vocabulary));
  const top = Math.max(...own);
  const weights = own.map((value) => Math.exp(value - top));
  const sum = weights.reduce((a, b) => a + b, 0);
  expect(Math.abs(args.sums[row] / sum - 1)).toBeLessThan(1e-12);
  const order = own.map((_, id) => id).sort((a, b) => own[b] - own[a] || a - b);
  const ids = Array.from(args.ids.subarray(row * k, (row + 1) * k));
  expect(ids).toEqual(order.slice(0, k));
  for (const id of ids) weights[id] = 0;
  const rest = weights.reduce((a, b) => a + b, 0);
  for (let i = row * samples; i < (row + 1) * samples; i++) {
    const id = args.drawn[i];
    if (rest === 0) {
      expect(id).toBe(ids[ids.length - 1] ?? 0);
      continue;
    }
    expect(weights[id]).toBeGreaterThan(0);
    const below = weights.slice(0, id).reduce((a, b) => a + b, 0);
    expect(args.uniforms[i] * rest).toBeGreaterThan(below - 1e-9 * rest);
    expect(args.uniforms[i] * rest).toBeLessThan(below + weights[id] + 1e-9 * rest);
  }
}
