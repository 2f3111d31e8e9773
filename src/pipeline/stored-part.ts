import type { ArchiveSpec } from '../archive/spec.js';
import { CODECS } from '../codecs/registry.js';
import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { LabelSource } from '../labels/source.js';
import { boundSource } from './bound-source.js';
import { numberOf } from './kept-epochs.js';
import type { PackOptions } from './pack-options.js';
import type { PackSource } from './pack-source.js';
import { prunedSource } from './pruned-source.js';

/** What an archive says of its rows besides their labels. */
export type SourceRows = Pick<PackSource, 'sides' | 'pruning' | 'views' | 'keep'>;

/** Labels of a source that an archive stores, and what it says of the others. */
export type StoredPart = Pick<ArchiveSpec, 'epochs' | 'storedEpochs' | 'pruning'>;

/** The labels of a source that are stored: those of all epochs, of the first ones, or of the first batches. */
export function storedPart(
  all: LabelSource,
  options: PackOptions,
  rows: SourceRows,
): StoredPart & { readonly source: LabelSource } {
  const keep = numberOf(options.keep);
  if (keep === undefined || keep === all.epochs) return pruned(all, options, rows);
  argument.count(keep, 'keep', 1, all.epochs);
  const batches = rows.pruning !== undefined;
  if (batches || options.prune !== undefined) {
    const message = batches
      ? 'rows are batches: all are kept'
      : 'batches of all epochs cannot be pruned';
    throw new SoftpackError('INVALID_ARGUMENT', message, {
      field: 'keep',
      expected: batches ? 'nothing' : 'nothing, or no prune',
      found: keep,
    });
  }
  return { source: { ...boundSource(all), epochs: keep }, epochs: all.epochs, storedEpochs: keep };
}

function pruned(
  source: LabelSource,
  { prune, codec, codecs = CODECS }: PackOptions,
  { sides, pruning: own, views }: SourceRows,
): StoredPart & { readonly source: LabelSource } {
  if (prune === undefined && own === undefined) return { source, epochs: source.epochs };
  if (codecs.of(codec).perSample) {
    throw new SoftpackError(
      'UNSUPPORTED',
      'labels of this codec depend on the sample: no batches to prune',
      { field: own === undefined ? 'prune' : 'codec' },
    );
  }
  if (prune === undefined) return { source, epochs: source.epochs, pruning: own };
  if (views !== undefined) {
    throw new SoftpackError('UNSUPPORTED', 'batches have the views of the epochs from 0 on', {
      field: 'prune',
      expected: 'labels of an archive that is no part of another',
    });
  }
  if (sides !== undefined) {
    throw new SoftpackError('UNSUPPORTED', 'rows of recorded views belong to epochs, not batches', {
      field: 'prune',
      expected: 'labels without recorded views',
      found: sides.columns.map(({ name }) => name).join(', '),
    });
  }
  const { source: kept, pruning } = prunedSource(source, prune);
  return { source: kept, epochs: kept.epochs, pruning };
}
