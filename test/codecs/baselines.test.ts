import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Codec } from '#src/codecs/codec.js';
import { learnLevels } from '#src/codecs/math/levels.js';
import { robustDecomposition } from '#src/codecs/math/robust-pca.js';
import { CODECS, type CodecChoice, loadCodec } from '#src/codecs/registry.js';
import { largest } from '#src/codecs/top-k.js';
import { readBits, writeBits } from '#src/core/bits.js';
import type { CodecParts, Tensor } from '#src/core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '#src/core/half.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { SoftpackError } from '#src/errors.js';
import { loadKernels } from '#src/kernels/load.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { syntheticLogits, trainingOn } from './labels.js';

const golden = JSON.parse(readFileSync(new URL('golden/baselines.json', import.meta.url), 'utf8'));
const kernels = loadKernels();
const classes = 31;
const count = 200;
const tau = 4;
const logits = syntheticLogits(count, classes);
const labels = softened(logits, classes, tau);

function softened(values: Float32Array, width: number, temperature: number): Float32Array {
  const out = new Float32Array(values.length);
  softmaxRows(values, values.length / width, width, temperature, out);
  return out;
}

async function make(choice: CodecChoice, from = logits, width = classes): Promise<Codec> {
  const rows = from.length / width;
  const { codec } = await CODECS.train(choice, {
    classes: width,
    samples: rows,
    labels: rows,
    tau,
    eps: 1e-6,
    ...trainingOn(from, width, tau),
    kernels,
    training: { steps: 20 },
  });
  return codec;
}

const context = { epoch: 0, samples: { start: 0, count } };

async function roundTrip(codec: Codec): Promise<Float32Array> {
  const row = await codec.encode(logits, context);
  const out = new Float32Array(logits.length).fill(Number.NaN);
  await codec.decodeAsync({ row, labels: { start: 0, count }, context, out });
  return out;
}

function rowOf(values: Float32Array, i: number): Float32Array {
  return values.subarray(i * classes, (i + 1) * classes);
}

function expectDistributions(values: Float32Array): void {
  for (let at = 0; at < values.length; at += classes) {
    let sum = 0;
    for (const value of values.subarray(at, at + classes)) {
      expect(value).toBeGreaterThanOrEqual(0);
      sum += value;
    }
    expect(Math.abs(sum - 1)).toBeLessThan(1e-5);
  }
}

const CHOICES: readonly CodecChoice[] = [
  { name: 'none' },
  { name: 'none', store: 'probabilities' },
  { name: 'topk', k: 1, values: 'none' },
  { name: 'topk', k: 1 },
  { name: 'topk', k: 5, rest: 'uniform' },
  { name: 'topk', k: 5, rest: 'zero' },
  { name: 'topk', k: classes },
  { name: 'topk', k: 7, values: 'logits' },
  { name: 'pca', k: 6 },
  { name: 'rpca', k: 6 },
  { name: 'scalar', levels: 8 },
  { name: 'vq', dc: 4, k: 16 },
  { name: 'mean' },
  { name: 'mean', groups: Uint32Array.from({ length: count }, (_, i) => i % 3) },
  { name: 'vqae', dh: 12, dc: 4, k: 16 },
];

/** The least parameters, which any number of classes has. */
const CHOICES_OF_ONE: readonly CodecChoice[] = [
  { name: 'none' },
  { name: 'none', store: 'probabilities' },
  { name: 'pca', k: 1 },
  { name: 'rpca', k: 1 },
  { name: 'scalar', levels: 4 },
  { name: 'vq', dc: 1, k: 2 },
  { name: 'mean' },
  { name: 'vqae', dh: 1, dc: 1, k: 2 },
];

test('bit fields come back, whatever stands beside them', () => {
  const field = fc
    .integer({ min: 1, max: 32 })
    .chain((bits) => fc.tuple(fc.constant(bits), fc.integer({ min: 0, max: 2 ** bits - 1 })));
  fc.assert(
    fc.property(fc.array(field, { maxLength: 20 }), fc.nat(9), (fields, skip) => {
      const bytes = new Uint8Array(100);
      let at = skip;
      for (const [bits, value] of fields) {
        writeBits(bytes, at, bits, value);
        at += bits;
      }
      at = skip;
      for (const [bits, value] of fields) {
        expect(readBits(bytes, at, bits)).toBe(value);
        at += bits;
      }
    }),
  );
});

