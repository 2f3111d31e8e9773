import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import { type PixelSource, renderViews, renderWhole } from '#src/augment/replay.js';
import { type AugmentationSpec, parseAnyAugmentationSpec } from '#src/augment/spec.js';
import { type Rendering, VIEW } from '#src/kernels/augment-args.js';
import { cpu, reference } from '../kernels/support.js';

/** A view by Pillow and by torchvision, see make_views.py. */
interface Known {
  readonly image: readonly [number, number];
  readonly crop: readonly number[];
  readonly size: readonly [number, number];
  readonly flip: number;
}

const folder = new URL('torchvision/', import.meta.url);
const bytesOf = (name: string) => readFileSync(fileURLToPath(new URL(name, folder)));
const known = JSON.parse(bytesOf('views.json').toString()) as readonly Known[];
/** The values of a .npy file of one axis: 128 bytes of header, then little-endian numbers. */
const valuesOf = (name: string) => bytesOf(name).subarray(128);
const pil = new Uint8Array(valuesOf('pil.npy'));
const floatsOf = (name: string) => new Float64Array(new Uint8Array(valuesOf(name)).buffer);

function pixelsOf(index: number, [height, width]: readonly [number, number]): Uint8Array {
  return Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    const noise = Math.imul(i + 977 * index, 2654435761) >>> 24;
    const ramp = Math.floor(((Math.floor(i / 3) % width) * 255) / width);
    return Math.floor(i / 96) % 2 === 0 ? noise : ramp;
  });
}

/** All views in a row, pixels from 0 to `white`. */
function rendered(kernels: typeof cpu, rendering: Rendering, white: number): Float32Array {
  const std = [1 / white, 1 / white, 1 / white] as const;
  const views = known.map(({ image, crop, size, flip }, i) => {
    const out = new Float32Array(size[0] * size[1] * 3);
    const fields = new Int32Array(VIEW.fields);
    fields.set(crop, VIEW.crop);
    fields[VIEW.flip] = flip;
    fields[VIEW.partner] = -1;
    kernels.augment({
      ...{ images: [pixelsOf(i, image)], sizes: Uint32Array.from(image), views: fields, out, size },
      weights: new Float32Array(1),
      normalisation: { mean: [0, 0, 0], std },
      ...rendering,
    });
    return [...out];
  });
  return Float32Array.from(views.flat());
}

const difference = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  return worst;
};

describe.each([
  ['cpu', cpu],
  ['reference', reference],
])('%s', (_, kernels) => {
  test('antialias and u8 give the bytes of Pillow', () => {
    const found = rendered(kernels, { resample: 'antialias', round: 'u8' }, 255);
    expect(new Set(pil).size).toBeGreaterThan(200);
    expect([...found]).toEqual([...pil]);
  });

  test('without rounding they are those of torchvision in float64, to 1e-6', () => {
    for (const resample of ['antialias', 'bilinear'] as const) {
      const expected = floatsOf(`${resample}.npy`);
      const found = rendered(kernels, { resample, round: 'none' }, 1);
      // Weights of the default are multiples of 2^-11.
      const bound = resample === 'antialias' ? 1e-6 : 2 * 2 ** -12 + 1e-6;
      expect(difference(found, expected)).toBeLessThan(bound);
    }
    expect(difference(floatsOf('antialias.npy'), floatsOf('bilinear.npy'))).toBeGreaterThan(0.2);
  });

  test('u8 without antialiasing rounds twice', () => {
    const found = rendered(kernels, { resample: 'bilinear', round: 'u8' }, 255);
    const exact = floatsOf('bilinear.npy').map((value) => value * 255);
    expect(found.every(Number.isInteger)).toBe(true);
    const worst = difference(found, exact);
    expect(worst).toBeGreaterThan(0.5);
    expect(worst).toBeLessThan(1 + 1e-3);
  });
});

const spec: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 4,
  size: [9, 8],
  crop: { scale: [0.3, 1], ratio: [0.75, 4 / 3] },
  flip: 0.5,
  mix: { kind: 'none' },
};
const raw = { mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255] } as const;

test('views are rendered as their spec says, and whole images as asked for', () => {
  const images: PixelSource = {
    count: 1,
    sizeOf: () => [40, 30],
    pixels: () => pixelsOf(1, [40, 30]),
  };
  const render = (rendering: Rendering) => {
    const out = new Float32Array(9 * 8 * 3);
    renderViews(
      new Augmenter({ ...spec, ...rendering }, images),
      images,
      0,
      Uint32Array.of(0),
      raw,
      out,
    );
    return out;
  };
  const [plain, smooth] = [render({}), render({ resample: 'antialias', round: 'u8' })];
  expect(smooth.every(Number.isInteger)).toBe(true);
  expect(plain.every(Number.isInteger)).toBe(false);
  expect(render({ resample: 'bilinear', round: 'none' })).toEqual(plain);
  const whole = new Float32Array(9 * 8 * 3);
  renderWhole(images, Uint32Array.of(0), [9, 8], raw, whole, {
    resample: 'antialias',
    round: 'u8',
  });
  expect(whole.every(Number.isInteger)).toBe(true);
});

test('a spec keeps what differs from the default, and refuses other words', () => {
  expect(parseAnyAugmentationSpec({ ...spec, resample: 'bilinear', round: 'none' })).toEqual(spec);
  const recorded = { generator: 'recorded', size: [4, 4], resample: 'antialias' } as const;
  expect(parseAnyAugmentationSpec(recorded)).toEqual(recorded);
  for (const wrong of [{ resample: 'bicubic' }, { round: 8 }]) {
    const [field] = Object.keys(wrong);
    expect(() => parseAnyAugmentationSpec({ ...spec, ...wrong })).toThrow(
      expect.objectContaining({ code: 'INVALID_FILE', field: `augmentation.${field}` }),
    );
  }
});
