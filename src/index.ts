// Archives

export { type AppendOptions, appendArchive } from './archive/append.js';
export type { AppendAxis } from './archive/appending.js';
export type {
  ArchiveBytes,
  LabelArchive,
  OpenArchiveOptions,
  PartOfEpoch,
} from './archive/archive.js';
export type { SampleRun } from './archive/compare-codes.js';
export { type CreateArchiveOptions, createArchive } from './archive/create.js';
export type { DamagedLabels } from './archive/damaged-labels.js';
export type { FileRecord } from './archive/file-record.js';
export type { Rectangle, ShardGrid } from './archive/grid.js';
export type { ArchiveIdentity, Column, ViewEpochs } from './archive/identity.js';
export type { Piece } from './archive/log-records.js';
export type { ArchiveNotes, Manifest } from './archive/manifest.js';
export { type MergeOptions, mergeArchives } from './archive/merge.js';
export type { PartRecord } from './archive/parts.js';
export type { ArchiveRow } from './archive/pieces.js';
export type { Pruning } from './archive/pruning.js';
export type { CodesOfSamples, ReadLabelsOptions } from './archive/read-labels.js';
export type { SampleBlocksRecord } from './archive/sample-record.js';
export type { ShardRecord, Shards } from './archive/shards.js';
export type { ArchiveSpec } from './archive/spec.js';
export type { TauSchedule, TauScheduleChoice } from './archive/tau-schedule.js';
export type { ArchiveDamage, ArchiveReport, VerifyOptions } from './archive/verify-archive.js';
export type { UnfinishedReport } from './archive/verify-unfinished.js';
export type { ArchiveWriter } from './archive/writer.js';
// Augmentation
export { Augmenter, type ImageSizes } from './augment/augmenter.js';
export type { AugmentationBatch, Augmentations, Box, Mix } from './augment/record.js';
export {
  RECORDED_COLUMNS,
  type RecordedColumn,
  type RecordedColumnName,
  type RecordedKinds,
  recordedColumns,
} from './augment/recorded.js';
export {
  type Normalisation,
  type PixelSource,
  type RenderOptions,
  renderViews,
  renderWhole,
} from './augment/replay.js';
export type { AugmentationSpec, MixSpec, RecordedAugmentationSpec } from './augment/spec.js';
export type { TrainingCheckpoints, TrainingState } from './codecs/checkpoints.js';
// Codecs
export type {
  Codec,
  DecodeLabelsArgs,
  DecodeLabelsKlArgs,
  DecodeOptions,
  LabelContext,
  LossCodec,
  PackedCodes,
} from './codecs/codec.js';
export type { ClampedConfig, CommonConfig } from './codecs/config.js';
export type { Pilot, RatioChoice } from './codecs/descriptor.js';
export type { FixedCodec } from './codecs/fixed.js';
export type { LabelwiseCodec } from './codecs/labelwise.js';
export type { MeanChoice } from './codecs/mean.js';
export { type NoneChoice, NoneCodec, type NoneConfig } from './codecs/none.js';
export type { PrincipalName } from './codecs/principal/codec.js';
export { type CodecChoice, loadCodec } from './codecs/registry.js';
export type { TopKConfig, TopKForm } from './codecs/top-k.js';
export { VqaeCodec, type VqaeWeights } from './codecs/vqae/codec.js';
export type { VqaeConfig } from './codecs/vqae/config.js';
export type { VqaeLosses } from './codecs/vqae/gradients.js';
export type { VqaeInitialisation } from './codecs/vqae/initialise.js';
export type { VqaeTrainingOptions } from './codecs/vqae/options.js';
export { vqaeForRatio } from './codecs/vqae/plan.js';
export {
  type VqaeProgress,
  VqaeTrainer,
  type VqaeTraining,
  type VqaeTrainingHooks,
} from './codecs/vqae/trainer.js';
export type { RepairedFile, UnrepairedFile } from './container/repair-file.js';
export { type PemKey, signArchive, verifySignature } from './container/signature.js';
export { openTorchFile } from './container/torch/open.js';
export { stateDictOf } from './container/torch/state-dict.js';
export type { FindStorage, TorchFile } from './container/torch/torch-file.js';
export type {
  NumberType,
  NumpyArray,
  NumpyDtype,
  PickleDict,
  PickleGlobal,
  PickleTuple,
  PickleValue,
  TorchStorage,
  TorchTensor,
} from './container/torch/values.js';
export {
  type NewFloat,
  type NewTensor,
  type NewValue,
  torchFileOf,
} from './container/torch/write.js';
export type { DamagedBytes, DamageKind } from './container/verify-file.js';
export type {
  CodecParts,
  CodeLayout,
  SampleBlockOf,
  SampleBlocks,
  Tensor,
} from './core/codec-parts.js';
export type { TensorDtype } from './core/dtypes.js';
export type { JsonObject, JsonValue } from './core/json.js';
export type { SampleRange } from './core/samples.js';
export { SoftpackError, type SoftpackErrorCode, type SoftpackErrorDetails } from './errors.js';
// Images
export type { DamagedImage } from './images/damaged.js';
export type { ImageFit, PixelFormat } from './images/decode.js';
export type { ImageFilesOptions } from './images/file-images.js';
export { type ImageFolderOptions, imageFolder } from './images/folder.js';
export { imageList } from './images/image-list.js';
export type { ImageReader } from './images/image-reader.js';
export { joinImages } from './images/joined.js';
export { type MemoryImages, memoryImages } from './images/memory.js';
export { type OpenImagesOptions, openImages } from './images/open.js';
export type { ImageEncoding } from './images/packed/manifest.js';
export { type PackImagesOptions, type PackImagesResult, packImages } from './images/packed/pack.js';
export type { PackedIndex, PackedShard } from './images/packed/packed-index.js';
export type { ImagesDamage, ImagesReport } from './images/packed/verify-images.js';
export { type ImageReaderOptions, openImageReader } from './images/reader.js';
export type { FilesDescription, ImageSource, ImagesDescription } from './images/source.js';
export type { TextTable } from './images/text-table.js';
// Label files of other projects
export {
  type ExportLayout,
  type ExportOptions,
  type ExportResult,
  exportLabels,
} from './interop/export.js';
// Labels of language models
export {
  type ExportTokensOptions,
  type ExportTokensResult,
  exportTokens,
  type TokenExport,
} from './interop/export-tokens.js';
export { type ImportOptions, type ImportResult, importLabels } from './interop/import.js';
export type { ImportHiddenOptions } from './interop/import-hidden.js';
export {
  type ImportTokensOptions,
  type ImportTokensResult,
  importTokens,
} from './interop/import-tokens.js';
export { type LabelTextsOptions, labelTexts } from './interop/label-texts.js';
export type { Layout } from './interop/layouts/label-set.js';
export type { Rest } from './interop/layouts/label-values.js';
export {
  type OpenedTokens,
  type OpenTokensOptions,
  openTokenLabels,
  type TokenLayout,
} from './interop/open-tokens.js';
export type { Agreement } from './interop/order-proof.js';
export type { AnswerOptions } from './interop/tokens/llama-answers.js';
export type { HiddenOptions } from './interop/tokens/llama-head.js';
export type { LlamaTeacherOptions, PromptedText } from './interop/tokens/llama-teacher.js';
export { readOutputHead } from './interop/tokens/output-head.js';
// Kernels
export type { AugmentArgs, Rendering } from './kernels/augment-args.js';
export {
  type BackendName as KernelBackendName,
  type KernelStatus,
  kernelStatus,
  type LoadKernelsOptions,
  loadKernels,
} from './kernels/load.js';
export type {
  DecodeArgs,
  DecodeKlArgs,
  DecodeMethod,
  Decoder,
  DecoderSpec,
  EncodeArgs,
  Encoder,
  EncoderSpec,
  Head,
  Kernels,
  LabelArray,
  LabelsArgs,
  NearestArgs,
  PackArgs,
  Precision,
  Prediction,
  ProjectArgs,
  ResidentCodes,
  ThreadOptions,
  UnpackArgs,
} from './kernels/types.js';
// Labels
export { type LabelDivergence, labelDivergence } from './labels/divergence.js';
export type { FloatDtype } from './labels/elements.js';
export type { FerkdOptions, FilterName } from './labels/ferkd.js';
export type { LabelKind } from './labels/inspection.js';
export {
  type LabelPlace,
  type LabelShape,
  type LabelSource,
  type LabelsOf,
  memoryLabelSource,
  openLabelSource,
} from './labels/source.js';
export {
  fitTemperature,
  retemper,
  softmaxRows,
  type TemperatureRange,
  type TemperatureSchedule,
  temperatureDecay,
} from './labels/temperature.js';
export type { LabelViews, SizeOf, ViewPlaces, ViewUse } from './labels/views.js';
// Loading
export { DataLoader, type DataLoaderOptions } from './loader/data-loader.js';
export { openImagesOf } from './loader/images-of.js';
export {
  type PrunedBatch,
  type PrunedBatchesOptions,
  prunedBatches,
} from './loader/kept-batches.js';
export { createLoader, type LabelLoader } from './loader/loader.js';
export type { LoaderMetrics } from './loader/metrics.js';
export type {
  Batch,
  LoaderAddresses,
  LoaderOptions,
  LoaderProgress,
  ThreadPool,
} from './loader/options.js';
export type { LoaderState } from './loader/state.js';
export type { TfDataset, TfDatasetOptions, TfLike } from './loader/tf-dataset.js';
export {
  type LabelsReport,
  type VerifyLabelsOptions,
  verifyLabels,
} from './loader/verify-labels.js';
export { type AppendLabelsOptions, appendLabels } from './pipeline/append.js';
// Packing
export type {
  TotalBytesChoice,
  TotalRatioChoice,
  TotalSizeChoice,
} from './pipeline/archive-size.js';
export { cacheLabels } from './pipeline/cache-labels.js';
export type {
  CacheLabelsOptions,
  CacheLabelsResult,
  CacheProgress,
} from './pipeline/cache-options.js';
export { type CopyOptions, type CopyResult, copyArchive } from './pipeline/copy.js';
export {
  type ArchiveDiff,
  type DifferentField,
  type DiffOptions,
  diffArchives,
  type LabelComparison,
} from './pipeline/diff.js';
export type { WeighedEpochs } from './pipeline/kept-epochs.js';
export type { LabelFilter } from './pipeline/label-filter.js';
export { openArchive } from './pipeline/open-archive.js';
export { type PackResult, packLogits } from './pipeline/pack.js';
export type { PackOptions, PackProgress } from './pipeline/pack-options.js';
export { type PilotOptions, type PilotResult, pilotLabels } from './pipeline/pilot.js';
export type { PruneOptions } from './pipeline/pruned-source.js';
export { type RepairReport, repairArchive } from './pipeline/repair.js';
export { type VerifyArchiveOptions, type VerifyReport, verifyArchive } from './pipeline/verify.js';
export {
  type CodecPlan,
  type ImpossiblePlan,
  type LabelPlan,
  type PlanRequest,
  planLabels,
  type TeacherPlan,
} from './planner/plan.js';
export {
  planTokens,
  type TokenKindPlan,
  type TokenPlan,
  type TokenPlanRequest,
} from './planner/tokens.js';
// Stores
export type { TimeLimits } from './store/attempt.js';
export type { CacheOptions } from './store/block-cache.js';
export type { ByteFile, ByteStore, OpenOptions, ReadOptions, Tail } from './store/byte-store.js';
export type { HttpOptions } from './store/http.js';
export { type OpenStoreOptions, openStore } from './store/open-store.js';
export type { RetryOptions } from './store/retry.js';
export type { S3Options } from './store/s3.js';
// Synthesis
export type {
  SynthesiseOptions,
  SynthesisMethod,
  SynthesisProgress,
  SynthesisResult,
  SynthesisStep,
} from './synthesis/options.js';
export type {
  FeatureStatisticsOptions,
  FeatureStatisticsResult,
} from './synthesis/statistics/options.js';
export { featureStatistics } from './synthesis/statistics/statistics.js';
export { synthesise } from './synthesis/synthesise.js';
export type { StoredTail, TokenCodecConfig, TokenPreset } from './tokens/config.js';
export {
  type HiddenArchive,
  type HiddenLabels,
  openHiddenArchive,
} from './tokens/hidden/hidden-archive.js';
export type { OutputHead } from './tokens/hidden/output-head.js';
export {
  type PackHiddenOptions,
  type PackHiddenResult,
  packHidden,
} from './tokens/hidden/pack-hidden.js';
export type { CountedSource } from './tokens/pack-sequences.js';
export {
  type PackTokensOptions,
  type PackTokensResult,
  packTokens,
  type TokenCodecChoice,
} from './tokens/pack-tokens.js';
export type { LabelRange, TokenText } from './tokens/stored-sequences.js';
export type {
  ExactLogits,
  HiddenStates,
  ListedTargets,
  TokenPositions,
  TokenTail,
} from './tokens/targets.js';
export {
  openTokenArchive,
  type TokenArchive,
  type TokenLabels,
} from './tokens/token-archive.js';
export type { DenseRows, SparseRows, TokenSequence, TokenSource } from './tokens/token-source.js';
export { type TokenWindow, tokenWindows, type WindowOptions } from './tokens/windows.js';