describe.each(CHOICES)('%o', (choice) => {
  test('decodes to distributions, the same from what an archive keeps of it', async () => {
    const codec = await make(choice);
    const decoded = await roundTrip(codec);
    expectDistributions(decoded);
    const kept = loadCodec(codec.parts(), kernels);
    const row = await codec.encode(logits, context);
    // In an order of its own, into a view of poisoned shared memory.
    const ids = Uint32Array.of(count - 1, 0, 7, 7);
    const shared = new Float32Array(new SharedArrayBuffer(4 * (ids.length * classes + 3)));
    shared.fill(Number.NaN);
    const out = shared.subarray(2, 2 + ids.length * classes);
    kept.decode({ row, labels: ids, context: { epoch: 0, samples: ids }, out });
    for (const [i, id] of ids.entries()) {
      for (const [j, value] of rowOf(out, i).entries()) {
        expect(value).toBeCloseTo(rowOf(decoded, id)[j], 6);
      }
    }
    const halves = new Uint16Array(classes);
    const one = Uint32Array.of(7);
    kept.decode({ row, labels: one, context: { epoch: 0, samples: one }, out: halves });
    const values = new Float32Array(classes);
    float16ToFloat32(halves, values);
    for (const [j, value] of values.entries()) expect(value).toBeCloseTo(rowOf(decoded, 7)[j], 3);
  });

  test('joins chunks of multiples of eight labels bit by bit', async () => {
    const codec = await make(choice);
    const whole = await codec.encode(logits, context);
    const split = 8 * 7;
    const first = await codec.encode(logits.subarray(0, split * classes), context);
    const rest = await codec.encode(logits.subarray(split * classes), context);
    expect(Buffer.concat([first, rest]).equals(Buffer.from(whole))).toBe(true);
  });

  test('refuses labels beyond the row, and an array of another size', async () => {
    const codec = await make(choice);
    const row = await codec.encode(logits, context);
    const far = Uint32Array.of(count + 8);
    const call = (size: number) =>
      codec.decode({
        row,
        labels: far,
        context: { epoch: 0, samples: far },
        out: new Float32Array(size),
      });
    expect(() => call(classes)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    const fits = Uint32Array.of(0);
    const short = () =>
      codec.decode({
        row,
        labels: fits,
        context: { epoch: 0, samples: fits },
        out: new Float32Array(classes - 1),
      });
    expect(short).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  test('any bits of a row decode to a distribution or to one typed error', async () => {
    const codec = await make(choice);
    const bits = codec.layout.kind === 'fixed' ? codec.layout.bitsPerLabel : 0;
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = new RandomSequence(seed, STREAM.codec);
        const row = Uint8Array.from({ length: Math.ceil(bits / 4) }, () => random.below(256));
        const out = new Float32Array(classes);
        const one = Uint32Array.of(1);
        try {
          codec.decode({ row, labels: one, context: { epoch: 0, samples: one }, out });
        } catch (error) {
          expect(error).toBeInstanceOf(SoftpackError);
          expect((error as SoftpackError).code).toBe('INVALID_ARGUMENT');
          return;
        }
        expectDistributions(out);
      }),
      { numRuns: 60 },
    );
  });

  test('damaged parts give one typed error or a codec that still decodes to distributions', async () => {
    const parts = (await make(choice)).parts();
    const wild = fc.oneof(
      fc.constantFrom<unknown>(
        0,
        -1,
        1.5,
        Number.NaN,
        2 ** 53,
        1e300,
        '4',
        null,
        undefined,
        [],
        {},
      ),
      fc.integer(),
      fc.double(),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.keys(parts.config)),
        wild,
        fc.nat(),
        fc.constantFrom('config', 'missing', 'short', 'bits', 'dtype'),
        (field, value, at, kind) => {
          expectSafe(damaged(parts, kind, field, value, at));
        },
      ),
      { numRuns: 150 },
    );
  });
});

