import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import type { Addon } from '#src/kernels/addon.js';

const addon = createRequire(import.meta.url)('../../build/Release/softpack.node') as Addon;

const f32 = (length: number) => new Float32Array(length);
const codes = new Uint8Array(1);
const pair = new Uint32Array(2);

/** Two classes, two stages of three codewords of two floats, side by side. */
function decoderOf({ codebooks = f32(6), latentStep = 2, bases = null as Float32Array | null }) {
  const sizes = [2, 4, 2, 3, 2, 0, latentStep, 2] as const;
  return new addon.Decoder(codebooks, f32(8), null, ...sizes, 1, 1e-6, 1, 0, bases, 0);
}

/** One view of 2 x 2 pixels of an image of 2 x 2. */
function augment({
  images = [new Uint8Array(12)] as readonly (Uint8Array | Float32Array)[],
  sizes = Uint32Array.of(2, 2),
  views = Int32Array.of(0, 0, 0, 2, 2, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  weights = f32(1),
  out = f32(12),
}) {
  const pixels = images as readonly Uint8Array[];
  return addon.augment(pixels, sizes, views, weights, out, 2, 2, f32(3), f32(3), 1, 0, 0);
}

function decodeRans({
  entries = new Uint32Array(4096),
  rowTables = new Uint16Array(1),
  columns = 3,
  trellis = 1,
  out = new Int16Array(3),
}) {
  return addon.decodeRans(new Uint8Array(9), entries, rowTables, columns, trellis, out);
}

function encodeRans(frequencies: Uint16Array, length: Uint32Array) {
  const [values, rowTables, out] = [new Int16Array(3), new Uint16Array(1), new Uint8Array(200)];
  return addon.encodeRans(values, frequencies, rowTables, 3, 1, 0, out, length);
}

const shifts = new Int8Array(1);

function quantise({
  values = f32(3),
  costs = new Float64Array(512),
  trellis = 4,
  out = new Int16Array(3),
}) {
  return addon.quantise(values, shifts, costs, 1, trellis, out, 1);
}

function decodeTokens({
  ids = new Uint32Array(9),
  k = 3,
  ordered = 2,
  stages = 1,
  codebooks = f32(768),
  scale = f32(3),
  position = 0,
  begins = new Uint32Array(1),
  skip = 0,
  labels = new Int32Array(10),
  probabilities = f32(10),
}) {
  const sizes = [k, 2, ordered, stages, false] as const;
  const bytes = new Uint8Array(20);
  const places = [position, begins, skip, labels, probabilities] as const;
  return addon.decodeTokens(ids, ...sizes, codebooks, scale, bytes, ...places);
}

function encodeTokens({
  names = Uint32Array.from({ length: 9 }, (_, i) => i),
  counts = Uint32Array.of(3),
  ids = Uint32Array.of(4, 7, 1),
  logProbs = f32(3),
  drawn = new Uint32Array(2),
  out = new Uint8Array(60),
  position = 0,
  begins = new Uint32Array(0),
}) {
  const labels = [counts, ids, logProbs, null, drawn] as const;
  return addon.encodeTokens(
    names,
    3,
    2,
    0,
    0,
    false,
    ...labels,
    out,
    position,
    begins,
    new Uint32Array(1),
  );
}

// The second line of defence: calls that the checks in TypeScript would never let through.
it('refuses calls that would touch memory that is not their own', () => {
  const encoder = new addon.Encoder(f32(30), f32(12), 5, 6, 3, 2);
  const predicted = decoderOf({ bases: f32(8) });
  const latentDecoder = new addon.LatentDecoder(f32(6), f32(3), 3, false);
  const calls: readonly (readonly [RegExp, () => unknown])[] = [
    [/^a:/, () => addon.project(f32(5), f32(12), f32(8), 2, 3, 4, false, false, false, 1)],
    [/^b:/, () => addon.project(f32(6), f32(11), f32(8), 2, 3, 4, false, false, false, 1)],
    [/^out:/, () => addon.project(f32(6), f32(12), f32(7), 2, 3, 4, false, false, false, 1)],
    [
      /^a:/,
      () => addon.project(f32(0), f32(0), f32(0), 2 ** 50, 2 ** 50, 0, false, false, false, 1),
    ],
    [/^out:/, () => addon.nearest(f32(6), f32(6), new Uint16Array(1), 3, 1)],
    [/^codebook:/, () => addon.nearest(f32(6), f32(0), new Uint16Array(2), 3, 1)],
    [/^out:/, () => addon.pack(new Uint16Array(9), 8, new Uint8Array(8), 0)],
    [/^packed:/, () => addon.unpack(new Uint8Array(8), 8, new Uint16Array(8), 1)],
    [/^bits:/, () => addon.unpack(new Uint8Array(8), 17, new Uint16Array(1), 0)],
    [/^out:/, () => decodeRans({ out: new Int16Array(2) })],
    [/^entries:/, () => decodeRans({ entries: new Uint32Array(4095) })],
    [/^rowTables:/, () => decodeRans({ trellis: 4 })],
    [/^columns:/, () => decodeRans({ columns: -1 })],
    [/^frequencies:/, () => encodeRans(new Uint16Array(255), new Uint32Array(1))],
    [/^length:/, () => encodeRans(new Uint16Array(256), new Uint32Array(0))],
    [/^costs:/, () => quantise({ costs: new Float64Array(511) })],
    [/^out:/, () => quantise({ out: new Int16Array(2) })],
    [
      /^values:/,
      () =>
        addon.quantise(f32(1), new Int8Array(0), new Float64Array(0), 1, 4, new Int16Array(1), 1),
    ],
    [/^trellis:/, () => quantise({ trellis: 9 })],
    [/^out:/, () => addon.dequantise(new Int16Array(3), shifts, 1, 4, f32(2), 1)],
    [/^indices:/, () => addon.dequantise(new Int16Array(3), new Int8Array(2), 1, 4, f32(3), 1)],
    [/^logits:/, () => addon.centreLogits(f32(3), null, 2, 1, f32(3), 1)],
    [/^mean:/, () => addon.centreLogits(f32(4), f32(1), 2, 1, f32(4), 1)],
    [/^basis:/, () => new addon.LatentDecoder(f32(5), f32(3), 3, false)],
    [/^bias:/, () => new addon.LatentDecoder(f32(6), f32(2), 3, false)],
    [/^latents:/, () => latentDecoder.decode(f32(3), 1, f32(3), 0, 1)],
    [/^out:/, () => latentDecoder.decode(f32(4), 1, f32(5), 0, 1)],
    [/^out:/, () => latentDecoder.decode(f32(4), 1, f32(6), 1, 1)],
    [/^classes:/, () => addon.centreLogits(f32(0), null, 0, 1, f32(0), 1)],
    [/^out:/, () => addon.centreLogits(f32(4), null, 2, 1, f32(3), 1)],
    [/^k:/, () => decodeTokens({ ids: new Uint32Array(2) })],
    [/^k:/, () => decodeTokens({ ordered: 0 })],
    [/^k:/, () => decodeTokens({ ids: new Uint32Array(2 ** 22 + 1) })],
    [/^ordered:/, () => decodeTokens({ ordered: 33 })],
    [/^codebooks:/, () => decodeTokens({ codebooks: f32(767) })],
    [/^scale:/, () => decodeTokens({ scale: f32(2) })],
    [/^skip:/, () => decodeTokens({ skip: 64 })],
    [/^begins:/, () => decodeTokens({ begins: new Uint32Array(2) })],
    [/^begins:/, () => decodeTokens({ skip: 63 })],
    [/^labels:/, () => decodeTokens({ labels: new Int32Array(9) })],
    [/^probabilities:/, () => decodeTokens({ probabilities: f32(9) })],
    [/^ids:/, () => encodeTokens({ ids: new Uint32Array(2) })],
    [/^logProbs:/, () => encodeTokens({ logProbs: f32(4) })],
    [/^drawn:/, () => encodeTokens({ drawn: new Uint32Array(3) })],
    [/^position:/, () => encodeTokens({ position: 480 })],
    [/^begins:/, () => encodeTokens({ begins: new Uint32Array(1) })],
    [/^images:/, () => augment({ images: [new Uint8Array(11)] })],
    [/^images:/, () => augment({ images: [f32(3)] })],
    [/^sizes:/, () => augment({ sizes: new Uint32Array(1) })],
    [/^views:/, () => augment({ views: new Int32Array(15) })],
    [/^weights:/, () => augment({ weights: f32(2) })],
    [/^out:/, () => augment({ out: f32(11) })],
    [/^codebook:/, () => new addon.Encoder(f32(30), f32(15), 5, 6, 3, 2)],
    [/^projection:/, () => new addon.Encoder(f32(29), f32(12), 5, 6, 3, 2)],
    [/^out:/, () => encoder.encode(f32(10), new Uint8Array(0), 1)],
    [/^labels:/, () => encoder.encode(f32(11), new Uint8Array(1), 1)],
    [/^latent:/, () => decoderOf({ latentStep: 3 })],
    [/^codebooks:/, () => decoderOf({ codebooks: f32(5) })],
    [/^bases:/, () => decoderOf({ bases: f32(7) })],
    [/^basePairs:/, () => predicted.decode(codes, null, 0, 1, null, null, f32(2), 0, 1)],
    [
      /^basePairs:/,
      () => predicted.decode(codes, null, 0, 1, new Uint32Array(1), f32(1), f32(2), 0, 1),
    ],
    [
      /^gradient:/,
      () => predicted.decodeKl(codes, null, 0, 1, pair, f32(1), f32(2), null, f32(1), 1, 1, 0, 1),
    ],
  ];
  for (const [named, call] of calls) {
    expect(call).toThrow(TypeError);
    expect(call).toThrow(named);
  }
});

it('answers labels beyond the codes and indices beyond the codebook with a status', () => {
  const decoder = decoderOf({});
  const decode = (list: Uint32Array | null, start: number, count: number) =>
    decoder.decode(codes, list, start, count, null, null, f32(2 * count), 0, 1);
  codes[0] = 0;
  expect(decode(null, 0, 2)).toBe(0);
  expect(addon.statusText(decode(null, 1, 2))).toMatch(/contradict/);
  expect(decode(null, 2 ** 53 - 1, 2)).not.toBe(0);
  expect(decode(Uint32Array.of(2 ** 32 - 1), 0, 1)).not.toBe(0);
  codes[0] = 0xff;
  expect(addon.statusText(decode(null, 0, 1))).toMatch(/codebook/);
  codes[0] = 0;
  decoder.dispose();
  expect(() => decode(null, 0, 1)).toThrow(/disposed/);
});

it('answers a base row that is not there with a status', () => {
  const predicted = decoderOf({ bases: f32(8) });
  const pairs = Uint32Array.of(1, 2);
  const status = predicted.decode(codes, null, 0, 1, pairs, f32(1), f32(2), 0, 1);
  expect(addon.statusText(status)).toMatch(/contradict/);
});

it('answers views of what is not there with a status', () => {
  expect(augment({})).toBe(0);
  const views = (...fields: number[]) => {
    const view = new Int32Array(16);
    view.set(fields);
    return view;
  };
  const wrong = [
    views(1, 0, 0, 2, 2, 0, -1),
    views(-1, 0, 0, 2, 2, 0, -1),
    views(0, 1, 0, 2, 2, 0, -1),
    views(0, 0, -1, 2, 2, 0, -1),
    views(0, 0, 0, 0, 2, 0, -1),
    views(0, 0, 0, 2, 2 ** 31 - 1, 0, -1),
    views(0, 0, 0, 2, 2, 0, 1, 0, 0, 2, 2),
    views(0, 0, 0, 2, 2, 0, 0, 0, 0, 2, 3),
    views(0, 0, 0, 2, 2, 0, 0, 0, 0, 2, 2, 0, 1, 0, 2, 2),
  ];
  for (const view of wrong) expect(augment({ views: view })).toBe(1);
});

it('reads no table that is not there, whatever the tables hold', () => {
  const [invalidArgument, invalidCodes] = [1, 2];
  expect(decodeRans({ rowTables: Uint16Array.of(1) })).toBe(invalidArgument);
  expect(decodeRans({ entries: new Uint32Array(0) })).toBe(invalidArgument);
  expect(decodeRans({ entries: new Uint32Array(4096).fill(2 ** 32 - 1) })).toBe(invalidCodes);
  expect(
    decodeRans({ rowTables: new Uint16Array(0), columns: 2 ** 50, out: new Int16Array(0) }),
  ).toBe(invalidCodes);
  expect(decodeTokens({})).toBe(0);
  expect(decodeTokens({ position: 2 ** 53 - 1 })).toBe(invalidCodes);
  expect(decodeTokens({ position: 159 })).toBe(invalidCodes);
  expect(encodeTokens({})).toBe(0);
  expect(encodeTokens({ out: new Uint8Array(30) })).toBe(invalidArgument);
  expect(encodeTokens({ names: new Uint32Array(9) })).toBe(invalidArgument);
  expect(encodeTokens({ names: new Uint32Array(9).fill(9) })).toBe(invalidArgument);
  expect(encodeTokens({ counts: Uint32Array.of(2 ** 32 - 1) })).toBe(invalidArgument);
  expect(encodeRans(new Uint16Array(256), new Uint32Array(1))).toBe(invalidArgument);
  expect(encodeRans(new Uint16Array(256).fill(65535), new Uint32Array(1))).toBe(invalidArgument);
  expect(quantise({ trellis: 5 })).toBe(invalidArgument);
  expect(addon.dequantise(new Int16Array(1), shifts, 1, 3, f32(1), 1)).toBe(invalidArgument);
  for (const cost of [Number.NaN, Infinity, -Infinity]) {
    expect(quantise({ costs: new Float64Array(512).fill(cost) })).toBe(0);
  }
});
