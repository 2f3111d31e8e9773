import { describe, expect, it } from 'vitest';
import type { DecodeMethod, DecoderSpec, Head, Kernels } from '#src/kernels/types.js';
import { cpu, errorOf, reference } from './support.js';

const CLASSES = 5;
const COUNT = 3;
const CLAMP: Head = { kind: 'clamp', eps: 1e-6 };
const SOFTMAX: Head = { kind: 'softmax', tau: 20 };

/** One stage of two codewords of one float: label i is codebook[code i] times the basis, plus the bias. */
function specOf(tensors: {
  readonly codebooks?: readonly [number, number];
  readonly basis?: readonly number[];
  readonly bias?: readonly number[];
  readonly bases?: readonly number[];
}): Omit<DecoderSpec, 'head'> {
  const { codebooks = [1, 2], basis = [1, 2, 3, 4, 5], bias, bases } = tensors;
  return {
    ...{ classes: CLASSES, latent: 1, stages: 1, levels: 2, width: 1, bits: 1 },
    ...{ codebookStride: 0, latentStep: 0 },
    codebooks: Float32Array.from(codebooks),
    basis: Float32Array.from(basis),
    ...(bias && { bias: Float32Array.from(bias) }),
    ...(bases && { bases: Float32Array.from(bases) }),
  };
}

function decoded(kernels: Kernels, spec: DecoderSpec, codes: number): number[] {
  const out = new Float32Array(COUNT * CLASSES);
  using decoder = kernels.createDecoder(spec);
  const labels = { start: 0, count: COUNT };
  const prediction = spec.bases && {
    pairs: new Uint32Array(2 * COUNT),
    weights: new Float32Array(COUNT).fill(0.5),
  };
  decoder.decode({ codes: Uint8Array.of(codes), labels, out, threads: 1, prediction });
  return [...out];
}

const huge = 3e38;
/** Tensors that are finite, or not, and give values that float32 cannot hold where code 1 is used. */
const OVERFLOWS: readonly (readonly [name: string, spec: Omit<DecoderSpec, 'head'>])[] = [
  ['a product', specOf({ codebooks: [1, 1e30], basis: [1, 2, 1e30, 4, 5] })],
  ['a product to minus infinity', specOf({ codebooks: [1, -1e30], basis: [1, 2, 1e30, 4, 5] })],
  ['a codeword that is not a number', specOf({ codebooks: [1, Number.NaN] })],
  ['an infinite codeword', specOf({ codebooks: [1, Infinity], basis: [1, 0, 0, 0, 0] })],
];

describe.each([
  ['reference', reference],
  ['cpu', cpu],
] as const)('%s', (_, kernels) => {
  const methods: readonly (DecodeMethod | undefined)[] = [undefined, 'latent', 'table'];

  for (const head of [CLAMP, SOFTMAX]) {
    for (const method of methods) {
      it.each(OVERFLOWS)(
        `names the label that overflows (${head.kind}, ${method}): %s`,
        (_, spec) => {
          const whole = { ...spec, head, ...(method && { method }) };
          expect(errorOf(() => decoded(kernels, whole, 0b010))).toMatchObject({
            code: 'NON_FINITE',
            field: 'decoder',
            found: expect.stringContaining('label 1'),
          });
        },
      );
    }
  }

  it('decodes the other labels of such a decoder', () => {
    const labels = decoded(kernels, { ...specOf({ codebooks: [1, 1e39] }), head: CLAMP }, 0);
    for (const i of [0, 1, 2]) {
      const label = labels.slice(i * CLASSES, (i + 1) * CLASSES);
      expect(label.map((value) => Math.round(value * 15))).toEqual([1, 2, 3, 4, 5]);
    }
  });

  it('refuses values that only overflow when a clamp head adds them up', () => {
    const bias = [huge, huge, 0, 0, 0];
    const clamp = { ...specOf({ bias }), head: CLAMP };
    expect(errorOf(() => decoded(kernels, clamp, 0))).toMatchObject({ code: 'NON_FINITE' });
    const [first, second, ...rest] = decoded(kernels, { ...specOf({ bias }), head: SOFTMAX }, 0);
    expect([first, second]).toEqual([0.5, 0.5]);
    for (const value of rest.slice(0, 3)) expect(value).toBeLessThan(1e-30);
  });

  it('refuses predictions that overflow, and weights that are not shares', () => {
    const spec = { ...specOf({ bases: [1e38], basis: [1, 2, 3, 4, 5] }), head: SOFTMAX };
    expect(errorOf(() => decoded(kernels, spec, 0))).toMatchObject({ code: 'NON_FINITE' });
    using decoder = kernels.createDecoder({ ...specOf({ bases: [1] }), head: SOFTMAX });
    for (const weight of [Number.NaN, -0.1, 1.1, Infinity]) {
      const prediction = { pairs: new Uint32Array(2), weights: Float32Array.of(weight) };
      const codes = Uint8Array.of(0);
      const args = { codes, labels: { start: 0, count: 1 }, out: new Float32Array(5), prediction };
      expect(errorOf(() => decoder.decode(args))).toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: 'prediction.weights[0]',
      });
    }
  });

  it('refuses it for a loss as well', () => {
    const spec = { ...specOf({ codebooks: [1, 1e30], basis: [1, 2, 1e30, 4, 5] }), head: CLAMP };
    using decoder = kernels.createDecoder(spec);
    const loss = (codes: number) =>
      decoder.decodeKl({
        ...{ codes: Uint8Array.of(codes), labels: { start: 0, count: COUNT }, tau: 1 },
        ...{ logits: new Float32Array(COUNT * CLASSES), losses: new Float32Array(COUNT) },
      });
    expect(errorOf(() => loss(0b100))).toMatchObject({ code: 'NON_FINITE', field: 'decoder' });
    expect(errorOf(() => loss(0))).toBeUndefined();
  });

  it('leaves an identity head what it finds', () => {
    const spec = {
      ...specOf({ bias: [huge, 1, 2, 3, Infinity] }),
      head: { kind: 'identity' } as const,
    };
    expect(decoded(kernels, spec, 0).slice(3, 5)).toEqual([7, Infinity]);
  });

  it.each([
    ['head.tau', { kind: 'softmax', tau: 1e-40 }],
    ['head.eps', { kind: 'clamp', eps: 1e-40 }],
  ] as const)('refuses a divisor without an inverse: %s', (field, head) => {
    expect(errorOf(() => kernels.createDecoder({ ...specOf({}), head }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      field,
    });
  });
});

it('refuses fixed-point tables of values beyond them', () => {
  const spec = { ...specOf({ codebooks: [1, 1e35] }), head: CLAMP, method: 'fixed' } as const;
  expect(errorOf(() => cpu.createDecoder(spec))).toMatchObject({ code: 'NON_FINITE' });
  const chosen = { ...spec, method: undefined, precision: 'fast' } as const;
  expect(decoded(cpu, chosen, 0)).toEqual(decoded(cpu, { ...spec, method: 'latent' }, 0));
});
