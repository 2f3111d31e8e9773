import { writeBits } from '../../core/bits.js';
import type { CheckedEncode } from '../check/labels.js';
import type { EncoderSpec } from '../types.js';
import { nearest } from './nearest.js';
import { project } from './project.js';

/** Labels per block: bounds the projected rows held at once. */
const BLOCK = 64;

export function encode(spec: EncoderSpec, { labels, out, count }: CheckedEncode): void {
  const { classes, projection, latent, codebook, width, bits } = spec;
  const segments = latent / width;
  const levels = codebook.length / width;
  out.fill(0);
  for (let first = 0; first < count; first += BLOCK) {
    const rows = Math.min(BLOCK, count - first);
    const projected = new Float32Array(rows * latent);
    project({
      a: labels.subarray(first * classes, (first + rows) * classes),
      b: projection,
      out: projected,
      rows,
      inner: classes,
      columns: latent,
      transposeA: false,
      transposeB: false,
      accumulate: false,
      threads: 1,
    });
    const indices = new Uint16Array(rows * segments);
    nearest({ vectors: projected, codebook, out: indices, width, count: indices.length, levels });
    for (const [i, index] of indices.entries()) {
      writeBits(out, (first * segments + i) * bits, bits, index);
    }
  }
}
