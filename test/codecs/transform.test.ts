import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Codec, LabelContext } from '#src/codecs/codec.js';
import { CODECS, type CodecChoice } from '#src/codecs/registry.js';
import { learnRowModel } from '#src/codecs/transform/coded-matrix.js';
import { modelOf, readTransformModel } from '#src/codecs/transform/model.js';
import { histogramsOf, learnTables, readTables } from '#src/codecs/transform/tables.js';
import type { CodecParts, Tensor } from '#src/core/codec-parts.js';
import { RandomSequence } from '#src/core/random.js';
import { errorCode } from '#src/errors.js';
import { loadKernels } from '#src/kernels/load.js';
import { referenceKernels } from '#src/kernels/reference/kernels.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { temporaryDirectory } from '../temporary.js';
import { syntheticLogits, trainingOn } from './labels.js';
import { type Mix, referenceLabels } from './transform-reference.js';

const directory = await temporaryDirectory();
const TAU = 4;

interface Trained {
  readonly codec: Codec;
  readonly row: Uint8Array;
  readonly context: LabelContext;
  readonly mixes: readonly Mix[];
}

type Choice = Omit<Extract<CodecChoice, { step: number }>, 'name'>;

/** A codec of labels whose views are mixed, if `mixed`: label i is of sample i % samples. */
async function trained(
  logits: Float32Array,
  classes: number,
  choice: Choice,
  { samples, mixed = false }: { readonly samples?: number; readonly mixed?: boolean } = {},
): Promise<Trained> {
  const count = logits.length / classes;
  const each = samples ?? count;
  const ids = Uint32Array.from({ length: count }, (_, i) => i % each);
  const partner = ids.map((id, i) => (mixed ? mixOf(i, each).partner : id));
  const lambda = Float32Array.from(ids, (_, i) => (mixed ? mixOf(i, each).lambda : 1));
  const views = mixed ? { augmentation: { partner, lambda } } : {};
  const context = { epoch: 0, samples: ids, ...views };
  const { codec } = await CODECS.train(
    { name: 'transform', ...choice },
    {
      ...{ classes, samples: each, labels: count, tau: TAU, eps: 1e-6, kernels: loadKernels() },
      ...trainingOn(logits, classes, TAU, context),
    },
  );
  const row = await codec.encode(logits, context);
  const mixes = Array.from(ids, (id, i) => {
    const alone = partner[i] === id;
    return [id, partner[i], alone ? 1 : lambda[i]] as const;
  });
  return { codec, row, context, mixes };
}

/** What is mixed into label `i`, which is of sample i % samples. */
function mixOf(i: number, samples: number) {
  return { partner: (7 * (i % samples) + i) % samples, lambda: ((i * 5) % 8) / 8 };
}

function decoded({ codec, row, context }: Trained, tau?: number, labels?: Uint32Array) {
  const all = Uint32Array.from({ length: (context.samples as Uint32Array).length }, (_, i) => i);
  const chosen = labels ?? all;
  const { augmentation } = context;
  const of = <T extends Uint32Array | Float32Array>(list: T) =>
    chosen.map((position) => list[position]) as unknown as T;
  const own: LabelContext = {
    epoch: 0,
    samples: of(context.samples as Uint32Array),
    ...(augmentation && {
      augmentation: {
        partner: of(augmentation.partner),
        lambda: Float32Array.from(chosen, (position) => augmentation.lambda[position]),
      },
    }),
  };
  const out = new Float32Array(chosen.length * codec.classes).fill(Number.NaN);
  codec.decode({ row, labels: chosen, context: own, out, tau });
  return out;
}

function expectReference(made: Trained, tau = TAU): void {
  const expected = referenceLabels(made.codec.parts(), made.row, made.mixes, tau);
  const labels = decoded(made, tau);
  const { classes } = made.codec;
  expect(labels.length).toBe(expected.length * classes);
  for (const [i, own] of expected.entries()) {
    for (const [j, value] of own.entries()) {
      expect(Math.abs(labels[i * classes + j] - value)).toBeLessThan(2e-6);
    }
  }
}

