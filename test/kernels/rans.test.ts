import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type RansModel, RansTables, TRELLISES, type Trellis } from '#src/kernels/rans.js';
import { cpu, errorOf, randomStream, reference } from './support.js';

const BOTH = [{ kernels: reference }, { kernels: cpu }];
const TRELLIS_STATES: readonly Trellis[] = [1, 4, 8];

/** Tables of decaying frequencies around zero, `spread` wide; escapes have one slot. */
function decayingTables(spreads: readonly number[]): RansTables {
  const frequencies = new Uint16Array(256 * spreads.length);
  for (const [table, spread] of spreads.entries()) {
    const own = frequencies.subarray(256 * table, 256 * (table + 1));
    own[0] = 1;
    for (let value = -Math.ceil(3 * spread); value <= 3 * spread; value++) {
      own[value + 128] = 1 + Math.floor((1500 / spread) * Math.exp(-Math.abs(value) / spread));
    }
    own[128] += 4096 - own.reduce((sum, frequency) => sum + frequency, 0);
  }
  return new RansTables(frequencies);
}

function modelOf(rows: number, trellis: Trellis): RansModel {
  const contexts = trellis === 1 ? 1 : 2;
  const tables = decayingTables([1, 2, 5, 11]);
  const rowTables = Uint16Array.from({ length: rows * contexts }, (_, i) => (7 * i) % tables.count);
  return { tables, rowTables, trellis };
}

/** Values about as wide as the tables, some far beyond them. */
function drawnValues(random: () => number, length: number): Int16Array {
  return Int16Array.from({ length }, () => {
    const kind = random();
    if (kind < 0.004) return Math.floor(65536 * random()) - 32768;
    const sign = random() < 0.5 ? -1 : 1;
    return sign * Math.round(-2 * Math.log(1 - random()));
  });
}

/** Bits that a stream takes at best, by the entropy of its tables; escapes by their bytes. */
function idealBits(values: Int16Array, columns: number, model: RansModel): number {
  const { tables, rowTables, trellis } = model;
  const states = new Uint8Array(columns);
  let bits = 0;
  for (const [i, value] of values.entries()) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const walk = trellis === 1 ? undefined : TRELLISES[trellis];
    const context = walk?.context[states[column]] ?? 0;
    const table = rowTables[walk === undefined ? row : 2 * row + context];
    const plain = Math.abs(value) < 128 ? tables.frequencies[256 * table + value + 128] : 0;
    const folded = value < 0 ? -2 * value - 1 : 2 * value;
    bits += 12 - Math.log2(plain || tables.frequencies[256 * table]);
    if (plain === 0) bits += 8 * Math.max(1, Math.ceil(Math.log2(folded + 1) / 7));
    if (walk !== undefined) states[column] = walk.next[2 * states[column] + (value & 1)];
  }
  return bits;
}

