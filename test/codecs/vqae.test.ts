import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TrainingState } from '#src/codecs/checkpoints.js';
import { loadCodec } from '#src/codecs/registry.js';
import type { VqaeCodec } from '#src/codecs/vqae/codec.js';
import { dealComponents } from '#src/codecs/vqae/initialise.js';
import { codesRatio, vqaeForRatio } from '#src/codecs/vqae/plan.js';
import { VqaeTrainer, type VqaeTrainingHooks } from '#src/codecs/vqae/trainer.js';
import { loadKernels } from '#src/kernels/load.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { syntheticLabels, syntheticLogits } from './labels.js';

const kernels = loadKernels();
const config = { classes: 40, dh: 40, dc: 8, k: 16, tau: 20, eps: 1e-6 };
const labels = syntheticLabels(600, 40, 20);
const context = { epoch: 0, samples: { start: 0, count: 0 } };

function train(options = {}, hooks: VqaeTrainingHooks = {}) {
  const all = { steps: 120, batch: 64, ...options };
  return new VqaeTrainer(config, labels, kernels, all).train(hooks);
}

/** As a file gives it back: at any offset, unaffected by what the training does next. */
function copied(state: TrainingState): TrainingState {
  return new Map(
    [...state].map(([name, tensor]) => {
      const data = new Uint8Array(tensor.data.length + 3).subarray(3);
      data.set(tensor.data);
      return [name, { ...tensor, data }];
    }),
  );
}

/** Decodes packed codes by the formula of the paper: bits, lookup, D, bias, clamp, in float64. */
function decodeByFormula(codec: VqaeCodec, codes: Uint8Array, count: number): Float64Array[] {
  const { classes, dh, dc, k, eps } = codec.config;
  const bits = Math.log2(k);
  const bit = (i: number) => (codes[i >> 3] >> (i & 7)) & 1;
  const { codebook, decoder, bias } = codec.weights;
  return Array.from({ length: count }, (_, label) => {
    const v = Float64Array.from(bias);
    for (let segment = 0; segment < dh / dc; segment++) {
      let q = 0;
      for (let b = 0; b < bits; b++) q |= bit((label * (dh / dc) + segment) * bits + b) << b;
      for (let j = 0; j < dc; j++) {
        const h = codebook[q * dc + j];
        for (let l = 0; l < classes; l++) v[l] += h * decoder[(segment * dc + j) * classes + l];
      }
    }
    const sum = v.reduce((total, value) => total + Math.max(value, eps), 0);
    return v.map((value) => Math.max(value, eps) / sum);
  });
}