test('rows share tables where there are more rows than tables', () => {
  const histograms = Array.from({ length: 262 }, (_, row) => {
    const own = new Float64Array(256);
    own[1 + (row % 255)] = 1e6 + row;
    return own;
  });
  const { indices, tables, bytes } = learnTables(histograms, 1);
  expect(tables.count).toBe(255);
  expect(new Set(indices).size).toBe(255);
  expect(Math.max(...indices)).toBe(254);
  expect(indices[255]).toBe(indices[0]);
  expect(readTables('tables', bytes).frequencies).toEqual(tables.frequencies);
  const [half, ...all] = histograms.map((own) => own.slice());
  half[1] = 0;
  half[2] = half[3] = 1e6;
  const distinct = [half, ...all.slice(0, 254), ...pairs(4)];
  expect(learnTables(distinct, 1).tables.count).toBe(256);
});

/** Histograms of two equally frequent values. */
function pairs(count: number): Float64Array[] {
  return Array.from({ length: count }, (_, i) => {
    const own = new Float64Array(256);
    own[10 * i + 5] = own[10 * i + 11] = 1e6;
    return own;
  });
}

describe('labels are those of a decoder in float64', () => {
  test.each([1, 4, 8] as const)(
    'with a trellis of %i states, at any temperature',
    async (states) => {
      const logits = syntheticLogits(520, 17);
      const made = await trained(logits, 17, { step: 0.7, components: 9, states });
      using _codec = made.codec;
      for (const tau of [TAU, 1]) expectReference(made, tau);
      expect(decoded(made, undefined, Uint32Array.of(519, 3, 255, 256, 3))).toEqual(
        rowsOf(decoded(made), 17, [519, 3, 255, 256, 3]),
      );
    },
  );

  test('with base vectors of mixed views', async () => {
    const logits = syntheticLogits(400, 12);
    const options = { samples: 40, mixed: true };
    const made = await trained(logits, 12, { step: 0.5, components: 6, bases: true }, options);
    using _codec = made.codec;
    expect(made.codec).toMatchObject({ usesViews: true, config: { bases: 40 } });
    expectReference(made);
    const { context, codec, row } = made;
    const blind = { epoch: 0, samples: context.samples };
    await expect(codec.encode(logits, blind)).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', field: 'context.augmentation' },
    });
    const out = new Float32Array(12);
    const one = { row, labels: Uint32Array.of(0), out };
    const beyond = {
      ...{ epoch: 0, samples: Uint32Array.of(40) },
      augmentation: { partner: Uint32Array.of(0), lambda: Float32Array.of(0.5) },
    };
    expect(() => codec.decode({ ...one, context: beyond })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'context.samples' }),
    );
  });

  test('with base vectors that resemble their classes, in order or not', async () => {
    for (const step of [1, 7]) {
      const made = await trained(likeLogits(step), 12, { step: 0.5, bases: true }, LIKE);
      using _codec = made.codec;
      expect([...made.codec.parts().tensors.keys()]).toContain('base_classes');
      expectReference(made);
    }
  });

  test('with values that no table lists', async () => {
    const logits = syntheticLogits(300, 8);
    const made = await trained(logits, 8, { step: 0.004, components: 7 });
    using _codec = made.codec;
    expectReference(made);
  });

  test('with more rows of tables than a byte tells apart', async () => {
    const made = await trained(syntheticLogits(300, 150), 150, { step: 0.2, components: 140 });
    using _codec = made.codec;
    expect(made.codec).toMatchObject({ config: { components: 140, states: 4 } });
    expectReference(made);
  });

  test('for any shape', async () => {
    const shape = fc.record({
      count: fc.constantFrom(1, 2, 7, 255, 256, 257, 999, 1001),
      classes: fc.constantFrom(1, 2, 3, 9),
      step: fc.constantFrom(0.05, 1, 30),
      states: fc.constantFrom(1 as const, 4 as const, 8 as const),
      samples: fc.constantFrom(undefined, 1, 5),
      bases: fc.constantFrom(undefined, true, false),
      kind: fc.constantFrom('teacher', 'constant', 'masked'),
    });
    const run = async ({ count, classes, kind, samples, ...choice }: Shape) => {
      const logits = logitsOf(kind, count, classes);
      const made = await trained(logits, classes, choice, { samples, mixed: count % 2 === 1 });
      using _codec = made.codec;
      expectReference(made);
    };
    await fc.assert(fc.asyncProperty(shape, run), { numRuns: 25 });
  });

  test('on the kernels in TypeScript', async () => {
    const made = await trained(syntheticLogits(100, 9), 9, { step: 0.7 });
    using _codec = made.codec;
    using codec = CODECS.load(made.codec.parts(), referenceKernels);
    const [own, other] = [decoded(made), decoded({ ...made, codec })];
    for (const [i, value] of other.entries()) expect(Math.abs(value - own[i])).toBeLessThan(1e-6);
  });
});

