import { BLOCK_BYTES } from '../container/checksum.js';
import { allocate } from '../core/allocate.js';
import { argument } from '../core/check.js';
import type { SampleBlockOf } from '../core/codec-parts.js';
import { type SampleRange, sampleIds } from '../core/samples.js';
import { errorAt, isSoftpackError } from '../errors.js';
import type { LabelsOf } from '../labels/source.js';
import type { ViewUse } from '../labels/views.js';
import type { Manifest } from './manifest.js';
import { type MixedRows, mixesOfRow } from './row-mixes.js';
import { RowSamples, type RowsArchive } from './row-samples.js';

/** Codes as a codec decodes them: a row that begins at a sample other than the first. */
export interface CodesOfSamples {
  readonly row: Uint8Array<SharedArrayBuffer>;
  /** The sample that position 0 of the row belongs to. */
  readonly first: number;
}

/** The part of an archive that labels are read from. */
export interface CodesArchive extends RowsArchive {
  readonly manifest: Manifest;
  readonly classes: number;
  readonly samples: number;
  storedEpoch(epoch: number): number;
  fileOf(epoch: number, sample?: number): string;
  /** Side data of samples, where the codec keeps them in blocks. */
  sampleBlocks?(...samples: readonly Uint32Array[]): Promise<SampleBlockOf | undefined>;
  readCodes(
    epoch: number,
    samples: { readonly start: number; readonly count: number },
  ): Promise<CodesOfSamples>;
}

/** `INVALID_FILE` naming the file for an error about the codes of an epoch's row; other errors unchanged. */
export function errorInRow(
  archive: Pick<CodesArchive, 'fileOf'>,
  epoch: number,
  error: unknown,
): unknown {
  const inCodes = isSoftpackError(error) && /(^|: )codes$/.test(error.field ?? '');
  return inCodes ? errorAt(archive.fileOf(epoch), error, 'INVALID_FILE') : error;
}

/** What decodes the codes of an archive: a codec, which this layer does not know. */
export interface CodesDecoder {
  /** Whether labels depend on what is mixed into their views. */
  readonly usesViews?: ViewUse;
  decodeAsync(args: {
    readonly row: Uint8Array;
    readonly labels: Uint32Array;
    readonly context: LabelsOf;
    readonly tau?: number;
    readonly out: Float32Array;
  }): Promise<void>;
  dispose(): void;
}

interface LabelsAt {
  readonly epoch: number;
  readonly samples: SampleRange | readonly number[];
  readonly tau: number;
}

export interface ReadLabelsOptions {
  /** Temperature of the labels; default that of their epoch. */
  readonly tau?: number;
}

/**
 * Decodes labels of some samples of one epoch, in the order given: [samples, classes] probabilities. Neighbouring
 * samples are read together; a sample alone costs the block of its file, 1 MiB, that it lies in.
 */
export async function readLabels(
  archive: CodesArchive,
  decoder: CodesDecoder,
  wanted: LabelsAt,
): Promise<Float32Array> {
  const { classes } = archive;
  const { epoch, samples, tau } = wanted;
  const ids = sampleIds(samples);
  for (const id of ids) argument.count(id, 'samples', 0, archive.samples - 1);
  const out = new Float32Array(allocate(4 * ids.length * classes, `${ids.length} labels`));
  for (const run of runsOf(archive, ids)) {
    const chosen = Uint32Array.from(run, (at) => ids[at]);
    const [start, last] = [chosen[0], chosen[chosen.length - 1]];
    const { row, first } = await archive.readCodes(epoch, { start, count: last - start + 1 });
    const labels = chosen.map((id) => id - first);
    const context = await labelsOfRow(archive, epoch, chosen, decoder);
    const decoded = new Float32Array(allocate(4 * run.length * classes, `${run.length} labels`));
    const args = { row, labels, context, tau, out: decoded };
    await decoder.decodeAsync(args).catch((error: unknown) => {
      throw errorInRow(archive, epoch, error);
    });
    for (const [i, at] of run.entries()) {
      out.set(decoded.subarray(i * classes, (i + 1) * classes), at * classes);
    }
  }
  return out;
}

/** Positions in `ids` by ascending id, cut where more than a block of the file lies between two. */
function runsOf(archive: CodesArchive, ids: Uint32Array): readonly (readonly number[])[] {
  const { layout, samples } = archive.manifest;
  const bits = layout.kind === 'fixed' ? Math.max(1, layout.bitsPerLabel) : 64;
  const gap = Math.min(samples, Math.ceil((8 * BLOCK_BYTES) / bits));
  const order = Array.from(ids.keys()).sort((a, b) => ids[a] - ids[b]);
  const runs: number[][] = [];
  for (const at of order) {
    const run = runs.at(-1);
    const last = run === undefined ? 0 : ids[run[run.length - 1]];
    if (run !== undefined && ids[at] - last <= gap) run.push(at);
    else runs.push([at]);
  }
  return runs;
}

/**
 * Labels at some positions of a row, which is an epoch or, in a pruned archive, a batch.
 *
 * @param decoder what they are decoded by: what is mixed into their views is told if it uses that, and the side data of
 *   samples if there are any.
 */
export async function labelsOfRow(
  archive: RowsArchive & MixedRows & Pick<CodesArchive, 'storedEpoch' | 'sampleBlocks'>,
  row: number,
  positions: LabelsOf['samples'],
  decoder?: Pick<CodesDecoder, 'usesViews'>,
): Promise<LabelsOf> {
  const { pruning } = archive.manifest;
  const whole = pruning && (await new RowSamples(archive, pruning).at(row));
  const labels: LabelsOf =
    whole === undefined
      ? { epoch: archive.storedEpoch(row), samples: positions }
      : { ...whole, samples: sampleIds(positions).map((position) => whole.samples[position]) };
  if (decoder === undefined) return labels;
  const augmentation = decoder.usesViews
    ? await mixesOfRow(archive, row, labels, positions, {
        whole: whole?.samples,
        views: decoder.usesViews,
      })
    : undefined;
  const partners = augmentation === undefined ? [] : [augmentation.partner];
  const sampleBlocks = await archive.sampleBlocks?.(sampleIds(labels.samples), ...partners);
  return {
    ...labels,
    ...(augmentation && { augmentation }),
    ...(sampleBlocks && { sampleBlocks }),
  };
}