function damaged(
  parts: CodecParts,
  kind: string,
  field: string,
  value: unknown,
  at: number,
): CodecParts {
  if (kind === 'config') return { ...parts, config: { ...parts.config, [field]: value } };
  const tensors = new Map(parts.tensors);
  const names = [...tensors.keys()];
  if (names.length === 0) return parts;
  const name = names[at % names.length];
  const tensor = tensors.get(name) as Tensor;
  if (kind === 'missing') tensors.delete(name);
  if (kind === 'dtype') tensors.set(name, { ...tensor, dtype: 'F64' });
  if (kind === 'short') tensors.set(name, { ...tensor, shape: tensor.shape.map((n) => n + 1) });
  if (kind === 'bits') {
    const data = tensor.data.slice();
    data[at % data.length] ^= 0xff;
    tensors.set(name, { ...tensor, data });
  }
  return { ...parts, tensors };
}

function expectSafe(parts: CodecParts): void {
  try {
    const codec = loadCodec(parts, kernels);
    if (codec.classes !== classes || codec.layout.kind !== 'fixed') return;
    const row = new Uint8Array(Math.ceil(codec.layout.bitsPerLabel / 8));
    const out = new Float32Array(classes);
    const one = Uint32Array.of(0);
    codec.decode({ row, labels: one, context: { epoch: 0, samples: one }, out });
    expectDistributions(out);
    codec.dispose();
  } catch (error) {
    if (!(error instanceof SoftpackError)) throw error;
    expect(['INVALID_FILE', 'INVALID_ARGUMENT']).toContain(error.code);
  }
}

describe('top-k', () => {
  test('finds the largest as sorting does, the lower class of equals first', () => {
    const values = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(values, fc.nat(), (list, n) => {
        const k = 1 + (n % list.length);
        const expected = list.map((_, i) => i).sort((a, b) => list[b] - list[a] || a - b);
        expect([...largest(Float32Array.from(list), k)]).toEqual(expected.slice(0, k));
      }),
    );
  });

  /** Labels by sorting, in float64, with the values rounded to float16 as they are stored. */
  function expected(k: number, values: string, rest: string): number[] {
    const half = (x: number) => {
      const bits = new Uint16Array(1);
      const back = new Float32Array(1);
      float32ToFloat16(Float32Array.of(x), bits);
      float16ToFloat32(bits, back);
      return back[0];
    };
    return Array.from({ length: count }, (_, i) => {
      const y = [...rowOf(labels, i)];
      const z = [...rowOf(logits, i)];
      const order = y.map((_, j) => j).sort((a, b) => z[b] - z[a] || a - b);
      const kept = order.slice(0, k);
      const weight = (j: number) =>
        values === 'none' ? 1 : values === 'logits' ? Math.exp(half(z[j]) / tau) : half(y[j]);
      const total = kept.reduce((sum, j) => sum + weight(j), 0);
      const others = classes - k;
      const left = rest === 'uniform' && others > 0 ? Math.max(0, 1 - total) : 0;
      return y.map((_, j) =>
        kept.includes(j) ? weight(j) / (total + left) : left / others / (total + left) || 0,
      );
    }).flat();
  }

  test.each([
    [1, 'none', 'zero'],
    [1, 'probabilities', 'uniform'],
    [5, 'probabilities', 'uniform'],
    [10, 'probabilities', 'zero'],
    [classes, 'probabilities', 'uniform'],
    [7, 'logits', 'zero'],
  ] as const)('k %i, values %s, rest %s: as sorting in float64', async (k, values, rest) => {
    const decoded = await roundTrip(await make({ name: 'topk', k, values, rest }));
    for (const [i, value] of expected(k, values, rest).entries()) {
      expect(decoded[i]).toBeCloseTo(value, 6);
    }
  });

  test('takes more than 65,536 classes', async () => {
    const width = 152_064;
    const row = new Float32Array(width);
    row[151_999] = 9;
    row[3] = 8;
    const codec = await make({ name: 'topk', k: 2, values: 'logits' }, row, width);
    expect(codec.layout).toEqual({ kind: 'fixed', bitsPerLabel: 2 * (18 + 16) });
    const out = new Float32Array(width);
    const one = { start: 0, count: 1 };
    const only = { epoch: 0, samples: one };
    codec.decode({ row: await codec.encode(row, only), labels: one, context: only, out });
    expect(out[151_999]).toBeCloseTo(1 / (1 + Math.exp(-1 / tau)), 6);
    expect(out[3]).toBeCloseTo(1 / (1 + Math.exp(1 / tau)), 6);
  });
});