const LIKE = { samples: 120, mixed: true };

/** Six labels of each of 120 samples, whose classes are `step` apart: what a class looks like, some of the sample, mixed, some noise. */
function likeLogits(step: number): Float32Array {
  const random = new RandomSequence(8, 1);
  const normals = (count: number) => Array.from({ length: count }, () => random.normal());
  const looks = Array.from({ length: 12 }, () => normals(6));
  const samples = Array.from({ length: 120 }, (_, i) => {
    const own = looks[(Math.floor(i / 10) * step) % 12];
    return normals(6).map((noise, k) => own[k] + 0.3 * noise);
  });
  const labels = Array.from({ length: 720 }, (_, i) => {
    const { partner, lambda } = mixOf(i, 120);
    const [own, other] = [samples[i % 120], samples[partner]];
    return normals(6).map((noise, k) => lambda * own[k] + (1 - lambda) * other[k] + 0.1 * noise);
  });
  const product = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, k) => sum + value * b[k], 0);
  return Float32Array.from(
    labels.flatMap((label) => looks.map((look) => 4 * product(look, label))),
  );
}

interface Shape extends Choice {
  readonly count: number;
  readonly classes: number;
  readonly samples?: number;
  readonly kind: string;
}

function logitsOf(kind: string, count: number, classes: number): Float32Array {
  if (kind === 'constant') return new Float32Array(count * classes).fill(3);
  const logits = syntheticLogits(count, classes);
  if (kind === 'masked' && classes > 1) {
    for (let i = 0; i < count; i += 2) logits[i * classes + 1] = -60_000;
  }
  return logits;
}

function rowsOf(labels: Float32Array, classes: number, positions: readonly number[]): Float32Array {
  return Float32Array.from(
    positions.flatMap((position) => [
      ...labels.subarray(position * classes, (position + 1) * classes),
    ]),
  );
}

function softmax64(logits: Float32Array, tau: number): number[] {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (own) => Math.exp((own - most) / tau));
  const sum = powers.reduce((all, own) => all + own, 0);
  return powers.map((own) => own / sum);
}

