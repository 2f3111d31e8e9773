import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { Position } from './plan.js';

/**
 * The next batch to deliver, whatever was made ahead. Plain JSON, fewer than 300 bytes, the same on every rank. Number of
 * workers, prefetch, batch size, rank and world size may differ when it is resumed.
 */
export interface LoaderState {
  readonly version: 1;
  /** `archive.id`, which covers the labels themselves. */
  readonly archiveId: string;
  readonly seed: number;
  readonly shuffle: boolean;
  readonly epoch: number;
  /** Samples of that epoch already delivered, to all ranks together. */
  readonly delivered: number;
}

/** The part of a state that must be equal to resume it. */
export type LoaderIdentity = Pick<LoaderState, 'archiveId' | 'seed' | 'shuffle'>;

export function stateOf(identity: LoaderIdentity, { epoch, start }: Position): LoaderState {
  return { version: 1, ...identity, epoch, delivered: start };
}

/** The position of a state; `INVALID_ARGUMENT` with both values if it belongs to another run. */
export function positionOf(
  state: LoaderState,
  identity: LoaderIdentity,
  { from, to, samples }: { readonly from: number; readonly to: number; readonly samples: number },
): Position {
  if (typeof state !== 'object' || state === null) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not the state of a loader', {
      field: 'resume',
      expected: 'what state() returned',
      found: state,
    });
  }
  const here = { version: 1, ...identity } as const;
  for (const field of ['version', 'archiveId', 'seed', 'shuffle'] as const) {
    if (state[field] === here[field]) continue;
    throw new SoftpackError('INVALID_ARGUMENT', 'the state belongs to another run', {
      field: `resume.${field}`,
      expected: here[field],
      found: state[field],
    });
  }
  return {
    epoch: whole(state.epoch, 'resume.epoch', from, to),
    start: whole(state.delivered, 'resume.delivered', 0, samples),
  };
}

export function whole(
  value: number,
  field: string,
  low: number,
  high = Number.MAX_SAFE_INTEGER,
): number {
  return argument.count(value, field, low, high);
}
