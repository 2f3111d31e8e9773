import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import type { DecoderSpec, Kernels } from '#src/kernels/types.js';
import { cpu, reference } from './support.js';

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

// In a process of its own: what is looked for would end it.
it('the addon does its work or throws, whatever its methods are called with', () => {
  const args = [path('fuzz-addon.mjs'), path('../../build/Release/softpack.node'), '4000', '1'];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
  });
  expect([status, signal, stderr]).toEqual([0, null, '']);
  const outcomes = Object.entries(JSON.parse(stdout) as Record<string, { done: number }>);
  expect(outcomes.length).toBe(34);
  for (const [name, { done }] of outcomes) expect([name, done > 10]).toEqual([name, true]);
});

const f32 = (length: number) => new Float32Array(length).fill(0.5);

const DECODER: DecoderSpec = {
  ...{ classes: 2, latent: 4, stages: 2, levels: 3, width: 2, codebookStride: 0, latentStep: 2 },
  ...{ bits: 2, codebooks: f32(6), basis: f32(8), head: { kind: 'softmax', tau: 2 } },
};
const ENCODER = {
  classes: 5,
  projection: f32(30),
  latent: 6,
  codebook: f32(12),
  width: 3,
  bits: 2,
};

const OPERATIONS: readonly (readonly [
  name: string,
  run: (kernels: Kernels, args: never) => unknown,
  valid: () => object,
])[] = [
  [
    'project',
    (kernels, args) => kernels.projectAsync(args),
    () => ({ a: f32(6), b: f32(12), out: f32(8), rows: 2, inner: 3, columns: 4 }),
  ],
  [
    'nearest',
    (kernels, args) => kernels.nearest(args),
    () => ({ vectors: f32(6), codebook: f32(9), out: new Uint16Array(2), width: 3 }),
  ],
  [
    'pack',
    (kernels, args) => kernels.pack(args),
    () => ({ indices: new Uint16Array(4), bits: 5, out: new Uint8Array(3), bitOffset: 1 }),
  ],
  [
    'unpack',
    (kernels, args) => kernels.unpack(args),
    () => ({ packed: new Uint8Array(3), bits: 5, out: new Uint16Array(4), bitOffset: 1 }),
  ],
  [
    'augment',
    (kernels, args) => kernels.augmentAsync(args),
    () => ({
      ...{ images: [new Uint8Array(12)], sizes: Uint32Array.of(2, 2), size: [2, 2] },
      ...{ views: Int32Array.of(0, 0, 0, 2, 2, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0) },
      ...{ weights: f32(1), out: f32(12), normalisation: { mean: [0, 0, 0], std: [1, 1, 1] } },
    }),
  ],
  [
    'centreLogits',
    (kernels, args) => kernels.centreLogits(args),
    () => ({ logits: f32(6), classes: 3, depth: 87, mean: f32(3), out: f32(6), threads: 1 }),
  ],
  [
    'quantise',
    (kernels, args) => kernels.quantise(args),
    () => ({
      ...{ values: f32(6), unit: 0.5, shifts: new Int8Array(2), costs: new Float64Array(1024) },
      ...{ trellis: 4, out: new Int16Array(6), threads: 1 },
    }),
  ],
  [
    'dequantise',
    (kernels, args) => kernels.dequantise(args),
    () => ({
      ...{ indices: new Int16Array(6), shifts: new Int8Array(2), unit: 0.5, trellis: 8 },
      ...{ out: f32(6), threads: 2 },
    }),
  ],
  [
    'createLatentDecoder',
    (kernels, args) => kernels.createLatentDecoder(args),
    () => ({ basis: f32(6), bias: f32(3), fastest: true }),
  ],
  [
    'decodeLatents',
    (kernels, args) =>
      kernels.createLatentDecoder({ basis: f32(6), bias: f32(3) }).decodeAsync(args),
    () => ({ latents: f32(4), tau: 2, out: f32(6), threads: 1 }),
  ],
  ['createEncoder', (kernels, args) => kernels.createEncoder(args), () => ({ ...ENCODER })],
  ['createDecoder', (kernels, args) => kernels.createDecoder(args), () => ({ ...DECODER })],
  [
    'encode',
    (kernels, args) => kernels.createEncoder(ENCODER).encodeAsync(args),
    () => ({ labels: f32(10), out: new Uint8Array(1) }),
  ],
  [
    'decode',
    (kernels, args) => kernels.createDecoder(DECODER).decodeAsync(args),
    () => ({ codes: new Uint8Array(2), labels: { start: 0, count: 3 }, out: f32(6) }),
  ],
  [
    'decodeKl',
    (kernels, args) => kernels.createDecoder(DECODER).decodeKlAsync(args),
    () => ({
      ...{ codes: new Uint8Array(2), labels: Uint32Array.of(0, 1), logits: f32(4), tau: 2 },
      ...{ losses: f32(2), gradient: f32(4), scale: 1, loss: 'kl' },
    }),
  ],
];

const revoked = Proxy.revocable({}, {});
revoked.revoke();

const HOSTILE: readonly unknown[] = [
  ...[undefined, null, true, '', 'x', -1, 0, 0.5, 2 ** 31, 2 ** 53, Number.NaN, Infinity, 3n],
  ...[Symbol('s'), {}, [], [1, 2], { toString: 1 }, { length: 4 }, () => 1, revoked.proxy],
  ...[
    f32(0),
    f32(1),
    f32(6),
    new Float64Array(6),
    new Uint8Array(3),
    new DataView(new ArrayBuffer(9)),
  ],
  ...[Object.create(null), { start: 0 }, { start: 2 ** 53 - 1, count: 2 ** 53 - 1 }, { kind: {} }],
];

/** Undefined for a call that did its work. */
async function errorOfCall(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe.each([
  ['reference', reference],
  ['cpu', cpu],
] as const)('%s', (_, kernels) => {
  it.each(OPERATIONS)('%s throws nothing but SoftpackErrors', async (_, run, valid) => {
    expect(await errorOfCall(() => run(kernels, valid() as never))).toBeUndefined();
    const changes = fc.array(fc.tuple(fc.nat(12), fc.nat(HOSTILE.length - 1)), {
      minLength: 1,
      maxLength: 2,
    });
    await fc.assert(
      fc.asyncProperty(changes, async (drawn) => {
        const args = valid() as Record<string, unknown>;
        const keys = Object.keys(args);
        for (const [at, value] of drawn) args[keys[at % keys.length] ?? ''] = HOSTILE[value];
        const error = await errorOfCall(() => run(kernels, args as never));
        if (error !== undefined) expect(error).toBeInstanceOf(SoftpackError);
      }),
      { seed: 1, numRuns: 150 },
    );
    for (const args of [undefined, null, 1, 'x', [], Symbol('s')]) {
      const error = await errorOfCall(() => run(kernels, args as never));
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('residentCodes throws nothing but SoftpackErrors', () => {
    for (const codes of HOSTILE) {
      let error: unknown;
      try {
        kernels.residentCodes(codes as never).dispose();
      } catch (caught) {
        error = caught;
      }
      if (ArrayBuffer.isView(codes) && codes.byteLength === 3) expect(error).toBeUndefined();
      else expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codes' });
    }
  });

  it('takes arrays of another realm', () => {
    const a = runInNewContext('new Float32Array([1, 2])') as Float32Array;
    const out = runInNewContext('new Float32Array(1)') as Float32Array;
    kernels.project({ a, b: Float32Array.of(3, 4), out, rows: 1, inner: 2, columns: 1 });
    expect(out[0]).toBe(11);
  });
});
