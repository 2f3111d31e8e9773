import { expect, it } from 'vitest';
import { toHalf } from '#src/core/half.js';
import type { DecoderSpec } from '#src/kernels/types.js';
import { cpu } from './support.js';

/** The value of a finite half, from the definition of the format. */
function valueOfHalf(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return half & 0x8000 ? -size : size;
}

/** Every positive half, the points halfway to the next, and their float32 neighbours, with the right answers. */
function cases(): { values: Float32Array; halves: Uint16Array } {
  const values: number[] = [];
  const halves: number[] = [];
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  const neighbour = (value: number, step: number) => {
    float[0] = value;
    bits[0] = (bits[0] ?? 0) + step;
    return float[0] ?? 0;
  };
  const add = (value: number, half: number) => {
    values.push(value, -value);
    halves.push(half, half | 0x8000);
  };
  for (let half = 0; half < 0x7c00; half++) {
    const value = valueOfHalf(half);
    // Beyond the largest half comes what the next one would be: 65536, where infinity begins.
    const next = half === 0x7bff ? 65536 : valueOfHalf(half + 1);
    const middle = (value + next) / 2;
    const even = half % 2 === 0 ? half : half + 1;
    add(value, half);
    add(neighbour(value, 1), half);
    add(neighbour(middle, -1), half);
    add(middle, even);
    add(neighbour(middle, 1), half + 1);
    add(neighbour(next, -1), half + 1);
  }
  add(Infinity, 0x7c00);
  add(3e38, 0x7c00);
  add(1e-40, 0);
  return { values: Float32Array.from(values), halves: Uint16Array.from(halves) };
}

const { values, halves } = cases();

it('rounds to nearest, ties to even, over the whole range (reference)', () => {
  expect(
    Buffer.from(Uint16Array.from(values, toHalf).buffer).equals(Buffer.from(halves.buffer)),
  ).toBe(true);
  expect(toHalf(Number.NaN) & 0x7e00).toBe(0x7e00);
});

it('rounds to nearest, ties to even, over the whole range (cpu)', () => {
  // A decoder that gives its bias: no stage adds anything but zero.
  const spec: DecoderSpec = {
    classes: values.length,
    latent: 1,
    stages: 1,
    levels: 1,
    width: 1,
    codebookStride: 0,
    latentStep: 0,
    bits: 1,
    codebooks: new Float32Array(1),
    basis: new Float32Array(values.length),
    bias: values,
    head: { kind: 'identity' },
    method: 'latent',
  };
  using decoder = cpu.createDecoder(spec);
  const out = new Uint16Array(values.length).fill(0xaaaa);
  decoder.decode({ codes: new Uint8Array(1), labels: { start: 0, count: 1 }, out });
  // -0 + 0 is 0: the sum loses the sign that the table of cases gives to negative zero.
  const zero = values.findIndex((value) => Object.is(value, -0));
  expect(out[zero]).toBe(0);
  out[zero] = halves[zero] ?? 0;
  expect(Buffer.from(out.buffer).equals(Buffer.from(halves.buffer))).toBe(true);
});
