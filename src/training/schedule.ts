import { argument } from '../core/check.js';

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
  argument.positive(steps, 'steps');
  const shorter = warmup >= 0 && warmup < steps;
  argument.that(shorter, warmup, 'warmup', `shorter than the run: in [0, ${steps})`);
  return (step) => {
    if (step < warmup) return (peak * (step + 1)) / warmup;
    const progress = Math.min(1, (step - warmup) / (steps - warmup));
    const share = (1 + Math.cos(Math.PI * progress)) / 2;
    return peak * (floor + (1 - floor) * share);
  };
}
