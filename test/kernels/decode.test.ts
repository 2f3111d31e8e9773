import { describe, expect, it } from 'vitest';
import { toBfloat, toHalf } from '#src/core/half.js';
import { SoftpackError } from '#src/errors.js';
import type { DecodeMethod, DecoderSpec, Head, Kernels } from '#src/kernels/types.js';
import {
  bytesOf,
  cpu,
  errorOf,
  guarded,
  hasBfloat,
  isas,
  packedCodes,
  randomFloats,
  randomStream,
  reference,
  residualSpec,
  segmentSpec,
} from './support.js';

const HEADS: readonly Head[] = [
  { kind: 'identity' },
  { kind: 'clamp', eps: 1e-3 },
  { kind: 'softmax', tau: 0.7 },
];

const SPECS: readonly DecoderSpec[] = [
  segmentSpec(randomStream(1), { classes: 1, stages: 1, width: 1, levels: 1 }),
  segmentSpec(randomStream(2), { classes: 7, stages: 3, width: 5, levels: 6 }),
  segmentSpec(randomStream(3), { classes: 17, stages: 10, width: 3, levels: 16 }),
  segmentSpec(randomStream(4), { classes: 999, stages: 20, width: 4, levels: 100 }),
  residualSpec(randomStream(5), { classes: 1001, stages: 9, width: 33, levels: 31 }),
  residualSpec(randomStream(6), { classes: 48, stages: 2, width: 1, levels: 3 }),
  // Overlapping segments: neither side by side nor in place.
  {
    ...segmentSpec(randomStream(7), { classes: 20, stages: 1, width: 6, levels: 5 }),
    stages: 4,
    latent: 12,
    latentStep: 2,
    basis: randomFloats(randomStream(8), 12 * 20),
  },
];

/** One label in float64, straight from the definition, indices read digit by digit. */
function decodedLabel(
  spec: DecoderSpec,
  codes: Uint8Array,
  label: number,
  prediction = new Array<number>(spec.latent).fill(0),
): number[] {
  const digits = [...codes].map((byte) => byte.toString(2).padStart(8, '0').split('').reverse());
  const bits = digits.flat();
  const latent = prediction.slice();
  for (let stage = 0; stage < spec.stages; stage++) {
    const from = (label * spec.stages + stage) * spec.bits;
    const own = bits.slice(from, from + spec.bits).reverse();
    const code = Number.parseInt(own.join(''), 2);
    const start = stage * spec.codebookStride + code * spec.width;
    const codeword = spec.codebooks.subarray(start, start + spec.width);
    codeword.forEach((value, i) => {
      latent[stage * spec.latentStep + i] = (latent[stage * spec.latentStep + i] ?? 0) + value;
    });
  }
  const values = Array.from({ length: spec.classes }, (_, j) =>
    latent.reduce(
      (sum, factor, i) => sum + factor * (spec.basis[i * spec.classes + j] ?? Number.NaN),
      spec.bias?.[j] ?? 0,
    ),
  );
  return withHead(spec.head, values);
}

function withHead(head: Head, values: number[]): number[] {
  if (head.kind === 'identity') return values;
  const positive = values.map((value) =>
    head.kind === 'clamp' ? Math.max(value, head.eps) : Math.exp(value / head.tau),
  );
  const sum = positive.reduce((a, b) => a + b, 0);
  return positive.map((value) => value / sum);
}

/** ||found - expected|| / ||expected|| over all labels. */
function relativeError(found: Float32Array, expected: readonly number[]): number {
  let error = 0;
  let size = Number.MIN_VALUE;
  expected.forEach((value, i) => {
    error += ((found[i] ?? Number.NaN) - value) ** 2;
    size += value * value;
  });
  return Math.sqrt(error / size);
}

interface Variant {
  readonly kernels: Kernels;
  readonly method: DecodeMethod;
  /** Bound of the relative error. */
  readonly within: number;
}

const VARIANTS: readonly Variant[] = [
  { kernels: reference, method: 'latent', within: 2e-7 },
  { kernels: cpu, method: 'latent', within: 2e-6 },
  { kernels: cpu, method: 'table', within: 2e-6 },
  { kernels: cpu, method: 'fixed', within: 2e-3 },
  ...(hasBfloat
    ? ([
        // For small shapes with few terms that cancel; labels of 1,000 classes keep within 4e-3.
        { kernels: cpu, method: 'bfloat', within: 2 ** -6 },
        { kernels: cpu, method: 'split', within: 2 ** -15 },
      ] as const)
    : []),
];

