import { createArchive } from '../archive/create.js';
import type { ShardGrid } from '../archive/grid.js';
import type { Piece } from '../archive/log-records.js';
import type { PartRecord } from '../archive/parts.js';
import type { ArchiveRow } from '../archive/pieces.js';
import type { ArchiveSpec } from '../archive/spec.js';
import type { Codec, LabelContext } from '../codecs/codec.js';
import type { WriterLock } from '../container/lock.js';
import { isJsonObject, type JsonObject } from '../core/json.js';
import { throwIfAborted } from '../errors.js';
import type { DivergenceMeter, LabelDivergence } from '../labels/divergence.js';
import type { LabelPlace, LabelSource } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';
import type { KeptCodec } from './kept-codec.js';
import type { SideRows } from './pack-source.js';
import type { PartialPack } from './partial-pack.js';
import { contextOf } from './training-labels.js';

export interface WriteArchiveOptions {
  readonly out: string;
  readonly lock: WriterLock;
  readonly partial: PartialPack;
  readonly sides?: SideRows;
  /** Further epochs of the archive, in folders. */
  readonly parts?: readonly PartRecord[];
  /** A codec trained by this run, to be kept before its first row is written. */
  readonly fresh?: KeptCodec;
  /** Labels done, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Labels read, encoded and checked at a time, by bytes. */
const CHUNK_BYTES = 16 * 2 ** 20;

/** Encodes every label that an earlier run left, piece by piece, and measures what decoding gives back. */
export async function writeArchive(
  source: LabelSource,
  codec: Codec,
  spec: ArchiveSpec,
  { out, lock, partial, sides, parts, fresh, onProgress, signal }: WriteArchiveOptions,
): Promise<LabelDivergence> {
  await using writer = await createArchive(out, spec, { resume: true, lock });
  const finished = writer.finished?.result;
  if (finished !== undefined) {
    await writer.finish();
    return divergenceOf(finished);
  }
  if (fresh !== undefined) await partial.keepCodec(fresh);
  const { epochs, samples, classes } = source;
  const { meter, ...from } = await partial.meterBefore(writer.next, classes);
  const sideColumns = sides && new SideColumns(sides, samples);
  const chunk = chunkOf(codec, classes, sideColumns?.canCut === false ? samples : undefined);
  for (let { epoch, sample } = from; epoch < epochs; epoch++, sample = 0) {
    for (const piece of piecesOf(epoch, [sample, samples], writer.grid, chunk)) {
      throwIfAborted(signal);
      const codes = await encodePiece(source, codec, piece, meter);
      const next = piece.start + piece.count;
      await partial.keepMeter(next < samples ? { epoch, sample: next } : after(epoch), meter);
      // Labels that are there already were only measured again.
      if (!writer.has(piece)) {
        await writer.write(piece, { codes, ...(await sideColumns?.read(piece)) });
      }
      onProgress?.(epoch * samples + next, epochs * samples);
    }
  }
  const divergence = meter.result();
  await writer.finish(resultOf(divergence), parts);
  return divergence;
}

function after(epoch: number): LabelPlace {
  return { epoch: epoch + 1, sample: 0 };
}

/**
 * The labels of an epoch as they are read, encoded and measured. Pieces end where shards do: whoever makes one shard alone
 * makes the same pieces, in the same passes of the teacher.
 */
export function* piecesOf(
  epoch: number,
  [first, end]: readonly [number, number],
  grid: ShardGrid,
  chunk: number,
): Generator<Piece> {
  for (let start = first; start < end; ) {
    const shardEnd = (Math.floor(start / grid.samples) + 1) * grid.samples;
    const next = Math.min(end, shardEnd, start + chunk);
    yield { epoch, start, count: next - start };
    start = next;
  }
}

/** Labels in a piece: whole bytes or blocks of codes, and at least `least`. */
export function chunkOf({ layout }: Codec, classes: number, least = 1): number {
  const unit = layout.kind === 'blocks' ? layout.labelsPerBlock : 8;
  const fitting = Math.max(1, Math.floor(CHUNK_BYTES / (4 * unit * classes)));
  return Math.max(unit * fitting, least);
}

/** Columns of the source archive, cut as the codes are. */
class SideColumns {
  readonly #sides: SideRows;
  readonly #samples: number;
  #row: { readonly epoch: number; readonly columns: ArchiveRow } | undefined;

  constructor(sides: SideRows, samples: number) {
    this.#sides = sides;
    this.#samples = samples;
  }

  get canCut(): boolean {
    return this.#sides.columns.every(({ rowBytes }) => rowBytes % this.#samples === 0);
  }

  async read({ epoch, start, count }: Piece): Promise<ArchiveRow> {
    if (this.#row?.epoch !== epoch) this.#row = { epoch, columns: await this.#sides.read(epoch) };
    const cut = Object.entries(this.#row.columns).map(([name, row]) => {
      const each = row.length / this.#samples;
      return [name, row.subarray(start * each, (start + count) * each)] as const;
    });
    return Object.fromEntries(cut);
  }
}

/** JSON has no infinity: nmse is infinite if uniform labels are not decoded exactly. */
export function resultOf({ kl, nmse, top1 }: LabelDivergence): JsonObject {
  return { divergence: { kl, nmse: Number.isFinite(nmse) ? nmse : null, top1 } };
}

/** Inverse of {@link resultOf}. */
export function divergenceOf({ divergence }: JsonObject): LabelDivergence {
  const known = isJsonObject(divergence ?? null) ? (divergence as JsonObject) : {};
  const {
    kl = Number.NaN,
    nmse = Number.NaN,
    top1 = Number.NaN,
  } = known as Partial<LabelDivergence>;
  return { kl, nmse: nmse ?? Number.POSITIVE_INFINITY, top1 };
}

/** Codes of a piece; their divergence is added to `meter`. */
export async function encodePiece(
  source: LabelSource,
  codec: Codec,
  { epoch, start, count }: Piece,
  meter: DivergenceMeter,
): Promise<Uint8Array> {
  const logits = await source.read(epoch, start, count);
  const context = await contextOf(source, epoch, start, count);
  const codes = await codec.encode(logits, context);
  await measure(codec, codes, context, logits, meter);
  return codes;
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
