import type { LabelArchive, PartOfEpoch } from '../archive/archive.js';
import { isDrawn } from '../archive/pruning.js';
import { errorInRow, labelsOfRow } from '../archive/read-labels.js';
import type { Codec } from '../codecs/codec.js';
import { NoneCodec } from '../codecs/none.js';
import { loadCodec } from '../codecs/registry.js';
import { float16ToFloat32 } from '../core/half.js';
import { SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import { labelsFingerprint } from '../labels/fingerprint.js';
import type { LabelSource } from '../labels/source.js';
import { logitsFromProbabilities } from '../labels/temperature.js';

/**
 * An archive as a source of logits, row by row: the teacher's own if it keeps them, else tau log y of its decoded labels,
 * which any codec at the same tau turns back into y. The archive stays open when the source is closed.
 */
export function archiveSource(archive: LabelArchive, kernels: Kernels): LabelSource {
  const { pruning } = archive.manifest;
  if (pruning !== undefined && isDrawn(pruning)) {
    throw new SoftpackError('UNSUPPORTED', 'a pruned archive lacks labels', { field: 'archive' });
  }
  const codecs = archive.parts.map(({ codecParts }) => loadCodec(codecParts, kernels));
  const close = async () => {
    for (const codec of codecs) codec.dispose();
  };
  const labelsOf = (row: number, start: number, count: number) => {
    const part = archive.partOf(row);
    return labelsOfRow(part.archive, part.epoch, { start, count });
  };
  const source: LabelSource = {
    labelsOf,
    epochs: archive.epochs,
    samples: archive.samples,
    classes: archive.classes,
    dtype: 'F32',
    async read(epoch, start, count) {
      const out = new Float32Array(count * archive.classes);
      for (const part of archive.partsOf(epoch)) {
        const [from, to] = part.samples;
        const [begin, end] = [Math.max(start, from), Math.min(start + count, to)];
        if (begin >= end) continue;
        const [at, until] = [begin - start, end - start].map((i) => i * archive.classes);
        const range = { start: begin - from, count: end - begin };
        await readPart(part, codecs[part.index], range, out.subarray(at, until));
      }
      return out;
    },
    fingerprint: () => labelsFingerprint(source, source.read),
    close,
    [Symbol.asyncDispose]: close,
  };
  return source;
}

/** Logits of some samples of a part, by their numbers in it. */
async function readPart(
  { archive, epoch }: PartOfEpoch,
  codec: Codec,
  { start, count }: { readonly start: number; readonly count: number },
  out: Float32Array,
): Promise<void> {
  const { row, first } = await archive.readCodes(epoch, { start, count });
  if (partKeepsLogits(archive)) {
    const begin = 2 * (start - first) * archive.classes;
    const halves = row.slice(begin, begin + 2 * out.length);
    float16ToFloat32(new Uint16Array(halves.buffer), out);
    return;
  }
  const labels = { start: start - first, count };
  const context = await labelsOfRow(archive, epoch, { start, count }, codec);
  const args = { row, labels, context, out };
  await codec.decodeAsync(args).catch((error: unknown) => {
    throw errorInRow(archive, epoch, error);
  });
  logitsFromProbabilities(out, codec.tau, out);
}

/** Whether the archive has the teacher's logits, from which labels follow at any temperature. */
export function keepsLogits({ parts }: LabelArchive): boolean {
  return parts.every(partKeepsLogits);
}

function partKeepsLogits({ codecParts }: LabelArchive): boolean {
  return codecParts.name === 'none' && NoneCodec.fromParts(codecParts).config.store === 'logits';
}
