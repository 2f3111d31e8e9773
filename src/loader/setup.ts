import type { LabelArchive } from '../archive/archive.js';
import { partExtents } from '../archive/parts.js';
import { findRecordedColumns } from '../augment/recorded.js';
import type { Normalisation } from '../augment/replay.js';
import { parseAnyAugmentationSpec } from '../augment/spec.js';
import { CODECS, loadCodec } from '../codecs/registry.js';
import { argument } from '../core/check.js';
import type { CodecParts, Tensor } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import type { MemoryImages } from '../images/memory.js';
import { describeImages, type ImageSource } from '../images/source.js';
import { loadKernels } from '../kernels/load.js';
import type { ImageSetup, ViewSetup } from './batch-maker.js';
import { requireImagesOf } from './images-of.js';
import type { LoaderOptions } from './options.js';

/** Every thread has its next batch waiting; without threads nothing can be made while the consumer works. */
export function defaultPrefetch(workers: number): number {
  return workers === 0 ? 1 : workers + 2;
}

export function imageSetupOf(
  archive: LabelArchive,
  images: ImageSource | MemoryImages,
  normalisation: Normalisation | undefined,
): ImageSetup {
  requireImagesOf(archive, images);
  if (normalisation === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'required with images', { field: 'normalisation' });
  }
  const views = archive.parts.map(requiredViewsOf);
  const [{ augmentation }] = views;
  const sizes = new Set(views.map(({ augmentation: { size } }) => size.join(' x ')));
  if (sizes.size > 1) {
    const details = { field: 'augmentation.size', expected: 'one', found: [...sizes].join(', ') };
    throw new SoftpackError(
      'UNSUPPORTED',
      'parts of this archive have views of several sizes',
      details,
    );
  }
  return { description: describeImages(images), normalisation, size: augmentation.size, views };
}

/** `INVALID_ARGUMENT` for a name of no way to show reused views. */
export function reuseSeed({ reusedViews, seed = 0 }: LoaderOptions): { reuseSeed?: number } {
  const chosen = argument.oneOf(reusedViews ?? 'same', 'reusedViews', ['same', 'varied']);
  return chosen === 'varied' ? { reuseSeed: seed } : {};
}

function requiredViewsOf(archive: LabelArchive): ViewSetup {
  const views = viewSetupOf(archive);
  if (views === undefined) {
    throw new SoftpackError('UNSUPPORTED', 'this archive does not say how its images were made', {
      field: 'manifest.json: augmentation',
    });
  }
  return views;
}

/** How the archive's views are made; `undefined` if it does not say. */
function viewSetupOf({ manifest, samples }: LabelArchive): ViewSetup | undefined {
  const { augmentation, columns } = manifest;
  if (augmentation === null) return undefined;
  const spec = parseAnyAugmentationSpec(augmentation, 'manifest.json: augmentation');
  return {
    augmentation: spec,
    columns: spec.generator === 'recorded' ? findRecordedColumns(columns, samples) : [],
    samples: manifest.pruning?.samples ?? samples,
  };
}

/** The same for an archive whose labels are predicted from what is mixed into their views. */
export function predictionSetupOf(archive: LabelArchive): ViewSetup | undefined {
  if (!CODECS.find(archive.codecParts.name)?.usesViews) return undefined;
  using codec = loadCodec(archive.codecParts, loadKernels());
  return codec.usesViews ? viewSetupOf(archive) : undefined;
}

/** `INVALID_ARGUMENT` if no batch would ever be delivered: training would succeed without having trained. */
export function requireBatches(
  batchesPerEpoch: number,
  { batchSize, worldSize = 1, dropLast }: LoaderOptions,
  samples: number,
): void {
  if (batchesPerEpoch > 0) return;
  const share = worldSize === 1 ? '' : ` (batchSize ${batchSize} on each of ${worldSize} ranks)`;
  throw new SoftpackError('INVALID_ARGUMENT', 'an epoch would have no batches', {
    field: 'batchSize',
    expected: `at most ${samples} samples per batch${dropLast ? ', or dropLast: false' : ''}`,
    found: `${batchSize * worldSize}${share}`,
  });
}

/** Parts that hold labels of one epoch, at most. */
export function partsPerEpoch(archive: LabelArchive): number {
  const firsts = partExtents(archive.manifest).map(({ epochs }) => epochs[0]);
  return Math.max(...firsts.map((epoch) => archive.partsOf(epoch).length));
}

/** `UNSUPPORTED` if an epoch's labels lie in several parts: a batch of codes is of one codec. */
export function requireCodesOfOnePart({ samples, manifest }: LabelArchive): void {
  if (manifest.pruning !== undefined || samples === manifest.samples) return;
  throw new SoftpackError('UNSUPPORTED', 'samples were appended with codecs of their own', {
    field: 'labels',
    expected: 'probabilities, or one archive of all samples, which packLogits makes of this one',
    found: 'codes',
  });
}

/** The same parts with all arrays in shared memory, which costs nothing to send to a thread. */
export function sharedParts(parts: CodecParts): CodecParts {
  const share = (tensors: ReadonlyMap<string, Tensor>) =>
    new Map(
      [...tensors].map(([name, { data, ...tensor }]) => [
        name,
        { ...tensor, data: sharedBytes(data) },
      ]),
    );
  return { ...parts, tensors: share(parts.tensors), sampleTensors: share(parts.sampleTensors) };
}

function sharedBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer instanceof SharedArrayBuffer) return bytes;
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return shared;
}
