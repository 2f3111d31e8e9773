export { AdamW, type AdamWOptions } from './adamw.js';
export {
  type BackendName,
  type BackendStatus,
  type SelectBackendOptions,
  type SelectedBackend,
  selectBackend,
  tensorflowStatus,
} from './backend.js';
export { type LoadTeacherOptions, loadTeacher } from './load-teacher.js';
export { kdLoss } from './loss.js';
export { ConvNet, type ConvNetConfig } from './models.js';
export { type PackedCodes, PackedLoss, type PackedLossOptions } from './packed-loss.js';
export { type CosineOptions, cosineSchedule, type Schedule } from './schedule.js';
export type { Teacher } from './teacher.js';
export type { TeacherDescription } from './teachers/description.js';
export {
  type Batch,
  type Loss,
  type TrainOptions,
  type TrainProgress,
  trainModel,
  trainStep,
} from './train.js';
export { type LoadedConvNet, loadConvNet, saveConvNet } from './weights.js';