describe('a size', () => {
  const [epochs, samples, classes] = [3, 600, 40];
  const logits = syntheticLogits(epochs * samples, classes, 20);
  const source = memoryLabelSource(logits, { epochs, samples, classes });

  test.each([12, 30])('as %i bits per label is what codes and tensors take', async (rate) => {
    const out = directory.path(`rate ${rate}`);
    await packLogits({ source, out, codec: { name: 'transform', rate }, tau: TAU });
    await using archive = await openArchive(out);
    let bytes = 0;
    for (const { data } of archive.codecParts.tensors.values()) bytes += data.length;
    for (let epoch = 0; epoch < epochs; epoch++) bytes += (await archive.readRow(epoch)).length;
    const reached = (8 * bytes) / (epochs * samples);
    expect(reached).toBeLessThan(1.02 * rate);
    expect(reached).toBeGreaterThan(0.95 * rate);
  });

  test('as a ratio of the whole archive is reached, and made again byte for byte', async () => {
    const [out, again] = [directory.path('ratio'), directory.path('ratio again')];
    const codec = { name: 'transform', totalRatio: 6 } as const;
    const { ratio } = await packLogits({ source, out, codec, tau: TAU });
    expect(ratio.total).toBeGreaterThan(6);
    expect(ratio.total).toBeLessThan(6.6);
    await packLogits({ source, out: again, codec, tau: TAU });
    for (const file of ['codec.safetensors', 'codes-00000.safetensors']) {
      expect(await readFile(join(again, file))).toEqual(await readFile(join(out, file)));
    }
  });

  test('as a divergence is that of decoded labels at their temperatures', async () => {
    const first = memoryLabelSource(logits.slice(0, samples * classes), {
      ...{ epochs: 1, samples, classes },
    });
    const served = {
      ...first,
      epochs: 3,
      read: (_: number, ...at: [number, number]) => first.read(0, ...at),
    };
    const out = directory.path('kl');
    const tauSchedule = [8, 4, 2];
    const codec = { name: 'transform', kl: 2e-3 } as const;
    const { pilot } = await packLogits({ source: served, out, codec, tauSchedule, keep: 1 });
    await using archive = await openArchive(out);
    let sum = 0;
    for (const [epoch, tau] of tauSchedule.entries()) {
      const labels = await archive.labels(epoch, { start: 0, count: samples });
      for (let i = 0; i < samples; i++) {
        const own = softmax64(logits.subarray(i * classes, (i + 1) * classes), tau);
        sum += own.reduce((kl, p, j) => kl + p * Math.log(p / labels[i * classes + j]), 0);
      }
    }
    const reached = sum / (3 * samples);
    expect(reached).toBeLessThan(1.001 * codec.kl);
    expect(reached).toBeGreaterThan(0.9 * codec.kl);
    expect(Math.abs((pilot?.kl ?? 0) / reached - 1)).toBeLessThan(1e-3);
    expect(pilot?.gaussianBits).toBeGreaterThan(0);
  });

  test('as a divergence below any reachable one is refused with that, which then is reached', async () => {
    const few = memoryLabelSource(logits.slice(0, 50 * classes), {
      epochs: 1,
      samples: 50,
      classes,
    });
    const call = (kl: number) =>
      packLogits({
        source: few,
        out: directory.path(`kl ${kl}`),
        codec: { name: 'transform', kl },
      });
    const error = await call(1e-15).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codec.kl', found: 1e-15 });
    const [, least] = /at least (\S+) nats/.exec(String(error)) ?? [];
    const { pilot } = await call(Number(least));
    expect(pilot?.kl).toBeLessThanOrEqual(Number(least));
  });

  test('far above what labels take gives them nearly as they are', async () => {
    const few = logits.slice(0, 400 * classes);
    // One of them is far from all others.
    few.subarray(77 * classes, 78 * classes).forEach((value, j, row) => {
      row[j] = 300 * value;
    });
    const shape = { epochs: 2, samples: 200, classes };
    for (const size of [{ rate: 1e9 }, { totalBytes: 2 ** 40 }]) {
      const { divergence } = await packLogits({
        source: memoryLabelSource(few, shape),
        labels: 'logits',
        out: directory.path(Object.keys(size).join()),
        codec: { name: 'transform', ...size },
        tau: TAU,
      });
      expect(divergence.kl).toBeGreaterThanOrEqual(0);
      expect(divergence.kl).toBeLessThan(1e-5);
    }
  });

  test('that these labels cannot have is refused with the least that they take', async () => {
    const codec = { name: 'transform', rate: 0.01 } as const;
    const call = packLogits({ source, out: directory.path('none'), codec, tau: TAU });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codec.rate' });
  });
});

