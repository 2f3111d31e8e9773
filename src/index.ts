export { type ArchiveBytes, type LabelArchive, openArchive } from './archive/archive.js';
export { createArchive } from './archive/create.js';
export type { Manifest } from './archive/manifest.js';
export type { ArchiveSpec } from './archive/spec.js';
export type { ArchiveWriter } from './archive/writer.js';
export { Augmenter, type ImageSizes } from './augment/augmenter.js';
export type { AugmentationBatch } from './augment/record.js';
export {
  RECORDED_COLUMNS,
  type RecordedColumn,
  type RecordedKinds,
  recordedColumns,
} from './augment/recorded.js';
export {
  type Normalisation,
  type PixelSource,
  renderViews,
  renderWhole,
} from './augment/replay.js';
export type { AugmentationSpec, MixSpec, RecordedAugmentationSpec } from './augment/spec.js';
export type { Codec, LabelContext, LabelViews } from './codecs/codec.js';
export { NoneCodec } from './codecs/none.js';
export type { CodecChoice } from './codecs/registry.js';
export { loadCodec } from './codecs/registry.js';
export { VqaeCodec } from './codecs/vqae/codec.js';
export type { VqaeConfig } from './codecs/vqae/config.js';
export { vqaeForRatio } from './codecs/vqae/plan.js';
export { VqaeTrainer, type VqaeTrainingOptions } from './codecs/vqae/trainer.js';
export type { CodecParts, CodeLayout } from './core/codec-parts.js';
export { SoftpackError, type SoftpackErrorCode } from './errors.js';
export type { ImageFit } from './images/decode.js';
export { type ImageFolderOptions, imageFolder, imageList } from './images/folder.js';
export { type MemoryImages, memoryImages } from './images/memory.js';
export { type OpenImagesOptions, openImages } from './images/open.js';
export type { ImageEncoding } from './images/packed/manifest.js';
export { type PackImagesOptions, type PackImagesResult, packImages } from './images/packed/pack.js';
export { type ImageReader, openImageReader } from './images/reader.js';
export type { ImageSource } from './images/source.js';
export { kernelStatus, loadKernels } from './kernels/load.js';
export type { Kernels } from './kernels/types.js';
export { labelDivergence } from './labels/divergence.js';
export { type LabelSource, memoryLabelSource, openLabelSource } from './labels/source.js';
export {
  fitTemperature,
  retemper,
  softmaxRows,
  type TemperatureSchedule,
  temperatureDecay,
} from './labels/temperature.js';
export { DataLoader, type DataLoaderOptions } from './loader/data-loader.js';
export { openImagesOf } from './loader/images-of.js';
export { type PrunedBatch, prunedBatches } from './loader/kept-batches.js';
export { createLoader, type LabelLoader } from './loader/loader.js';
export type { LoaderMetrics } from './loader/metrics.js';
export type { Batch, LoaderOptions, LoaderProgress, PackedLabels } from './loader/options.js';
export type { LoaderState } from './loader/state.js';
export type { TfDataset, TfDatasetOptions } from './loader/tf-dataset.js';
export {
  type CacheLabelsOptions,
  type CacheLabelsResult,
  type CacheProgress,
  cacheLabels,
} from './pipeline/cache-labels.js';
export {
  type LabelViewsOptions,
  type LabelViewsResult,
  labelViews,
} from './pipeline/label-views.js';
export {
  type PackOptions,
  type PackProgress,
  type PackResult,
  packLogits,
} from './pipeline/pack.js';
export { type LabelPlan, type PlanRequest, planLabels } from './planner/plan.js';
