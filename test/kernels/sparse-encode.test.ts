import { expect, it } from 'vitest';
import { bytesOf, cpu, randomFloats, randomStream, reference } from './support.js';

// Labels whose mass lies in a few classes are encoded without the full projection; nobody may see it in the codes.
it('encodes peaked labels to the codes of project and nearest', () => {
  const size = { classes: 1000, latent: 60, width: 20, bits: 6 };
  const random = randomStream(31);
  const projection = randomFloats(random, size.classes * size.latent);
  const codebook = randomFloats(random, 64 * size.width);
  // Copies make exact ties, which go to the lower index.
  codebook.copyWithin(32 * size.width, 0, 16 * size.width);
  for (const [kept, tail] of [
    [1, 0],
    [5, 1e-12],
    [20, 1e-9],
    [200, 1e-8],
    [400, 1e-6],
  ] as const) {
    const count = 203;
    const labels = Float32Array.from({ length: count * size.classes }, () => tail * random());
    for (let i = 0; i < count; i++) {
      for (let n = 0; n < kept; n++) {
        labels[i * size.classes + Math.floor(random() * size.classes)] = random() / kept;
      }
    }
    const projected = new Float32Array(count * size.latent);
    cpu.project({
      a: labels,
      b: projection,
      out: projected,
      rows: count,
      inner: size.classes,
      columns: size.latent,
    });
    const indices = new Uint16Array(projected.length / size.width);
    cpu.nearest({ vectors: projected, codebook, out: indices, width: size.width });
    const expected = new Uint8Array(Math.ceil((indices.length * size.bits) / 8));
    reference.pack({ indices, bits: size.bits, out: expected });
    using encoder = cpu.createEncoder({ ...size, projection, codebook });
    const found = new Uint8Array(expected.length).fill(0xaa);
    encoder.encode({ labels, out: found });
    expect(bytesOf(found), `${kept} classes kept`).toEqual(expected);
  }
});

it('encodes labels that are not finite as the full projection does', () => {
  const size = { classes: 100, latent: 40, width: 20, bits: 3 };
  const random = randomStream(32);
  const projection = randomFloats(random, size.classes * size.latent);
  const codebook = randomFloats(random, 8 * size.width);
  const labels = new Float32Array(4 * size.classes);
  for (const [i, value] of [Number.NaN, Infinity, 1, 0].entries()) labels[i * 100 + 7] = value;
  const projected = new Float32Array(4 * size.latent);
  const shape = { rows: 4, inner: size.classes, columns: size.latent };
  cpu.project({ a: labels, b: projection, out: projected, ...shape });
  const indices = new Uint16Array(8);
  cpu.nearest({ vectors: projected, codebook, out: indices, width: size.width });
  const expected = new Uint8Array(3);
  reference.pack({ indices, bits: size.bits, out: expected });
  using encoder = cpu.createEncoder({ ...size, projection, codebook });
  const found = new Uint8Array(3).fill(0xaa);
  encoder.encode({ labels, out: found });
  expect(bytesOf(found)).toEqual(expected);
});
