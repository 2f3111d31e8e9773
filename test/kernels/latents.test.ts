import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { DecodeLatentsArgs, LatentDecoderSpec } from '#src/kernels/latents.js';
import {
  cpu,
  errorOf,
  guarded,
  hasBfloat,
  randomFloats,
  randomStream,
  reference,
} from './support.js';

const BOTH = [{ kernels: reference }, { kernels: cpu }];

/** Softmax of the product, from the definition. */
function expectedLabel({ basis, bias }: LatentDecoderSpec, latent: Float32Array, tau: number) {
  const values = Array.from(bias, (start, j) =>
    latent.reduce((sum, factor, k) => sum + factor * basis[k * bias.length + j], start),
  );
  const most = Math.max(...values);
  const weights = values.map((value) => Math.exp(Math.max((value - most) / tau, -87)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

const shapes = fc.record({
  count: fc.constantFrom(0, 1, 2, 7, 8, 13, 97, 130),
  latent: fc.constantFrom(1, 2, 3, 17, 64),
  classes: fc.constantFrom(1, 2, 15, 16, 17, 49, 64, 65, 101),
  tau: fc.constantFrom(0.5, 1, 20),
  seed: fc.nat(),
});

it('labels are those of float64 within the bounds of their precision', () => {
  fc.assert(
    fc.property(shapes, ({ count, latent, classes, tau, seed }) => {
      const random = randomStream(seed);
      const spec = {
        basis: randomFloats(random, latent * classes),
        bias: randomFloats(random, classes),
      };
      const latents = randomFloats(random, count * latent);
      using exact = cpu.createLatentDecoder(spec);
      using fastest = cpu.createLatentDecoder({ ...spec, fastest: true });
      const { view, intact } = guarded(Float32Array, count * classes, { guard: 17 });
      exact.decode({ latents, tau, out: view, threads: 1 });
      expect(intact()).toBe(true);
      const rounded = new Float32Array(view.length);
      fastest.decode({ latents, tau, out: rounded });
      let [worst, worstRounded] = [0, 0];
      for (let i = 0; i < count; i++) {
        const own = latents.subarray(i * latent, (i + 1) * latent);
        for (const [j, value] of expectedLabel(spec, own, tau).entries()) {
          worst = Math.max(worst, Math.abs(view[i * classes + j] - value));
          worstRounded = Math.max(worstRounded, Math.abs(rounded[i * classes + j] - value));
        }
      }
      expect(worst).toBeLessThan(2e-6);
      // Factors rounded to bfloat16 are off by 2^-9 of themselves, and the head divides by tau.
      expect(worstRounded).toBeLessThan(hasBfloat ? 0.02 / Math.min(tau, 1) : 2e-6);
    }),
    { numRuns: 25 },
  );
});

it('labels are those of a decoder whose base vectors are the latents, to the bit', async () => {
  const [latent, classes, count, tau] = [20, 37, 150, 3];
  const random = randomStream(2);
  const spec = {
    basis: randomFloats(random, latent * classes),
    bias: randomFloats(random, classes),
  };
  const latents = randomFloats(random, count * latent);
  using decoder = cpu.createDecoder({
    ...{ classes, latent, stages: 1, levels: 1, width: latent, codebookStride: 0, latentStep: 0 },
    ...{ bits: 1, codebooks: new Float32Array(latent), method: 'latent', bases: latents },
    ...{ ...spec, head: { kind: 'softmax', tau } },
  });
  const pairs = Uint32Array.from({ length: 2 * count }, (_, i) => i >> 1);
  const prediction = { pairs, weights: new Float32Array(count).fill(1) };
  const expected = new Float32Array(count * classes);
  const labels = { start: 0, count };
  decoder.decode({ codes: new Uint8Array(count), labels, prediction, out: expected });
  using own = cpu.createLatentDecoder(spec);
  for (const threads of [1, 2]) {
    const [now, later] = [new Float32Array(expected.length), new Float32Array(expected.length)];
    own.decode({ latents, tau, out: now, threads });
    await own.decodeAsync({ latents, tau, out: later, threads });
    expect(now).toEqual(expected);
    expect(later).toEqual(expected);
  }
  const halves = new Uint16Array(expected.length);
  decoder.decode({ codes: new Uint8Array(count), labels, prediction, out: halves });
  const ownHalves = new Uint16Array(expected.length);
  own.decode({ latents, tau, out: ownHalves });
  expect(ownHalves).toEqual(halves);
});

it.each(BOTH)('$kernels.name refuses what gives no labels, and names it', async ({ kernels }) => {
  const spec = { basis: new Float32Array(6).fill(1e30), bias: new Float32Array(3) };
  const decoder = kernels.createLatentDecoder(spec);
  const args = { latents: new Float32Array(4), tau: 1, out: new Float32Array(6) };
  for (const value of [Number.NaN, Infinity, 1e30]) {
    const latents = Float32Array.of(0, 0, value, 1);
    const error = errorOf(() => decoder.decode({ ...args, latents }));
    expect(error).toMatchObject({ code: 'NON_FINITE', field: 'decoder' });
  }
  const wrong: readonly (readonly [string, Partial<DecodeLatentsArgs>])[] = [
    ['latents', { latents: new Float32Array(3) }],
    ['tau', { tau: 0 }],
    ['tau', { tau: Number.NaN }],
    ['out', { out: new Float32Array(5) }],
    ['threads', { threads: 1.5 }],
  ];
  for (const [field, change] of wrong) {
    const error = errorOf(() => decoder.decode({ ...args, ...change }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
    await expect(decoder.decodeAsync({ ...args, ...change })).rejects.toMatchObject({ field });
  }
  decoder.dispose();
  expect(errorOf(() => decoder.decode(args))).toMatchObject({ field: 'decoder' });
  for (const [field, change] of [
    ['bias', { bias: new Float32Array(0) }],
    ['basis', { basis: new Float32Array(7) }],
    ['basis', { basis: new Float32Array(0) }],
    ['fastest', { fastest: 1 as unknown as boolean }],
  ] as const) {
    const error = errorOf(() => kernels.createLatentDecoder({ ...spec, ...change }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
});
