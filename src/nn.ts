export type { PackedCodes } from './codecs/codec.js';
export type { Rendering } from './kernels/augment-args.js';
export type { BackendName } from './nn/backend/name.js';
export type { OperationsState } from './nn/backend/operations.js';
export {
  type BackendStatus,
  type SelectBackendOptions,
  type SelectedBackend,
  selectBackend,
  tensorflowStatus,
} from './nn/backend/select.js';
export { ConvNet, type ConvNetConfig } from './nn/convnet.js';
export {
  type ApplyOptions,
  type BatchNormTap,
  type DifferentiableNetwork,
  inputGradient,
  type Network,
  type NormStatistics,
  type Parameter,
  predict,
} from './nn/network.js';
export type {
  Channels,
  Layout,
  Preprocessing,
  TeacherDescription,
  TeacherOutput,
} from './nn/teachers/description.js';
export { type LoadTeacherOptions, loadTeacher } from './nn/teachers/load.js';
export type { Teacher } from './nn/teachers/teacher.js';
export { type LoadedConvNet, loadConvNet, saveConvNet } from './nn/weights.js';
export type { ExactLogits, ListedTargets, TokenPositions, TokenTail } from './tokens/targets.js';
export { kdLoss } from './training/loss.js';
export { AdamW, type AdamWOptions } from './training/optimiser.js';
export { PackedLoss, type PackedLossOptions } from './training/packed-loss.js';
export { type CosineOptions, cosineSchedule, type Schedule } from './training/schedule.js';
export type { Divergence } from './training/token-distance.js';
export { type TokenLossOptions, tokenLoss } from './training/token-loss.js';
export type { HiddenTargets, TokenTargets } from './training/token-targets.js';
export {
  type Batch,
  type Loss,
  type TrainOptions,
  type TrainProgress,
  trainModel,
  trainStep,
} from './training/train.js';