it('decodes on the bfloat16 unit of the processor, or says that there is none', (context) => {
  const shape = segmentSpec(randomStream(9), { classes: 7, stages: 3, width: 5, levels: 6 });
  const create = () => cpu.createDecoder({ ...shape, method: 'bfloat' }).dispose();
  if (hasBfloat) {
    create();
    using fastest = cpu.createDecoder({ ...shape, precision: 'fastest', memoryCap: 1 });
    expect(fastest.method).toBe('bfloat');
    return;
  }
  expect(errorOf(create)).toMatchObject({ code: 'UNSUPPORTED', field: 'method' });
  context.skip(`no bfloat16 unit for the other cases: ${isas.join(', ')}`);
});

describe.each(VARIANTS)('decode of $kernels.name by $method', ({ kernels, method, within }) => {
  it('keeps within its bound of float64, for every shape and head', () => {
    for (const shape of SPECS) {
      for (const head of HEADS) {
        const spec = { ...shape, head, method };
        const codes = packedCodes(spec, 9, randomStream(11));
        using decoder = kernels.createDecoder(spec);
        expect(decoder.method).toBe(method);
        const labels = Uint32Array.of(3, 0, 8, 8, 5);
        const { view: out, intact } = guarded(Float32Array, labels.length * spec.classes);
        decoder.decode({ codes, labels, out });
        const expected = [...labels].flatMap((label) => decodedLabel(spec, codes, label));
        const name = `${spec.classes} classes, ${spec.stages} stages, ${head.kind}`;
        expect(relativeError(out, expected), name).toBeLessThan(within);
        expect(intact(), name).toBe(true);
        if (head.kind !== 'identity') expectDistributions(out, spec.classes, name);
      }
    }
  });

  it('adds predictions of two base vectors', () => {
    for (const shape of SPECS) {
      const random = randomStream(21);
      const bases = randomFloats(random, 3 * shape.latent);
      const spec: DecoderSpec = { ...shape, bases, head: { kind: 'softmax', tau: 3 }, method };
      const codes = packedCodes(spec, 9, random);
      const labels = Uint32Array.of(3, 0, 8, 8, 5);
      const pairs = Uint32Array.from({ length: 2 * labels.length }, () => 3 * random());
      const weights = Float32Array.of(1, 0, 0.5, random(), random());
      using decoder = kernels.createDecoder(spec);
      const out = new Float32Array(labels.length * spec.classes).fill(Number.NaN);
      decoder.decode({ codes, labels, prediction: { pairs, weights }, out });
      const base = (i: number, d: number) => bases[(pairs[i] ?? 0) * spec.latent + d] ?? Number.NaN;
      const expected = [...labels].flatMap((label, i) => {
        const weight = weights[i] ?? Number.NaN;
        const start = Array.from(
          { length: spec.latent },
          (_, d) => weight * base(2 * i, d) + (1 - weight) * base(2 * i + 1, d),
        );
        return decodedLabel(spec, codes, label, start);
      });
      expect(relativeError(out, expected), `${spec.classes} classes`).toBeLessThan(within);
    }
  });

  it('rounds its float32 output to float16 and bfloat16', () => {
    for (const shape of SPECS) {
      for (const head of HEADS) {
        const spec = { ...shape, head, method };
        const codes = packedCodes(spec, 6, randomStream(12));
        using decoder = kernels.createDecoder(spec);
        const labels = { start: 1, count: 5 };
        const floats = new Float32Array(5 * spec.classes).fill(Number.NaN);
        const halves = guarded(Uint16Array, floats.length);
        decoder.decode({ codes, labels, out: floats });
        decoder.decode({ codes, labels, out: halves.view });
        expect(halves.view).toEqual(Uint16Array.from(floats, toHalf));
        expect(halves.intact()).toBe(true);
        decoder.decode({ codes, labels, out: halves.view, outType: 'bfloat16' });
        expect(halves.view).toEqual(Uint16Array.from(floats, toBfloat));
        expect(halves.intact()).toBe(true);
      }
    }
  });

  it('gives a label the same bytes alone, in a range, in a list, in both forms, on any threads', async () => {
    const spec: DecoderSpec = {
      ...(SPECS[3] as DecoderSpec),
      head: { kind: 'clamp', eps: 1e-6 },
      method,
    };
    const count = 300;
    const codes = packedCodes(spec, count, randomStream(13));
    using decoder = kernels.createDecoder(spec);
    const all = new Float32Array(count * spec.classes).fill(Number.NaN);
    decoder.decode({ codes, labels: { start: 0, count }, out: all, threads: 1 });
    const label = (i: number) => bytesOf(all.subarray(i * spec.classes, (i + 1) * spec.classes));
    const repeats = kernels === reference ? 1 : 20;
    for (let repeat = 0; repeat < repeats; repeat++) {
      for (const threads of [0, 1, 2]) {
        const again = new Float32Array(all.length).fill(Number.NaN);
        decoder.decode({ codes, labels: { start: 0, count }, out: again, threads });
        expect(Buffer.from(again.buffer).equals(Buffer.from(all.buffer))).toBe(true);
      }
    }
    const later = new Float32Array(all.length).fill(Number.NaN);
    await decoder.decodeAsync({ codes, labels: { start: 0, count }, out: later });
    expect(Buffer.from(later.buffer).equals(Buffer.from(all.buffer))).toBe(true);
    for (const i of [0, 1, 149, 299]) {
      const out = new Float32Array(spec.classes).fill(Number.NaN);
      decoder.decode({ codes, labels: Uint32Array.of(i), out });
      expect(bytesOf(out)).toEqual(label(i));
    }
  });

  it('gives few labels the bytes of many, from tables that are read in groups of stages', () => {
    const random = randomStream(31);
    const sizes = { classes: 9, stages: 7, width: 1, levels: 2048 };
    const spec = {
      ...segmentSpec(random, sizes),
      head: { kind: 'softmax', tau: 1 },
      method,
    } as const;
    // More than a sixteenth of the levels, which are many.
    const count = 150;
    const codes = packedCodes(spec, count, random);
    using decoder = kernels.createDecoder(spec);
    const all = new Float32Array(count * spec.classes);
    decoder.decode({ codes, labels: { start: 0, count }, out: all });
    const [one, some] = [1, 128].map((few) => {
      const out = new Float32Array(all.length);
      for (let start = 0; start < count; start += few) {
        const labels = { start, count: Math.min(few, count - start) };
        const own = out.subarray(start * spec.classes, (start + labels.count) * spec.classes);
        decoder.decode({ codes, labels, out: own });
      }
      return out;
    });
    expect(bytesOf(one)).toEqual(bytesOf(all));
    expect(bytesOf(some)).toEqual(bytesOf(all));
  });

  it('decodes nothing to nothing', () => {
    using decoder = kernels.createDecoder({ ...(SPECS[1] as DecoderSpec), method });
    const out = new Float32Array(0);
    decoder.decode({ codes: new Uint8Array(0), labels: { start: 0, count: 0 }, out });
    decoder.decode({ codes: new Uint8Array(0), labels: new Uint32Array(0), out });
  });

  it('gives uniform labels where clamp meets nothing above eps', () => {
    const shape = SPECS[4] as DecoderSpec;
    const bias = new Float32Array(shape.classes).fill(-1e6);
    const spec: DecoderSpec = { ...shape, bias, head: { kind: 'clamp', eps: 1e-9 }, method };
    using decoder = kernels.createDecoder(spec);
    const out = new Float32Array(spec.classes).fill(Number.NaN);
    const codes = packedCodes(spec, 1, randomStream(14));
    decoder.decode({ codes, labels: { start: 0, count: 1 }, out });
    expect(out.every((value) => value === out[0])).toBe(true);
    expect(Math.abs((out[0] ?? 0) * spec.classes - 1)).toBeLessThan(1e-5);
  });

  it('stays finite where logits are far apart', () => {
    const shape = SPECS[4] as DecoderSpec;
    const bias = Float32Array.from({ length: shape.classes }, (_, j) => (j % 2 === 0 ? 1e5 : -1e5));
    const spec: DecoderSpec = { ...shape, bias, head: { kind: 'softmax', tau: 1 }, method };
    using decoder = kernels.createDecoder(spec);
    const out = new Float32Array(spec.classes).fill(Number.NaN);
    decoder.decode({
      codes: packedCodes(spec, 1, randomStream(15)),
      labels: { start: 0, count: 1 },
      out,
    });
    expectDistributions(out, spec.classes, 'far apart');
    expect(out[1]).toBeLessThan(1e-30);
  });

  it('names the label and stage of an index beyond the codebook', () => {
    const shape = SPECS[1] as DecoderSpec;
    const spec = { ...shape, method };
    const indices = new Uint16Array(4 * spec.stages);
    indices[2 * spec.stages + 1] = spec.levels;
    const codes = new Uint8Array(Math.ceil((indices.length * spec.bits) / 8));
    reference.pack({ indices, bits: spec.bits, out: codes });
    using decoder = kernels.createDecoder(spec);
    const out = new Float32Array(4 * spec.classes);
    const error = errorOf(() => decoder.decode({ codes, labels: { start: 0, count: 4 }, out }));
    expect(error).toBeInstanceOf(SoftpackError);
    expect(error).toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'codes',
      found: `${spec.levels} at stage 1 of label 2`,
    });
    decoder.decode({
      codes,
      labels: { start: 0, count: 2 },
      out: out.subarray(0, 2 * spec.classes),
    });
  });

  it('copies its tables, and refuses to work once disposed', async () => {
    const shape = SPECS[4] as DecoderSpec;
    const arrays = {
      codebooks: shape.codebooks.slice(),
      basis: shape.basis.slice(),
      bias: shape.bias?.slice() ?? new Float32Array(shape.classes),
    };
    const decoder = kernels.createDecoder({ ...shape, ...arrays, method });
    const codes = packedCodes(shape, 3, randomStream(16));
    const labels = { start: 0, count: 3 };
    const before = new Float32Array(3 * shape.classes);
    const after = before.slice();
    decoder.decode({ codes, labels, out: before });
    for (const array of Object.values(arrays)) array.fill(Number.NaN);
    decoder.decode({ codes, labels, out: after });
    expect(bytesOf(after)).toEqual(bytesOf(before));
    // A call under way outlives the decoder's end.
    const late = before.slice().fill(Number.NaN);
    const underWay = decoder.decodeAsync({ codes, labels, out: late });
    decoder.dispose();
    decoder.dispose();
    await underWay;
    expect(bytesOf(late)).toEqual(bytesOf(before));
    expect(errorOf(() => decoder.decode({ codes, labels, out: after }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'decoder',
    });
    await expect(decoder.decodeAsync({ codes, labels, out: after })).rejects.toMatchObject({
      field: 'decoder',
    });
  });
});

