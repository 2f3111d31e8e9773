import { createArchive } from '../archive/create.js';
import type { ArchiveSpec } from '../archive/spec.js';
import type { Codec, LabelContext } from '../codecs/codec.js';
import type { WriterLock } from '../container/lock.js';
import { isJsonObject, type JsonObject } from '../core/json.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { DivergenceMeter, type LabelDivergence } from '../labels/divergence.js';
import type { LabelSource } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';
import type { SideRows } from './pack-source.js';
import type { KeptCodec, PartialPack } from './partial-pack.js';

export interface WriteArchiveOptions {
  readonly out: string;
  readonly lock: WriterLock;
  readonly partial: PartialPack;
  readonly sides?: SideRows;
  /** A codec trained by this run, to be kept before its first row is written. */
  readonly fresh?: KeptCodec;
  /** Labels done, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Labels read, encoded and checked at a time, by bytes; a multiple of 8 labels. */
const CHUNK_BYTES = 16 * 2 ** 20;

/** Encodes every label that an earlier run left, row by row, and measures what decoding gives back. */
export async function writeArchive(
  source: LabelSource,
  codec: Codec,
  spec: ArchiveSpec,
  { out, lock, partial, sides, fresh, onProgress, signal }: WriteArchiveOptions,
): Promise<LabelDivergence> {
  await using writer = await createArchive(out, spec, { resume: true, lock });
  const finished = writer.finished?.result;
  if (finished !== undefined) {
    await writer.finish();
    return divergenceOf(finished);
  }
  if (fresh !== undefined) await partial.keepCodec(fresh);
  const known = await partial.meterAt(writer.nextEpoch, source.classes);
  const meter = known ?? new DivergenceMeter(source.classes);
  const total = source.epochs * source.samples;
  for (let epoch = known === undefined ? 0 : writer.nextEpoch; epoch < source.epochs; epoch++) {
    const row = await encodeRow(source, codec, epoch, {
      meter,
      signal,
      onProgress: (done) => onProgress?.(epoch * source.samples + done, total),
    });
    await partial.keepMeter(epoch, meter);
    // A row that is there already was only measured again.
    if (epoch < writer.nextEpoch) continue;
    await writer.writeRow(epoch, { codes: row, ...(await sides?.read(epoch)) });
  }
  const divergence = meter.result();
  await writer.finish(resultOf(divergence));
  return divergence;
}

/** JSON has no infinity: nmse is infinite if uniform labels are not decoded exactly. */
function resultOf({ kl, nmse, top1 }: LabelDivergence): JsonObject {
  return { divergence: { kl, nmse: Number.isFinite(nmse) ? nmse : null, top1 } };
}

/** What {@link resultOf} noted in a manifest. */
export function divergenceOf({ divergence }: JsonObject): LabelDivergence {
  const known = isJsonObject(divergence ?? null) ? (divergence as JsonObject) : {};
  const {
    kl = Number.NaN,
    nmse = Number.NaN,
    top1 = Number.NaN,
  } = known as Partial<LabelDivergence>;
  return { kl, nmse: nmse ?? Number.POSITIVE_INFINITY, top1 };
}

async function encodeRow(
  source: LabelSource,
  codec: Codec,
  epoch: number,
  {
    meter,
    signal,
    onProgress,
  }: {
    readonly meter: DivergenceMeter;
    readonly signal?: AbortSignal;
    readonly onProgress: (done: number) => void;
  },
): Promise<Uint8Array> {
  if (codec.layout.kind !== 'fixed') {
    throw new SoftpackError('UNSUPPORTED', 'variable-length codes');
  }
  const { bitsPerLabel } = codec.layout;
  const chunk = 8 * Math.max(1, Math.floor(CHUNK_BYTES / (32 * source.classes)));
  const row = new Uint8Array(Math.ceil((source.samples * bitsPerLabel) / 8));
  for (let start = 0; start < source.samples; start += chunk) {
    throwIfAborted(signal);
    const count = Math.min(chunk, source.samples - start);
    const logits = await source.read(epoch, start, count);
    const context = source.labelsOf?.(epoch, start, count) ?? { epoch, samples: { start, count } };
    const codes = await codec.encode(logits, context);
    row.set(codes, (start * bitsPerLabel) / 8);
    await measure(codec, codes, context, logits, meter);
    onProgress(start + count);
  }
  return row;
}

/** Decodes what was just encoded, as a reader will, and adds its divergence from softmax(logits / tau). */
async function measure(
  codec: Codec,
  row: Uint8Array,
  context: LabelContext,
  logits: Float32Array,
  meter: DivergenceMeter,
): Promise<void> {
  const count = logits.length / codec.classes;
  const decoded = new Float32Array(logits.length);
  await codec.decodeAsync({ row, labels: { start: 0, count }, context, out: decoded });
  const labels = new Float32Array(logits.length);
  softmaxRows(logits, count, codec.classes, codec.tau, labels);
  meter.add(labels, decoded);
}
