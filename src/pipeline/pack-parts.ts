import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ViewEpochs } from '../archive/identity.js';
import type { PartRecord } from '../archive/parts.js';
import type { ArchiveSpec } from '../archive/spec.js';
import type { TauSchedule } from '../archive/tau-schedule.js';
import { sha256 } from '../container/checksum.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { SoftpackError } from '../errors.js';
import type { LabelDivergence } from '../labels/divergence.js';
import type { LabelSource } from '../labels/source.js';
import { onFile } from '../store/file-error.js';
import { boundSource } from './bound-source.js';
import type { SideRows } from './pack-source.js';

/** Labels of one codec and, if that stores probabilities, of one temperature: what one folder holds. */
export interface PartLabels {
  /** What is stored; shares the files of the whole source. */
  readonly source: LabelSource;
  readonly sides?: SideRows;
  readonly tau: number;
  readonly spec: Pick<ArchiveSpec, 'epochs' | 'storedEpochs' | 'views'>;
  /** Its first epoch in the archive. */
  readonly first: number;
}

/** A source that tells the epochs of its views, if it does not know them itself. */
export function withViews(source: LabelSource, views: ViewEpochs | undefined): LabelSource {
  if (views === undefined || source.labelsOf !== undefined) return source;
  return {
    ...boundSource(source),
    labelsOf: (row, start, count) => ({
      epoch: (views.first + row) % views.of,
      samples: { start, count },
    }),
  };
}

interface Whole {
  /** Stored epochs. */
  readonly source: LabelSource;
  readonly sides?: SideRows;
  /** Epochs that are served. */
  readonly epochs: number;
  readonly pruning?: ArchiveSpec['pruning'];
  readonly views?: ViewEpochs;
}

/** A part per temperature, for codecs whose labels have only one. `UNSUPPORTED` where epochs cannot be told apart. */
export function partsByTemperature(
  whole: Whole,
  schedule: TauSchedule,
  codec: string,
): readonly PartLabels[] {
  if (whole.pruning !== undefined || whole.views !== undefined) {
    throw new SoftpackError('UNSUPPORTED', 'labels of this codec have one temperature', {
      field: 'tauSchedule',
      expected:
        whole.views === undefined
          ? 'a codec that stores logits, as any epoch draws any batch'
          : 'a codec that stores logits, as these are epochs of a part',
      found: codec,
    });
  }
  return schedule.map(([first, tau], i) => {
    const end = schedule[i + 1]?.[0] ?? whole.epochs;
    return { ...partOf(whole, first, end - first), tau, first };
  });
}

function partOf(
  { source, sides, epochs: all }: Whole,
  first: number,
  epochs: number,
): Omit<PartLabels, 'tau' | 'first'> {
  const { samples, classes, dtype, epochs: of, readEach } = source;
  const at = (epoch: number) => (first + epoch) % of;
  const stored = Math.min(epochs, of);
  const close = async () => {};
  const isWhole = first === 0 && epochs === all;
  return {
    source: {
      ...{ epochs: stored, samples, classes, dtype, close, [Symbol.asyncDispose]: close },
      read: (epoch, start, count) => source.read(at(epoch), start, count),
      ...(readEach && {
        readEach: (places) =>
          readEach(places.map(({ epoch, sample }) => ({ epoch: at(epoch), sample }))),
      }),
      labelsOf: (epoch, start, count) =>
        source.labelsOf?.(at(epoch), start, count) ?? {
          epoch: at(epoch),
          samples: { start, count },
        },
    },
    ...(sides && { sides: { columns: sides.columns, read: (epoch) => sides.read(at(epoch)) } }),
    spec: {
      epochs,
      ...(stored === epochs ? {} : { storedEpochs: stored }),
      ...(isWhole || first === 0 ? {} : { views: { first: at(0), of } }),
    },
  };
}

/** The record of a finished part for the archive's manifest. */
export async function recordOf(
  archive: string,
  folder: string,
  epochs: PartRecord['epochs'],
): Promise<PartRecord> {
  const path = join(archive, folder, MANIFEST_FILE);
  const bytes = await onFile(path, () => readFile(path));
  return { folder, epochs, bytes: bytes.length, sha256: sha256(bytes) };
}

/** Divergence over several parts, each weighted by its labels. */
export function divergenceOfParts(
  parts: readonly (readonly [labels: number, divergence: LabelDivergence])[],
): LabelDivergence {
  const total = parts.reduce((sum, [labels]) => sum + labels, 0);
  const mean = (name: keyof LabelDivergence) =>
    parts.reduce((sum, [labels, divergence]) => sum + (labels / total) * divergence[name], 0);
  return { kl: mean('kl'), nmse: mean('nmse'), top1: mean('top1') };
}