describe.each(BOTH)('rANS of $kernels.name', ({ kernels }) => {
  it('gives back any values, for every number of lanes and states', () => {
    const shape = fc.record({
      rows: fc.nat(4),
      columns: fc.oneof(fc.nat(70), fc.constantFrom(255, 256, 300)),
      trellis: fc.constantFrom(...TRELLIS_STATES),
      lanes: fc.constantFrom(undefined, 1, 2, 4, 8, 16, 32),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(shape, ({ rows, columns, trellis, lanes, seed }) => {
        const values = drawnValues(randomStream(seed), rows * columns);
        const model = modelOf(rows, trellis);
        const bytes = kernels.encodeRans({ ...model, values, columns, lanes });
        const out = new Int16Array(values.length).fill(-1);
        kernels.decodeRans({ ...model, bytes, columns, out });
        expect(out).toEqual(values);
      }),
      { numRuns: 150 },
    );
  });

  it.each(TRELLIS_STATES)('is within 1 %% of the entropy of its tables, %i states', (trellis) => {
    const [rows, columns] = [16, 1500];
    const model = modelOf(rows, trellis);
    const values = drawnValues(randomStream(3), rows * columns);
    const bytes = kernels.encodeRans({ ...model, values, columns });
    const ideal = idealBits(values, columns, model) / 8;
    expect(bytes.length).toBeGreaterThan(ideal);
    expect(bytes.length).toBeLessThan(1.01 * ideal);
  });

  it('notices damage at any place of a stream', () => {
    const [rows, columns] = [3, 40];
    const random = randomStream(4);
    for (const trellis of TRELLIS_STATES) {
      const model = modelOf(rows, trellis);
      const values = drawnValues(random, rows * columns);
      const out = new Int16Array(values.length);
      const bytes = kernels.encodeRans({ ...model, values, columns, lanes: 8 });
      const decode = (damaged: Uint8Array) =>
        errorOf(() => kernels.decodeRans({ ...model, bytes: damaged, columns, out }));
      for (let length = 0; length < bytes.length; length++) {
        const error = decode(bytes.slice(0, length));
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codes' });
      }
      expect(decode(Uint8Array.of(...bytes, 0))).toMatchObject({ field: 'codes' });
      // Bits of an escaped value lead to another value, which only a checksum tells.
      const escapes = bytes.length - bytes[1];
      for (let bit = 0; bit < 8 * escapes; bit++) {
        const flipped = bytes.slice();
        flipped[bit >> 3] ^= 1 << (bit & 7);
        expect(decode(flipped)).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codes' });
      }
    }
  });

  it('takes any bytes for a stream or refuses them', () => {
    const lanes = fc.constantFrom(0, 3, 4, 5);
    fc.assert(
      fc.property(lanes, fc.uint8Array({ maxLength: 700 }), (log, tail) => {
        const model = modelOf(4, 4);
        const out = new Int16Array(4 * 100);
        const bytes = Uint8Array.of(log, 0, ...tail);
        try {
          kernels.decodeRans({ ...model, bytes, columns: 100, out });
        } catch (error) {
          expect(error).toMatchObject({ field: 'codes' });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('refuses values that its tables have no room for', () => {
    const frequencies = new Uint16Array(256);
    frequencies[128] = 4096;
    const model = { tables: new RansTables(frequencies), rowTables: Uint16Array.of(0) };
    const shape = { ...model, trellis: 1, columns: 2 } as const;
    const bytes = kernels.encodeRans({ ...shape, values: Int16Array.of(0, 0) });
    expect(bytes).toEqual(Uint8Array.of(0, 0, 0, 0, 1, 0));
    const error = errorOf(() => kernels.encodeRans({ ...shape, values: Int16Array.of(0, 1) }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'values' });
  });

  it('refuses models that contradict themselves', () => {
    const good = { ...modelOf(2, 4), columns: 1, values: new Int16Array(2) };
    const wrong: readonly (readonly [string, object])[] = [
      ['trellis', { trellis: 2 }],
      ['rowTables', { rowTables: new Uint16Array(3) }],
      ['rowTables', { rowTables: Uint16Array.of(0, 1, 2, 4) }],
      ['values', { values: new Int16Array(3) }],
      ['lanes', { lanes: 64 }],
      ['lanes', { lanes: 3 }],
      ['columns', { columns: -1 }],
      ['tables', { tables: { count: 9 } }],
    ];
    for (const [field, change] of wrong) {
      const error = errorOf(() => kernels.encodeRans({ ...good, ...change }));
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
    }
    const error = errorOf(() => new RansTables(new Uint16Array(256)));
    expect(error).toMatchObject({ field: 'frequencies of table 0' });
  });
});

it('writes a stream that can be decoded by hand', () => {
  // 3 of 4 slots for 0, 1 of 4 for 1.
  const frequencies = new Uint16Array(256);
  frequencies[128] = 3072;
  frequencies[129] = 1024;
  const model = { tables: new RansTables(frequencies), rowTables: Uint16Array.of(0), columns: 2 };
  const bytes = cpu.encodeRans({ ...model, trellis: 1, values: Int16Array.of(1, 0), lanes: 1 });
  // From 2^16: 0 makes 2^16 / 3072 = 21 rest 1024: 21 * 4096 + 1024 = 87040; 1 makes 85 * 4096 + 3072.
  const state = 85 * 4096 + 3072;
  expect(bytes).toEqual(Uint8Array.of(0, 0, state & 255, (state >> 8) & 255, state >> 16, 0));
});

it('gives the same bytes in C++ and TypeScript', () => {
  const random = randomStream(5);
  for (const trellis of TRELLIS_STATES) {
    for (const lanes of [undefined, 1, 8, 32]) {
      const [rows, columns] = [12, 700];
      const model = modelOf(rows, trellis);
      const values = drawnValues(random, rows * columns);
      const args = { ...model, values, columns, lanes };
      expect(cpu.encodeRans(args)).toEqual(reference.encodeRans(args));
    }
  }
});

it('has more lanes the longer a stream is', () => {
  const lanes = [100, 2000, 10_000, 40_000].map((columns) => {
    const values = drawnValues(randomStream(6), columns);
    return cpu.encodeRans({ ...modelOf(1, 1), values, columns })[0];
  });
  expect(lanes).toEqual([0, 1, 3, 5]);
});
