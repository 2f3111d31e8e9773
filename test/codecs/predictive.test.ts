import { afterAll, expect, test } from 'vitest';
import type { Codec, LabelContext } from '#src/codecs/codec.js';
import { CODECS, type CodecChoice } from '#src/codecs/registry.js';
import { CELLS, SHARE, VIEW_NUMBERS, viewNumbers } from '#src/codecs/transform/network/views.js';
import type { CodecParts, Tensor } from '#src/core/codec-parts.js';
import { errorCode } from '#src/errors.js';
import { loadKernels } from '#src/kernels/load.js';
import { referenceKernels } from '#src/kernels/reference/kernels.js';
import type { ViewPlaces } from '#src/labels/views.js';
import { trainingOn } from './labels.js';
import { type Mix, referenceLabels, referenceNumbers, type View } from './transform-reference.js';
import { CUT_VIEWS, viewAt, viewedLogits, viewsIn } from './viewed.js';

const [EPOCHS, SAMPLES, CLASSES, TAU] = [6, 40, 9, 4];
const logits = viewedLogits(CUT_VIEWS, { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES });
const NOMINAL = () => [1024, 1024] as const;

function contextOf(epoch: number): LabelContext {
  const samples = { start: 0, count: SAMPLES };
  return { epoch, samples, augmentation: viewsIn(CUT_VIEWS, epoch, SAMPLES) };
}

function epochOf(epoch: number): Float32Array {
  return logits.slice(epoch * SAMPLES * CLASSES, (epoch + 1) * SAMPLES * CLASSES);
}

type Choice = Omit<Extract<CodecChoice, { name: 'predictive'; step: number }>, 'name'>;

async function trained(choice: Choice): Promise<Codec> {
  const scanLogits: ReturnType<typeof trainingOn>['scanLogits'] = async (visit) => {
    for (let epoch = 0; epoch < EPOCHS; epoch++) await visit(epochOf(epoch), contextOf(epoch));
  };
  const { codec } = await CODECS.train(
    { name: 'predictive', ...choice },
    {
      ...{ classes: CLASSES, samples: SAMPLES, labels: EPOCHS * SAMPLES, tau: TAU, eps: 1e-6 },
      ...{ ...trainingOn(logits, CLASSES, TAU), scanLogits, drawLogits: scanLogits },
      kernels: loadKernels(),
    },
  );
  return codec;
}

const predicting = await trained({ step: 0.3, network: true });
afterAll(() => predicting.dispose());

function decoded(codec: Codec, row: Uint8Array, context: LabelContext): Float32Array {
  const out = new Float32Array(SAMPLES * CLASSES);
  codec.decode({ row, labels: { start: 0, count: SAMPLES }, context, out });
  return out;
}

test.each([
  ['alone', { bases: false }],
  ['before base vectors, with a trellis of 8 states', { bases: true, states: 8 }],
] as const)('labels are those of a decoder in float64: a network %s', async (_, form) => {
  using codec = await trained({ step: 0.3, components: 7, network: true, ...form });
  expect(codec).toMatchObject({ name: 'predictive', usesViews: 'shown', knowsSamples: true });
  for (const epoch of [0, EPOCHS - 1]) {
    const context = contextOf(epoch);
    const row = await codec.encode(epochOf(epoch), context);
    const { partner, lambda, placesIn } = context.augmentation ?? {};
    const places = placesIn?.(NOMINAL);
    if (partner === undefined || lambda === undefined || places === undefined) throw new Error();
    const mixes = Array.from(partner, (other, i): Mix => [i, other, lambda[i]]);
    const views = mixes.map((__, i) => viewAt(places, i));
    const expected = referenceLabels(codec.parts(), row, mixes, TAU, views);
    const labels = decoded(codec, row, context);
    expect(expected).toHaveLength(SAMPLES);
    for (const [i, own] of expected.entries()) {
      for (const [j, value] of own.entries()) {
        expect(Math.abs(labels[i * CLASSES + j] - value)).toBeLessThan(2e-6);
      }
    }
  }
});

test('fewer bits than with base vectors, for labels of crops', async () => {
  const bytes: number[] = [];
  for (const form of [{ network: false, bases: true }, { network: true }]) {
    using codec = await trained({ step: 1, components: 8, ...form });
    bytes.push((await codec.encode(epochOf(3), contextOf(3))).length);
  }
  expect(bytes[1]).toBeLessThan(0.65 * bytes[0]);
});