describe('principal components', () => {
  test("PCA gives NumPy's labels", async () => {
    const { logits: values, labels: expected, k, classes: width } = golden.principal;
    const z = Float32Array.from(values);
    const codec = await make({ name: 'pca', k }, z, width);
    const rows = z.length / width;
    const all = { start: 0, count: rows };
    const only = { epoch: 0, samples: all };
    const out = new Float32Array(z.length);
    codec.decode({ row: await codec.encode(z, only), labels: all, context: only, out });
    // Coefficients and components are float16.
    for (const [i, value] of expected.entries())
      expect(Math.abs(out[i] - value)).toBeLessThan(2e-4);
  });

  test('robust PCA finds the low-rank part that NumPy finds', async () => {
    const { matrix, lowRank, columns } = golden.robust;
    const random = new RandomSequence(1, STREAM.codec);
    const found = await robustDecomposition(
      Float32Array.from(matrix),
      columns,
      { rank: columns },
      kernels,
      random,
    );
    const distance = (a: ArrayLike<number>, b: readonly number[]) =>
      Math.sqrt(b.reduce((s, v, i) => s + (v - a[i]) ** 2, 0) / b.reduce((s, v) => s + v * v, 0));
    expect(found.error).toBeLessThan(1e-5);
    expect(distance(found.lowRank, lowRank)).toBeLessThan(1e-3);
  });

  test('a single wild class moves the labels of robust PCA less than those of PCA', async () => {
    const spiked = logits.slice();
    for (let i = 0; i < count; i++) spiked[i * classes + ((i * 7) % classes)] += 12;
    const error = async (name: 'pca' | 'rpca') => {
      const codec = await make({ name, k: 6 }, spiked);
      const row = await codec.encode(spiked, context);
      const out = new Float32Array(logits.length);
      codec.decode({ row, labels: { start: 0, count }, context, out });
      return labelDivergence(labels, out, classes).kl;
    };
    expect(await error('rpca')).toBeLessThan(await error('pca'));
  });
});

describe('scalar levels', () => {
  test.each([2, 4, 8])('%i levels err no more than the best ones by 0.1 %%', (k) => {
    const values = Float32Array.from(golden.levels.values);
    const found = learnLevels(values.slice(), k);
    let error = 0;
    for (const value of values) {
      error += Math.min(...Array.from(found, (level) => (level - value) ** 2)) / values.length;
    }
    expect(error).toBeLessThan(golden.levels.error[k] * 1.001);
  });

  test('fewer distinct values than levels', () => {
    expect([...learnLevels(Float32Array.of(1, 1, 2), 4)]).toEqual([1, 2, 2, 2]);
  });

  test('every class gets its nearest level', async () => {
    const codec = await make({ name: 'scalar', levels: 8 });
    const levels = new Float32Array(codec.parts().tensors.get('levels')?.data.slice().buffer ?? []);
    const nearest = (value: number) =>
      levels.reduce((best, level) =>
        Math.abs(level - value) < Math.abs(best - value) ? level : best,
      );
    const decoded = await roundTrip(codec);
    for (let i = 0; i < count; i++) {
      const v = Array.from(rowOf(labels, i), (value) => Math.max(nearest(value), 1e-6));
      const sum = v.reduce((a, b) => a + b);
      for (const [j, value] of v.entries())
        expect(rowOf(decoded, i)[j]).toBeCloseTo(value / sum, 5);
    }
  });
});

