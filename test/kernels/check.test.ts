import { describe, expect, it } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import type { DecoderSpec, EncoderSpec, Kernels } from '#src/kernels/types.js';
import { cpu, errorOf, randomStream, reference, segmentSpec } from './support.js';

const project = {
  a: new Float32Array(6),
  b: new Float32Array(12),
  out: new Float32Array(8),
  rows: 2,
  inner: 3,
  columns: 4,
};
const nearest = {
  vectors: new Float32Array(6),
  codebook: new Float32Array(9),
  out: new Uint16Array(2),
  width: 3,
};
const pack = { indices: new Uint16Array(4), bits: 5, out: new Uint8Array(3) };
const unpack = { packed: new Uint8Array(3), bits: 5, out: new Uint16Array(4) };
const encoderSpec: EncoderSpec = {
  classes: 5,
  projection: new Float32Array(30),
  latent: 6,
  codebook: new Float32Array(12),
  width: 3,
  bits: 2,
};
const encode = { labels: new Float32Array(10), out: new Uint8Array(1) };
const spec: DecoderSpec = segmentSpec(randomStream(1), {
  classes: 5,
  stages: 2,
  width: 3,
  levels: 4,
});
const decode = {
  codes: new Uint8Array(2),
  labels: { start: 0, count: 2 },
  out: new Float32Array(10),
};
const predicted: DecoderSpec = { ...spec, bases: new Float32Array(12) };
const prediction = { pairs: Uint32Array.of(0, 1, 1, 1), weights: new Float32Array(2) };
const decodeKl = {
  codes: new Uint8Array(2),
  labels: { start: 0, count: 2 },
  logits: new Float32Array(10),
  tau: 2,
  losses: new Float32Array(2),
  gradient: new Float32Array(10),
};
const shared = new Float32Array(20);

