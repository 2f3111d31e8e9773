import type { LabelArchive } from '../archive/archive.js';
import { loadKernels } from '../kernels/load.js';

/** How a codebook is used by a draw of labels. */
export interface CodewordUse {
  /** Codewords in the codebook. */
  readonly codewords: number;
  /** Codewords that occur, and how many indices were counted. */
  readonly used: number;
  readonly indices: number;
  /** Bits stored per index, and the entropy of the indices: what they could be stored in. */
  readonly bits: number;
  readonly entropy: number;
  /** Uses of every codeword, most used first. */
  readonly counts: readonly number[];
}

/** Codecs whose labels are indices of one codebook, log2 k bits each. */
const VECTOR_QUANTISERS: readonly string[] = ['vqae', 'vq'];
const ROWS = 16;
const LABELS_PER_ROW = 1024;

/** Counts codewords of an archive's own epochs; undefined for codecs without a codebook. */
export async function codewordUse({
  parts: [own],
}: LabelArchive): Promise<CodewordUse | undefined> {
  const { manifest, samples } = own;
  const { codec, layout } = manifest;
  const k = Number(codec.config.k);
  if (!VECTOR_QUANTISERS.includes(codec.name) || layout.kind !== 'fixed') return undefined;
  const bits = Math.log2(k);
  const kernels = loadKernels();
  const counts = new Float64Array(k);
  const rows = Math.min(ROWS, own.epochs);
  const count = Math.min(samples, LABELS_PER_ROW);
  let indices = 0;
  for (let i = 0; i < rows; i++) {
    const row = Math.floor(((i + 0.5) * own.epochs) / rows);
    // Images of a folder are in order of classes: rows show different ones.
    const start = Math.floor(((samples - count) * i) / Math.max(1, rows - 1));
    const { row: packed, first } = await own.readCodes(row, { start, count });
    const out = new Uint16Array((count * layout.bitsPerLabel) / bits);
    kernels.unpack({ packed, bits, out, bitOffset: (start - first) * layout.bitsPerLabel });
    for (const index of out) counts[index] += 1;
    indices += out.length;
  }
  const shares = counts.map((n) => n / indices).filter((share) => share > 0);
  const entropy = shares.reduce((sum, share) => sum - share * Math.log2(share), 0);
  const sorted = Array.from(counts).sort((a, b) => b - a);
  return { codewords: k, used: shares.length, indices, bits, entropy, counts: sorted };
}
