import { SoftpackError } from '../errors.js';

/** Learning rate of a step, counted from 0. */
export type Schedule = (step: number) => number;

export interface CosineOptions {
  /** The highest rate, reached at the end of the warm-up. */
  readonly peak: number;
  /** Steps of the whole run, warm-up included. */
  readonly steps: number;
  /** Steps over which the rate rises linearly from peak / warmup; default 0. */
  readonly warmup?: number;
  /** The rate after the last step, as a share of the peak; default 0. */
  readonly floor?: number;
}

/** Linear warm-up, then half a cosine from the peak to the floor (Loshchilov & Hutter 2017, one cycle). */
export function cosineSchedule({ peak, steps, warmup = 0, floor = 0 }: CosineOptions): Schedule {
  if (!(steps > 0 && warmup >= 0 && warmup < steps)) {
    throw new SoftpackError('INVALID_ARGUMENT', 'the warm-up must be shorter than the run', {
      field: 'warmup',
      expected: `in [0, ${steps})`,
      found: warmup,
    });
  }
  return (step) => {
    if (step < warmup) return (peak * (step + 1)) / warmup;
    const progress = Math.min(1, (step - warmup) / (steps - warmup));
    const share = (1 + Math.cos(Math.PI * progress)) / 2;
    return peak * (floor + (1 - floor) * share);
  };
}