/** Each entry: an operation, good arguments, and what to spoil in them, by the argument that must be named. */
const OPERATIONS: readonly {
  name: string;
  run: (kernels: Kernels, args: never) => unknown;
  good: object;
  bad: readonly (readonly [field: string, spoiled: object])[];
}[] = [
  {
    name: 'project',
    run: (kernels, args) => kernels.project(args),
    good: project,
    bad: [
      ['rows', { rows: -1 }],
      ['rows', { rows: 1.5 }],
      ['inner', { inner: Number.NaN }],
      ['columns', { columns: '4' }],
      ['a', { a: new Float32Array(7) }],
      ['a', { a: new Float64Array(6) }],
      ['b', { b: [1, 2, 3] }],
      ['out', { out: new Float32Array(9) }],
      ['out', { out: null }],
      ['out', { a: shared.subarray(0, 6), out: shared.subarray(5, 13) }],
      ['threads', { threads: 257 }],
      ['transposeA', { transposeA: 1 }],
      ['accumulate', { accumulate: 'yes' }],
    ],
  },
  {
    name: 'nearest',
    run: (kernels, args) => kernels.nearest(args),
    good: nearest,
    bad: [
      ['width', { width: 0 }],
      ['vectors', { vectors: new Float32Array(7) }],
      ['codebook', { codebook: new Float32Array(0) }],
      ['codebook', { codebook: new Float32Array(10) }],
      ['codebook', { codebook: new Float32Array(3 * 65537) }],
      ['out', { out: new Uint16Array(3) }],
      ['out', { out: new Uint32Array(2) }],
    ],
  },
  {
    name: 'pack',
    run: (kernels, args) => kernels.pack(args),
    good: pack,
    bad: [
      ['bits', { bits: 0 }],
      ['bits', { bits: 17 }],
      ['out', { out: new Uint8Array(2) }],
      ['out', { bitOffset: 5 }],
      ['bitOffset', { bitOffset: -1 }],
      ['indices[2]', { indices: Uint16Array.of(31, 0, 32, 1) }],
    ],
  },
  {
    name: 'unpack',
    run: (kernels, args) => kernels.unpack(args),
    good: unpack,
    bad: [
      ['bits', { bits: 2.5 }],
      ['packed', { packed: new Uint8Array(2) }],
      ['packed', { packed: new ArrayBuffer(3) }],
      ['out', { out: new Uint8Array(4) }],
    ],
  },
  {
    name: 'createEncoder',
    run: (kernels, args) => kernels.createEncoder(args).dispose(),
    good: encoderSpec,
    bad: [
      ['classes', { classes: 0 }],
      ['latent', { latent: 7 }],
      ['bits', { bits: 0 }],
      ['projection', { projection: new Float32Array(29) }],
      ['codebook', { codebook: new Float32Array(15) }],
    ],
  },
  {
    name: 'encode',
    run: (kernels, args) => {
      using encoder = kernels.createEncoder(encoderSpec);
      encoder.encode(args);
    },
    good: encode,
    bad: [
      ['labels', { labels: new Float32Array(11) }],
      ['out', { out: new Uint8Array(2) }],
      ['threads', { threads: 257 }],
    ],
  },
  {
    name: 'createDecoder',
    run: (kernels, args) => kernels.createDecoder(args).dispose(),
    good: spec,
    bad: [
      ['classes', { classes: 0 }],
      ['stages', { stages: 0 }],
      ['latent', { latent: 7 }],
      ['levels', { levels: 5 }],
      ['bits', { bits: 17 }],
      ['codebooks', { codebooks: new Float32Array(11) }],
      ['basis', { basis: new Float32Array(31) }],
      ['bias', { bias: new Float32Array(4) }],
      ['head', { head: { kind: 'sigmoid' } }],
      ['head', { head: undefined }],
      ['head.eps', { head: { kind: 'clamp', eps: 0 } }],
      ['head.tau', { head: { kind: 'softmax', tau: Infinity } }],
      ['method', { method: 'magic' }],
      ['precision', { precision: 'float128' }],
      ['memoryCap', { memoryCap: -1 }],
      ['bases', { bases: new Float32Array(0) }],
      ['bases', { bases: new Float32Array(9) }],
    ],
  },
  {
    name: 'decode',
    run: (kernels, args) => {
      using decoder = kernels.createDecoder(spec);
      decoder.decode(args);
    },
    good: decode,
    bad: [
      ['codes', { codes: new Uint8Array(0) }],
      ['codes', { labels: { start: 3, count: 2 } }],
      ['codes', { labels: Uint32Array.of(0, 4) }],
      ['labels.start', { labels: { start: -1, count: 2 } }],
      ['labels.count', { labels: { start: 0 } }],
      ['labels', { labels: [0, 1] }],
      ['out', { out: new Float32Array(9) }],
      ['out', { out: new Int16Array(10) }],
      ['outType', { outType: 'float8' }],
      ['prediction', { prediction }],
      ['threads', { threads: -1 }],
    ],
  },
  {
    name: 'decode with bases',
    run: (kernels, args) => {
      using decoder = kernels.createDecoder(predicted);
      decoder.decode(args);
    },
    good: { ...decode, prediction },
    bad: [
      ['prediction', { prediction: undefined }],
      ['prediction.pairs', { prediction: { ...prediction, pairs: new Uint32Array(3) } }],
      ['prediction.pairs[2]', { prediction: { ...prediction, pairs: Uint32Array.of(0, 1, 2, 0) } }],
      ['prediction.weights', { prediction: { ...prediction, weights: new Float32Array(1) } }],
    ],
  },
  {
    name: 'decodeKl',
    run: (kernels, args) => {
      using decoder = kernels.createDecoder({ ...spec, head: { kind: 'softmax', tau: 1 } });
      decoder.decodeKl(args);
    },
    good: decodeKl,
    bad: [
      ['codes', { codes: new Uint8Array(0) }],
      ['logits', { logits: new Float32Array(9) }],
      ['losses', { losses: new Float32Array(3) }],
      ['losses', { losses: shared.subarray(0, 2), logits: shared.subarray(0, 10) }],
      ['gradient', { gradient: new Float32Array(9) }],
      ['gradient', { gradient: shared.subarray(0, 10), logits: shared.subarray(5, 15) }],
      ['gradient', { gradient: shared.subarray(0, 10), losses: shared.subarray(9, 11) }],
      ['tau', { tau: 0 }],
      ['scale', { scale: Number.NaN }],
      ['loss', { loss: 'hinge' }],
    ],
  },
];

describe.each([{ kernels: reference }, { kernels: cpu }])('$kernels.name', ({ kernels }) => {
  describe.each(OPERATIONS)('$name', ({ run, good, bad }) => {
    it('takes good arguments', () => {
      expect(errorOf(() => run(kernels, good as never))).toBeUndefined();
    });

    it.each(bad)('names %s (case %#)', (field, spoiled) => {
      const error = errorOf(() => run(kernels, { ...good, ...spoiled } as never));
      expect(error).toBeInstanceOf(SoftpackError);
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
      expect((error as SoftpackError).expected).toBeDefined();
    });
  });

  it('rejects, never throws, from the asynchronous forms', async () => {
    const wrong = { ...project, rows: -1 };
    await expect(kernels.projectAsync(wrong)).rejects.toMatchObject({ field: 'rows' });
    await expect(kernels.nearestAsync({ ...nearest, width: 0 })).rejects.toMatchObject({
      field: 'width',
    });
    using encoder = kernels.createEncoder(encoderSpec);
    await expect(encoder.encodeAsync({ ...encode, threads: -1 })).rejects.toMatchObject({
      field: 'threads',
    });
    using decoder = kernels.createDecoder(spec);
    await expect(decoder.decodeKlAsync(decodeKl)).rejects.toMatchObject({ field: 'head' });
  });
});
