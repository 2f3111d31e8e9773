import { describe, expect, it } from 'vitest';
import { bytesOf, cpu, guarded, randomFloats, randomStream, reference } from './support.js';

const CASES = [
  { count: 0, classes: 7, latent: 6, width: 3, levels: 4, bits: 2 },
  { count: 1, classes: 1, latent: 1, width: 1, levels: 1, bits: 1 },
  { count: 3, classes: 17, latent: 15, width: 5, levels: 7, bits: 3 },
  { count: 17, classes: 101, latent: 40, width: 8, levels: 33, bits: 6 },
  { count: 203, classes: 300, latent: 60, width: 20, levels: 128, bits: 7 },
  { count: 29, classes: 999, latent: 100, width: 50, levels: 64, bits: 16 },
];

function inputs(size: (typeof CASES)[number]) {
  const random = randomStream(size.count);
  return {
    labels: randomFloats(random, size.count * size.classes),
    projection: randomFloats(random, size.classes * size.latent),
    codebook: randomFloats(random, size.levels * size.width),
    bytes: Math.ceil((size.count * (size.latent / size.width) * size.bits) / 8),
  };
}

describe.each([{ kernels: reference }, { kernels: cpu }])(
  'encode of $kernels.name',
  ({ kernels }) => {
    it.each(CASES)(
      'is project, nearest and pack: $count x $classes to $latent / $width',
      (size) => {
        const { labels, projection, codebook, bytes } = inputs(size);
        const { view: out, intact } = guarded(Uint8Array, bytes);
        using encoder = kernels.createEncoder({ ...size, projection, codebook });
        encoder.encode({ labels, out });
        expect(intact()).toBe(true);

        const projected = new Float32Array(size.count * size.latent);
        kernels.project({
          a: labels,
          b: projection,
          out: projected,
          rows: size.count,
          inner: size.classes,
          columns: size.latent,
        });
        const indices = new Uint16Array(projected.length / size.width);
        kernels.nearest({ vectors: projected, codebook, out: indices, width: size.width });
        const expected = new Uint8Array(bytes);
        kernels.pack({ indices, bits: size.bits, out: expected });
        expect(bytesOf(out)).toEqual(expected);
      },
    );
  },
);

it('gives the same bytes for any number of threads and in both forms', async () => {
  const size = { count: 333, classes: 100, latent: 40, width: 8, levels: 60, bits: 7 };
  const { labels, projection, codebook, bytes } = inputs(size);
  const expected = new Uint8Array(bytes).fill(0xaa);
  using encoder = cpu.createEncoder({ ...size, projection, codebook });
  encoder.encode({ labels, out: expected, threads: 1 });
  for (let repeat = 0; repeat < 20; repeat++) {
    for (const threads of [0, 2, 3]) {
      const now = new Uint8Array(bytes).fill(0xaa);
      const later = new Uint8Array(bytes).fill(0x55);
      encoder.encode({ labels, out: now, threads });
      await encoder.encodeAsync({ labels, out: later, threads });
      expect(now).toEqual(expected);
      expect(later).toEqual(expected);
    }
  }
});