test('vq gives every segment its nearest codeword, the last one filled up', async () => {
  const codec = await make({ name: 'vq', dc: 4, k: 16 });
  expect(codec.layout).toEqual({ kind: 'fixed', bitsPerLabel: 8 * 4 });
  const data = codec.parts().tensors.get('codebook')?.data.slice() ?? new Uint8Array();
  const book = new Float32Array(data.buffer);
  const decoded = await roundTrip(codec);
  for (let i = 0; i < count; i++) {
    const y = [...rowOf(labels, i), 0];
    const v: number[] = [];
    for (let segment = 0; segment < 8; segment++) {
      const distance = (j: number) =>
        [0, 1, 2, 3].reduce((s, n) => s + (y[segment * 4 + n] - book[j * 4 + n]) ** 2, 0);
      const best = Array.from({ length: 16 }, (_, j) => j).reduce((a, b) =>
        distance(b) < distance(a) ? b : a,
      );
      v.push(...book.subarray(best * 4, best * 4 + 4));
    }
    const kept = v.slice(0, classes).map((value) => Math.max(value, 1e-6));
    const sum = kept.reduce((a, b) => a + b);
    for (const [j, value] of kept.entries())
      expect(rowOf(decoded, i)[j]).toBeCloseTo(value / sum, 5);
  }
});

test('the mean label of a group stands for all of its labels', async () => {
  const groups = Uint32Array.from({ length: count }, (_, i) => i % 3);
  const decoded = await roundTrip(await make({ name: 'mean', groups }));
  for (let g = 0; g < 3; g++) {
    for (let j = 0; j < classes; j++) {
      const members = Array.from({ length: count }, (_, i) => i).filter((i) => i % 3 === g);
      const mean = members.reduce((s, i) => s + rowOf(labels, i)[j], 0) / members.length;
      expect(rowOf(decoded, g + 3)[j]).toBeCloseTo(mean, 4);
    }
  }
});

describe('labels with nothing to tell apart', () => {
  const EDGES = [
    ['one class', 40, 1],
    ['one label of one class', 1, 1],
    ['one label', 1, 10],
    ['labels that are all equal', 40, 10],
    ['uniform labels', 40, 10],
  ] as const;

  test.each(EDGES.flatMap((edge) => CHOICES_OF_ONE.map((choice) => [...edge, choice] as const)))(
    '%s (%i x %i), %o: exact, or too few to learn from',
    async (name, rows, width, choice) => {
      const one = name === 'uniform labels' ? new Float32Array(width) : syntheticLogits(1, width);
      const z = Float32Array.from({ length: rows * width }, (_, i) => one[i % width]);
      const made = await make(choice, z, width).catch((error: unknown) => error);
      if (made instanceof SoftpackError) {
        expect(made.code).toBe('TOO_FEW_LABELS');
        expect(rows).toBe(1);
        return;
      }
      const codec = made as Codec;
      const all = { start: 0, count: rows };
      const only = { epoch: 0, samples: all };
      const out = new Float32Array(z.length).fill(Number.NaN);
      codec.decode({ row: await codec.encode(z, only), labels: all, context: only, out });
      const expected = softened(z, width, tau);
      // Two codewords are few for ten values of one label.
      const tolerance = choice.name === 'vq' || choice.name === 'scalar' ? 0.2 : 2e-4;
      for (const [i, value] of out.entries()) {
        expect(Math.abs(value - expected[i])).toBeLessThan(tolerance);
      }
    },
  );
});

describe('a ratio chooses the size', () => {
  test.each(['topk', 'pca', 'rpca', 'scalar', 'vq', 'vqae'] as const)('%s', async (name) => {
    for (const ratio of [2, 5.3, 10, 16]) {
      const codec = await make(
        CODECS.sized({ name, ratio } as CodecChoice, { classes, labels: count }),
      );
      const bits = codec.layout.kind === 'fixed' ? codec.layout.bitsPerLabel : 0;
      expect(bits).toBeGreaterThan(0);
      expect((16 * classes) / bits).toBeGreaterThanOrEqual(ratio * (1 - 1e-9));
    }
    const call = () =>
      CODECS.sized({ name, ratio: 1e6 } as CodecChoice, { classes, labels: count });
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'ratio' }));
  });
});