test('numbers of a view are shares of its pixels', () => {
  const side = 256;
  const cases: readonly (readonly [View, number])[] = [
    [view([0, 0, 1, 1], 0, [0.25, 0, 0.75, 0.5]), 0.625],
    [view([0.125, 0.5, 0.75, 0.25], 1, [0.5, 0.25, 0.25, 0.75]), 0.8125],
    [view([0.25, 0.25, 0.5, 0.75], 1, [0, 0, 0, 0]), 0.25],
    [view([0.5, 0.5, 0.5, 0.5], 0, [0, 0, 1, 1]), 0],
  ];
  for (const [own, lambda] of cases) {
    const counts = new Float64Array(2 * CELLS);
    const { crops, flips, box } = own;
    const cut = box[2] * box[3] > 0;
    for (let y = 0.5; y < side; y++) {
      for (let x = 0.5; x < side; x++) {
        const [v, u] = [y / side, x / side];
        const inside = v > box[0] && v < box[0] + box[2] && u > box[1] && u < box[1] + box[3];
        for (const [image, [top, left, height, width]] of crops.entries()) {
          const weight = cut ? Number(inside === (image === 1)) : image === 0 ? lambda : 1 - lambda;
          const row = top + v * height < 0.5 ? 0 : 2;
          const column = left + (flips[image] === 1 ? 1 - u : u) * width < 0.5 ? 0 : 1;
          counts[image * CELLS + row + column] += weight / side ** 2;
        }
      }
    }
    const numbers = viewNumbers(placesOf(own), Float32Array.of(lambda));
    expect(numbers).toHaveLength(VIEW_NUMBERS);
    expect(Array.from(numbers)).toEqual(referenceNumbers(own, lambda).map((value) => value + 0));
    for (const [cell, share] of counts.entries()) {
      expect(Math.abs(numbers[cell] - SHARE * share)).toBeLessThanOrEqual(0.75);
    }
  }
});

function view(crop: readonly number[], flip: number, box: readonly number[]): View {
  return { crops: [crop, [0.25, 0, 0.625, 0.875]], flips: [flip, 1 - flip], box };
}

function placesOf({ crops, flips, box }: View): ViewPlaces {
  return {
    crop: Float32Array.from(crops[0]),
    otherCrop: Float32Array.from(crops[1]),
    flip: Uint8Array.of(flips[0]),
    otherFlip: Uint8Array.of(flips[1]),
    box: Float32Array.from(box),
  };
}

test('predictions are the same whatever computes them', async () => {
  const codec = predicting;
  using other = CODECS.load(codec.parts(), referenceKernels);
  const context = contextOf(2);
  const row = await codec.encode(epochOf(2), context);
  expect(await other.encode(epochOf(2), context)).toEqual(row);
});

test('no network where it takes more than it saves, or nothing tells what views show', async () => {
  using few = await trained({ rate: 24 } as never);
  expect(few.parts().config).not.toHaveProperty('network');
  const { codec } = await CODECS.train(
    { name: 'predictive', step: 0.3, network: true },
    {
      ...{ classes: CLASSES, samples: SAMPLES, labels: EPOCHS * SAMPLES, tau: TAU, eps: 1e-6 },
      ...{ ...trainingOn(logits, CLASSES, TAU, idsOf()), kernels: loadKernels() },
    },
  );
  using blind = codec;
  expect(blind.usesViews).toBe(false);
});

function idsOf(): Partial<LabelContext> {
  return { samples: Uint32Array.from({ length: EPOCHS * SAMPLES }, (_, i) => i % SAMPLES) };
}

test('what cannot be right is refused', async () => {
  const codec = predicting;
  const context = contextOf(1);
  const { partner, lambda } = context.augmentation ?? {};
  if (partner === undefined || lambda === undefined) throw new Error();
  const blind = { ...context, augmentation: { partner, lambda } };
  await expect(codec.encode(epochOf(1), blind)).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'context.augmentation.placesIn' },
  });
  const beyond = { ...context, samples: { start: 1, count: SAMPLES } };
  await expect(codec.encode(epochOf(1), beyond)).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'context.samples' },
  });
  const parts = codec.parts();
  for (const name of ['embeddings', 'inner', 'outer', 'scales']) {
    for (const data of [new Uint8Array(), new Uint8Array(40).fill(255)]) {
      const tensor: Tensor = { dtype: 'U8', shape: [data.length], data };
      const tensors = new Map(parts.tensors).set(name, tensor);
      expect(codeOf({ ...parts, tensors })).toBe('INVALID_FILE');
    }
    const missing = new Map(parts.tensors);
    missing.delete(name);
    expect(codeOf({ ...parts, tensors: missing })).toBe('INVALID_FILE');
  }
  for (const network of [null, 3, {}, { embeddings: 0, innerBits: 1, outerBits: 1 }]) {
    expect(codeOf({ ...parts, config: { ...parts.config, network } } as CodecParts)).toBe(
      'INVALID_FILE',
    );
  }
});

function codeOf(parts: CodecParts): string | undefined {
  try {
    CODECS.load(parts, loadKernels()).dispose();
  } catch (error) {
    return errorCode(error);
  }
  return undefined;
}