describe('VqaeTrainer', () => {
  test('the same seed gives the same codec, another seed another', async () => {
    const [first, again, other] = await Promise.all([train(), train(), train({ seed: 1 })]);
    expect(again.codec.weights).toEqual(first.codec.weights);
    expect(again.curve).toEqual(first.curve);
    expect(other.codec.weights.decoder).not.toEqual(first.codec.weights.decoder);
  });

  test('interrupted at any step, it goes on to the codec of an undisturbed run', async () => {
    const whole = await train();
    for (const stops of [[1], [49, 50, 51], [7, 119], [3, 3, 90]]) {
      let last: TrainingState | undefined;
      for (const stop of [...stops, Number.POSITIVE_INFINITY]) {
        const controller = new AbortController();
        const keep = async (state: TrainingState) => {
          last = copied(state);
        };
        const run = train(
          {},
          {
            signal: controller.signal,
            checkpoints: { last, keep },
            onProgress: ({ step }) => step >= stop && controller.abort(),
          },
        );
        if (Number.isFinite(stop)) await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
        else {
          const { codec, curve, revived } = await run;
          expect(codec.weights).toEqual(whole.codec.weights);
          expect({ curve, revived }).toEqual({ curve: whole.curve, revived: whole.revived });
        }
      }
    }
  });

  test('killed, it goes on from what it kept last, and starts over from what does not fit', async () => {
    const kept: TrainingState[] = [];
    const keep = async (state: TrainingState) => {
      kept.push(copied(state));
    };
    const whole = await train({}, { checkpoints: { keep }, checkpointInterval: 0 });
    expect(kept.length).toBe(119);
    const other = new VqaeTrainer({ ...config, k: 8 }, labels, kernels, { steps: 120, batch: 64 });
    let foreign: TrainingState | undefined;
    const keepForeign = async (state: TrainingState) => {
      foreign = copied(state);
    };
    await other.train({ checkpoints: { keep: keepForeign }, checkpointInterval: 0 });
    const cut = new Map([...kept[30]].filter(([name]) => name !== 'decoder.square'));
    for (const last of [kept[0], kept[60], kept[118], foreign, cut, new Map()]) {
      let steps = 0;
      const checkpoints = { last, keep };
      const { codec, curve } = await train({}, { checkpoints, onProgress: () => steps++ });
      expect(codec.weights).toEqual(whole.codec.weights);
      expect(curve).toEqual(whole.curve);
      const at = kept.indexOf(last ?? cut);
      expect(steps).toBe(at < 0 ? 120 : 119 - at);
    }
  });

  test.each([
    ['principal', 0.99, 0.1],
    ['random', 0.5, 0.5],
  ] as const)('training from %s reduces the error', async (kind, gain, bound) => {
    const { curve } = await train({ initialisation: kind, steps: 300 });
    const mean = (part: readonly { reconstruction: number }[]) =>
      part.reduce((sum, { reconstruction }) => sum + reconstruction, 0) / part.length;
    expect(mean(curve.slice(-20))).toBeLessThan(gain * mean(curve.slice(0, 5)));
    expect(mean(curve.slice(-20))).toBeLessThan(bound);
  });

  test('codewords that nothing chooses are revived', async () => {
    // Two kinds of labels only: at most a few of 16 codewords can be in use.
    const two = syntheticLabels(2, 40, 20);
    const many = Float32Array.from({ length: 600 * 40 }, (_, i) => two[i % 80]);
    const trainer = new VqaeTrainer(config, many, kernels, { steps: 150, batch: 64 });
    expect((await trainer.train()).revived).toBeGreaterThan(0);
  });

  test('refuses too few labels before any work', () => {
    const few = () => new VqaeTrainer(config, labels.subarray(0, 40 * 12), kernels);
    expect(few).toThrow(expect.objectContaining({ code: 'TOO_FEW_LABELS', found: 12 }));
  });

  test('stops at the signal', async () => {
    const controller = new AbortController();
    const trainer = new VqaeTrainer(config, labels, kernels, { steps: 1000, batch: 64 });
    const run = trainer.train({
      signal: controller.signal,
      onProgress: ({ step }) => step === 3 && controller.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test.each([
    ['dh', { dh: 41 }],
    ['k', { k: 48 }],
    ['k', { k: 131072 }],
    ['tau', { tau: 0 }],
    ['eps', { eps: Number.NaN }],
    ['classes', { classes: 0 }],
  ])('refuses a bad %s', (field, change) => {
    const make = () => new VqaeTrainer({ ...config, ...change }, labels, kernels);
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field }));
  });
});

describe('VqaeCodec', () => {
  const logits = syntheticLogits(101, 40);

  test('decodes what the formula decodes, from its own bits', async () => {
    const { codec } = await train();
    const codes = await codec.encode(logits, context);
    expect(codes.length).toBe(Math.ceil((101 * 5 * 4) / 8));
    const out = new Float32Array(101 * 40).fill(Number.NaN);
    await codec.decodeAsync({ row: codes, labels: { start: 0, count: 101 }, context, out });
    for (const [i, row] of decodeByFormula(codec, codes, 101).entries()) {
      for (const [j, value] of row.entries()) expect(out[i * 40 + j]).toBeCloseTo(value, 6);
    }
    const some = new Float32Array(3 * 40).fill(Number.NaN);
    codec.decode({ row: codes, labels: Uint32Array.of(100, 7, 7), context, out: some });
    for (const [i, id] of [100, 7, 7].entries()) {
      expect(some.subarray(i * 40, i * 40 + 40)).toEqual(out.subarray(id * 40, id * 40 + 40));
    }
  });

  test('keeps labels: decoded from encoded is close to the original', async () => {
    const { codec } = await train({ steps: 400 });
    const codes = await codec.encode(logits, context);
    const out = new Float32Array(101 * 40);
    codec.decode({ row: codes, labels: { start: 0, count: 101 }, context, out });
    const original = new Float32Array(101 * 40);
    softmaxRows(logits, 101, 40, 20, original);
    expect(labelDivergence(original, out, 40).nmse).toBeLessThan(0.5);
  });

  test('chunks of a multiple of 8 labels join to the codes of the whole', async () => {
    const { codec } = await train();
    const whole = await codec.encode(logits, context);
    const parts = [
      await codec.encode(logits.subarray(0, 64 * 40), context),
      await codec.encode(logits.subarray(64 * 40), context),
    ];
    expect(Buffer.concat(parts)).toEqual(Buffer.from(whole));
  });

  test('comes back from its parts', async () => {
    const { codec } = await train();
    const codes = await codec.encode(logits, context);
    const again = loadCodec(codec.parts(), kernels);
    const [out, expected] = [new Float32Array(101 * 40), new Float32Array(101 * 40)];
    again.decode({ row: codes, labels: { start: 0, count: 101 }, context, out });
    codec.decode({ row: codes, labels: { start: 0, count: 101 }, context, out: expected });
    expect(out).toEqual(expected);
    await expect(again.encode(logits, context)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    const encoder = loadCodec(codec.parts({ encoder: true }), kernels);
    expect(await encoder.encode(logits, context)).toEqual(codes);
  });

  test('refuses damaged parts, each by name', async () => {
    const parts = (await train()).codec.parts();
    const without = new Map(parts.tensors);
    without.delete('codebook');
    const infinite = new Map(parts.tensors);
    const bad = new Uint8Array(new Float32Array(40).fill(Number.POSITIVE_INFINITY).buffer);
    infinite.set('bias', { dtype: 'F32', shape: [40], data: bad });
    for (const [damage, field] of [
      [{ tensors: without }, 'codec tensor codebook'],
      [{ tensors: infinite }, 'codec tensor bias'],
      [{ config: { ...parts.config, dc: 7 } }, 'dh'],
      [{ config: { ...parts.config, dh: 48, dc: 8 } }, 'codec tensor decoder'],
    ] as const) {
      const load = () => loadCodec({ ...parts, ...damage }, kernels);
      expect(load).toThrow(expect.objectContaining({ code: 'INVALID_FILE', field }));
    }
    const unknown = () => loadCodec({ ...parts, name: 'toString' }, kernels);
    expect(unknown).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
  });
});

describe('vqaeForRatio', () => {
  test('reaches the ratio with whole segments, and wastes less than a segment', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 60_000 }),
        fc.double({ min: 1, max: 400, noNaN: true }),
        fc.integer({ min: 1, max: 1e9 }),
        (classes, ratio, labels) => {
          fc.pre(16 * classes >= ratio);
          const shape = vqaeForRatio(classes, ratio, labels);
          expect(shape.dh % shape.dc).toBe(0);
          expect(codesRatio({ classes, ...shape })).toBeGreaterThanOrEqual(ratio * (1 - 1e-12));
          const m = shape.dh / shape.dc;
          expect(Math.abs(shape.dh - classes)).toBeLessThanOrEqual(Math.max(m, classes / 2));
          expect((16 * classes) / ((m + 1) * Math.log2(shape.k))).toBeLessThan(ratio);
        },
      ),
    );
  });

  test('takes a smaller codebook where labels are few', () => {
    expect(vqaeForRatio(1000, 40).k).toBe(512);
    expect(vqaeForRatio(1000, 40, 500).k).toBe(256);
    expect(vqaeForRatio(1000, 40, 100).k).toBe(64);
  });

  test('takes the codebook of the paper near its ratios', () => {
    expect(vqaeForRatio(1000, 10).k).toBe(1024);
    expect(vqaeForRatio(1000, 40).k).toBe(512);
    expect(vqaeForRatio(1000, 200).k).toBe(64);
  });

  test('names the largest ratio when asked for more', () => {
    const call = () => vqaeForRatio(10, 1000);
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'ratio' }));
  });
});

test('dealComponents places every component once and balances bits', () => {
  const variances = Array.from({ length: 60 }, (_, i) => 0.8 ** i);
  const members = dealComponents(variances, 6, 12, 4);
  expect(members.flat().sort((a, b) => a - b)).toEqual(variances.map((_, i) => i));
  // The six strongest components are told apart.
  expect(members.map(([first]) => first).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
  const products = members.map((list) => list.slice(0, 3).reduce((sum, i) => sum + i, 0));
  expect(Math.max(...products) - Math.min(...products)).toBeLessThan(12);
});
