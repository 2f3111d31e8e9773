import type { LabelArchive } from '../archive/archive.js';
import { batchesPerEpoch, type Pruning } from '../archive/pruning.js';
import { errorInRow, labelsOfRow } from '../archive/read-labels.js';
import { RowSamples } from '../archive/row-samples.js';
import type { Normalisation } from '../augment/replay.js';
import { loadCodec } from '../codecs/registry.js';
import { allocate } from '../core/allocate.js';
import { CounterRng, STREAM } from '../core/philox.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import type { MemoryImages } from '../images/memory.js';
import type { ImageSource } from '../images/source.js';
import { loadKernels } from '../kernels/load.js';
import { RowViews } from './row-views.js';

export interface PrunedBatchesOptions {
  /** An archive that keeps only some batches (`packLogits` with `prune`). */
  readonly archive: LabelArchive;
  /** The images that labels were made from; without them `xs` is empty. */
  readonly images?: ImageSource | MemoryImages;
  readonly normalisation?: Normalisation;
  /** Seed of the draws. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

export interface PrunedBatch {
  /** Epoch of the training, 0 to the archive's pruning.epochs - 1; the views may come from another. */
  readonly epoch: number;
  /** The row of the archive, to which images and labels belong. */
  readonly row: number;
  /** Temperature of the labels in this epoch, and of the student's logits in the loss. */
  readonly tau: number;
  readonly sampleIds: Uint32Array;
  /** [batch, height, width, 3], normalised. */
  readonly xs: Float32Array;
  /** [batch, classes] probabilities. */
  readonly ys: Float32Array;
}

/**
 * Batches of a pruned archive for as many epochs as it was pruned from, each drawn from the kept ones with
 * replacement (LPLD): a function of (archive, seed) alone. Images and labels of a batch belong together.
 */
export async function* prunedBatches(
  options: PrunedBatchesOptions,
): AsyncGenerator<PrunedBatch, void, undefined> {
  const { archive, images, normalisation, seed = 0, signal } = options;
  const pruning = requirePruning(archive);
  const batchSize = archive.samples;
  const batches = new RowSamples(archive, pruning);
  const rng = new CounterRng(seed);
  using views = images && (await RowViews.open(archive, images, normalisation));
  const rows = new Map<number, Promise<Uint8Array>>();
  const labels = { start: 0, count: batchSize };
  using codec = loadCodec(archive.codecParts, loadKernels());
  for (let epoch = 0; epoch < pruning.epochs; epoch++) {
    const tau = archive.temperatureOf(epoch);
    for (let index = 0; index < batchesPerEpoch(pruning, batchSize); index++) {
      throwIfAborted(signal);
      const [word] = rng.words(index, epoch, STREAM.training, 1);
      const drawn = Math.floor((word / 2 ** 32) * archive.epochs);
      // Kept batches are few and drawn repeatedly: their codes stay in memory.
      const row = rows.get(drawn) ?? archive.readRow(drawn);
      rows.set(drawn, row);
      const context = await batches.at(drawn);
      const known = await labelsOfRow(archive, drawn, labels, codec);
      const ys = new Float32Array(allocate(4 * batchSize * archive.classes, 'labels of a batch'));
      const args = { row: await row, labels, context: known, tau, out: ys };
      await codec.decodeAsync(args).catch((error) => {
        throw errorInRow(archive, drawn, error);
      });
      const sampleIds = context.samples.slice();
      const xs =
        (await views?.render(drawn, { ...context, samples: sampleIds })) ?? new Float32Array(0);
      yield { epoch, row: drawn, tau, sampleIds, xs, ys };
    }
  }
}

function requirePruning({ manifest }: LabelArchive): Pruning {
  if (manifest.pruning !== undefined) return manifest.pruning;
  throw new SoftpackError('INVALID_ARGUMENT', 'this archive keeps all of its labels', {
    field: 'archive',
    expected: 'one that was pruned',
  });
}