it('chooses tables where they are small and latent products where they are not', () => {
  const small = segmentSpec(randomStream(20), { classes: 130, stages: 10, width: 50, levels: 16 });
  const large = { ...small, levels: 65536, bits: 16, codebooks: new Float32Array(65536 * 50) };
  using quick = cpu.createDecoder(small);
  using frugal = cpu.createDecoder(large);
  expect(quick.method).toBe('table');
  expect(frugal.method).toBe('latent');
  using capped = cpu.createDecoder({ ...small, memoryCap: 1000 });
  expect(capped.method).toBe('latent');
  using fast = cpu.createDecoder({ ...small, precision: 'fast' });
  expect(fast.method).toBe('fixed');
  using fastCapped = cpu.createDecoder({ ...small, precision: 'fast', memoryCap: 1000 });
  expect(fastCapped.method).toBe('latent');
  const infinite = small.codebooks.slice();
  infinite[7] = Infinity;
  using unbounded = cpu.createDecoder({ ...small, codebooks: infinite, precision: 'fast' });
  expect(unbounded.method).toBe('latent');
});

function expectDistributions(out: Float32Array, classes: number, name: string): void {
  for (let start = 0; start < out.length; start += classes) {
    const row = out.subarray(start, start + classes);
    const sum = row.reduce((a, b) => a + b, 0);
    expect(Math.abs(sum - 1), name).toBeLessThan(2 ** -20);
    expect(
      row.every((value) => value > 0),
      name,
    ).toBe(true);
  }
}
