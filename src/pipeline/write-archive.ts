import type { ArchiveSpec } from '../archive/spec.js';
import { createArchive } from '../archive/writer.js';
import type { Codec } from '../codecs/codec.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { DivergenceMeter, type LabelDivergence } from '../labels/divergence.js';
import type { LabelSource } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';

export interface WriteArchiveOptions {
  readonly out: string;
  /** Labels done, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Labels read, encoded and checked at a time, by bytes; a multiple of 8 labels. */
const CHUNK_BYTES = 16 * 2 ** 20;

/** Encodes every label, row by row, and measures what decoding gives back. */
export async function writeArchive(
  source: LabelSource,
  codec: Codec,
  spec: ArchiveSpec,
  { out, onProgress, signal }: WriteArchiveOptions,
): Promise<LabelDivergence> {
  if (codec.layout.kind !== 'fixed')
    throw new SoftpackError('UNSUPPORTED', 'variable-length codes');
  const writer = await createArchive(out, spec, { resume: true });
  const meter = new DivergenceMeter(source.classes);
  const { bitsPerLabel } = codec.layout;
  const chunk = 8 * Math.max(1, Math.floor(CHUNK_BYTES / (32 * source.classes)));
  const total = source.epochs * source.samples;
  try {
    for (let epoch = 0; epoch < source.epochs; epoch++) {
      const row = new Uint8Array(Math.ceil((source.samples * bitsPerLabel) / 8));
      for (let start = 0; start < source.samples; start += chunk) {
        throwIfAborted(signal);
        const count = Math.min(chunk, source.samples - start);
        const logits = await source.read(epoch, start, count);
        const context = { epoch, samples: { start, count } };
        const codes = await codec.encode(logits, context);
        row.set(codes, (start * bitsPerLabel) / 8);
        await measure(codec, codes, context, logits, meter);
        onProgress?.(epoch * source.samples + start + count, total);
      }
      if (epoch >= writer.nextEpoch) await writer.writeRow(epoch, { codes: row });
    }
    await writer.finish();
  } finally {
    await writer.close();
  }
  return meter.result();
}

/** Decodes what was just encoded, as a reader will, and adds its divergence from softmax(logits / tau). */
async function measure(
  codec: Codec,
  row: Uint8Array,
  context: { readonly epoch: number; readonly samples: { start: number; count: number } },
  logits: Float32Array,
  meter: DivergenceMeter,
): Promise<void> {
  const { count } = context.samples;
  const decoded = new Float32Array(logits.length);
  await codec.decodeAsync({ row, labels: { start: 0, count }, context, out: decoded });
  const labels = new Float32Array(logits.length);
  softmaxRows(logits, count, codec.classes, codec.tau, labels);
  meter.add(labels, decoded);
}
