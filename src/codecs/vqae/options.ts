import type { FieldChecker } from '../../core/check.js';
import { VQAE_INITIALISATIONS, type VqaeInitialisation } from './initialise.js';

/** Settings that the paper leaves open, with softpack's defaults. */
export interface VqaeTrainingOptions {
  /** Default 1000. */
  readonly steps?: number;
  /** Labels per step, default 512. */
  readonly batch?: number;
  /** First step size, as a share of each parameter's own root mean square; default 0.03, cosine to 0. */
  readonly learningRate?: number;
  /** Decoupled weight decay of P and D; default 0. */
  readonly weightDecay?: number;
  /** Weight of the quantisation terms, in units where labels and latents have equal energy; default 1. */
  readonly alpha?: number;
  /** Weight of the commitment term, default 0.25. */
  readonly beta?: number;
  /** Default `principal`. */
  readonly initialisation?: VqaeInitialisation;
  /** Default 0. The same seed, labels and instruction set give the same codec, bit for bit. */
  readonly seed?: number;
  readonly threads?: number;
}

/** Reports every setting of a training that is out of range. */
export function checkVqaeTraining(
  {
    steps,
    batch,
    learningRate,
    weightDecay,
    alpha,
    beta,
    initialisation,
    seed,
  }: VqaeTrainingOptions,
  check: FieldChecker,
): void {
  const given = <T>(value: T | undefined, rule: (value: T) => void) => {
    if (value !== undefined) rule(value);
  };
  given(steps, (value) => check.count(value, 'training.steps', 0));
  given(batch, (value) => check.count(value, 'training.batch', 1));
  given(seed, (value) => check.count(value, 'training.seed', 0));
  for (const [name, rate] of Object.entries({ learningRate, weightDecay, alpha, beta })) {
    given(rate, (value) => check.number(value, `training.${name}`, 0, Number.MAX_VALUE));
  }
  given(initialisation, (value) =>
    check.oneOf(value, 'training.initialisation', VQAE_INITIALISATIONS),
  );
}
