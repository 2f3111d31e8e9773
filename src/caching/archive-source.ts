import type { LabelArchive } from '../archive/archive.js';
import { loadCodec } from '../codec/load.js';
import type { LabelSource } from '../labels/source.js';
import { logitsFromProbabilities } from '../labels/temperature.js';
import type { Kernels } from '../native/kernels.js';

/**
 * An archive as a source of logits: tau log y of its decoded labels, which any codec at the same tau turns back
 * into y. The archive stays open when the source is closed.
 */
export function archiveSource(archive: LabelArchive, kernels: Kernels): LabelSource {
  const codec = loadCodec(archive.codecParts, kernels);
  let cached: { readonly epoch: number; readonly row: Uint8Array } | undefined;
  return {
    epochs: archive.epochs,
    samples: archive.samples,
    classes: archive.classes,
    dtype: 'F32',
    async read(epoch, start, count) {
      const row = cached?.epoch === epoch ? cached.row : await archive.readRow(epoch);
      cached = { epoch, row };
      const out = new Float32Array(count * archive.classes);
      const labels = { start, count };
      const context = { epoch, samples: labels };
      await codec.decodeAsync({ row, labels, context, out });
      logitsFromProbabilities(out, codec.tau, out);
      return out;
    },
    async close() {
      codec.dispose();
    },
    async [Symbol.asyncDispose]() {
      codec.dispose();
    },
  };
}
