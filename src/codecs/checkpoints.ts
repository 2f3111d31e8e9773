import type { Tensor } from '../core/codec-parts.js';

/** Tensors from which a training can be resumed. */
export type TrainingState = ReadonlyMap<string, Tensor>;

/** Storage for the state of a training in steps. */
export interface TrainingCheckpoints {
  /** State that an interrupted training of the same request kept. */
  readonly last?: TrainingState;
  /** Replaces what was kept before. */
  keep(state: TrainingState): Promise<void>;
}