describe('damage', () => {
  const make = async () => trained(likeLogits(1), 12, { step: 0.7, bases: true }, LIKE);

  test('of codes gives a typed error or other labels, never anything else', async () => {
    const made = await make();
    using _codec = made.codec;
    const change = fc.record({ at: fc.nat(), value: fc.nat(255), cut: fc.boolean() });
    const run = (changes: readonly { at: number; value: number; cut: boolean }[]) => {
      let row = made.row.slice();
      for (const { at, value, cut } of changes) {
        if (cut) row = row.slice(0, at % (row.length + 1));
        else if (row.length > 0) row[at % row.length] = value;
      }
      expectTyped(() => {
        const labels = decoded({ ...made, row });
        expect(labels.every((value) => value >= 0 && value <= 1)).toBe(true);
      });
    };
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), run), { numRuns: 200 });
  });

  test('of tensors and config, too', async () => {
    const made = await make();
    using _codec = made.codec;
    const parts = made.codec.parts();
    const names = [...parts.tensors.keys()];
    const change = fc.record({
      name: fc.constantFrom(...names),
      at: fc.nat(),
      value: fc.nat(255),
      cut: fc.boolean(),
    });
    const config = fc.record({
      field: fc.constantFrom(...Object.keys(parts.config)),
      value: fc.oneof(
        fc.constantFrom<unknown>(undefined, null, '4', [], -1, 0, 0.5, 3, 129, 2 ** 31, 2 ** 53),
        fc.constantFrom<unknown>(true, false, Number.POSITIVE_INFINITY),
      ),
    });
    const run = (own: { name: string; at: number; value: number; cut: boolean }) => {
      const tensor = parts.tensors.get(own.name) as Tensor;
      const data = tensor.data.slice(0, own.cut ? own.at % tensor.data.length : undefined);
      if (data.length > 0) data[own.at % data.length] = own.value;
      const shape = [tensor.dtype === 'F16' ? Math.floor(data.length / 2) : data.length];
      const tensors = new Map(parts.tensors).set(own.name, { ...tensor, shape, data });
      expectTyped(() => decodeWith({ ...parts, tensors }, made));
    };
    fc.assert(fc.property(change, run), { numRuns: 200 });
    const other = ({ field, value }: { field: string; value: unknown }) =>
      expectTyped(() =>
        decodeWith({ ...parts, config: { ...parts.config, [field]: value } }, made),
      );
    fc.assert(fc.property(config, other), { numRuns: 150 });
  });

  test('of a bit in an archive is named', async () => {
    const out = directory.path('flipped');
    const logits = syntheticLogits(600, 9);
    const source = memoryLabelSource(logits, { epochs: 1, samples: 600, classes: 9 });
    await packLogits({ source, out, codec: { name: 'transform', step: 1 }, tau: TAU });
    const path = join(out, 'codes-00000.safetensors');
    const bytes = await readFile(path);
    bytes[bytes.length - 100] ^= 4;
    await writeFile(path, bytes);
    const report = await verifyArchive(out);
    expect(report).toMatchObject({ damage: [{ file: 'codes-00000.safetensors' }] });
    await using archive = await openArchive(out);
    await expect(archive.labels(0, { start: 0, count: 600 })).rejects.toMatchObject({
      code: 'CORRUPT_DATA',
    });
  });
});

function decodeWith(parts: CodecParts, made: Trained): void {
  using codec = CODECS.load(parts, loadKernels());
  decoded({ ...made, codec });
}

function expectTyped(work: () => void): void {
  try {
    work();
  } catch (error) {
    expect(['INVALID_ARGUMENT', 'INVALID_FILE', 'OUT_OF_MEMORY']).toContain(errorCode(error));
  }
}

test('a sample may look most like a class from 65,536 on', () => {
  const kernels = referenceKernels;
  const classes = 70_000;
  const values = new Int16Array(2 * classes);
  // What 16 bits would make of the last class, and the class itself.
  [values[classes + 4463], values[classes + 69_999]] = [2, 5];
  const ones = (count: number) => new Uint16Array(count).fill(0x3c00);
  const likeness = { classes: Uint32Array.of(30_000, 60_000, 69_999), gains: ones(1) };
  const states = 8 as const;
  const learnt = {
    basis: { values, shifts: new Int8Array(2), states, steps: ones(2) },
    shifts: new Int8Array(1),
    codes: learnRowModel(histogramsOf(2), 1, states),
    bases: {
      values: new Int16Array(3),
      shifts: new Int8Array(1),
      states,
      steps: ones(1),
      likeness,
    },
  };
  const config = {
    ...{ classes, tau: 1, components: 1, step: 1, states, sideStates: states, views: false },
    ...{ bases: 3, labelsPerBlock: 256 },
  };
  const { tensors } = modelOf(learnt, config, kernels);
  expect(readTransformModel({ tensors }, config, kernels).bases).toEqual(Float32Array.of(0, 0, 5));
});
