import { argument, type FieldChecker } from '../core/check.js';
import type { JsonValue } from '../core/json.js';

/**
 * Temperatures of the epochs that an archive serves, as runs of epochs with one temperature: [first epoch, temperature],
 * in order, the first run at epoch 0.
 */
export type TauSchedule = readonly (readonly [number, number])[];

/**
 * A schedule as it is asked for: `lpqld` (from the archive's temperature, times 0.7 after every tenth of the epochs); a
 * list of temperatures, each for an equal share of the epochs, e.g. one per epoch; or the runs themselves.
 */
export type TauScheduleChoice = 'lpqld' | readonly number[] | TauSchedule;

/** A training for more changes of temperature than this has one each few steps. */
const MAX_RUNS = 65_536;
const LPQLD = { factor: 0.7, steps: 10 } as const;

/** `INVALID_ARGUMENT` naming what is wrong with the choice for this number of epochs. */
export function tauScheduleOf(choice: TauScheduleChoice, epochs: number, tau: number): TauSchedule {
  if (choice === 'lpqld') {
    const steps = Math.min(epochs, LPQLD.steps);
    return spread(
      Array.from({ length: steps }, (_, i) => tau * LPQLD.factor ** i),
      epochs,
    );
  }
  return isRuns(choice)
    ? checkTauSchedule(argument, choice as unknown as JsonValue, epochs)
    : spread(choice, epochs);
}

/** The temperature that a choice names first; `undefined` for `lpqld`, which begins at the archive's. */
export function firstTau(choice: TauScheduleChoice): number | undefined {
  if (choice === 'lpqld') return undefined;
  return isRuns(choice) ? choice[0]?.[1] : choice[0];
}

function isRuns(choice: readonly number[] | TauSchedule): choice is TauSchedule {
  return Array.isArray(choice[0]);
}

function spread(taus: readonly number[], epochs: number): TauSchedule {
  const expected = `1 to ${Math.min(epochs, MAX_RUNS)} temperatures for ${epochs} epochs`;
  const fitting = taus.length >= 1 && taus.length <= Math.min(epochs, MAX_RUNS);
  argument.that(fitting, `${taus.length}`, 'tauSchedule', expected);
  const runs: (readonly [number, number])[] = [];
  for (const [i, tau] of taus.entries()) {
    argument.positive(tau, `tauSchedule[${i}]`);
    // The first epoch e with floor(e * n / epochs) = i.
    if (runs.at(-1)?.[1] !== tau) runs.push([Math.ceil((i * epochs) / taus.length), tau]);
  }
  return runs;
}

export function tauAt(schedule: TauSchedule, epoch: number): number {
  let [low, high] = [0, schedule.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (schedule[middle][0] <= epoch) low = middle;
    else high = middle - 1;
  }
  return schedule[low][1];
}

/** Each temperature of a schedule, and the share of the epochs that have it. */
export function temperaturesOf(
  schedule: TauSchedule,
  epochs: number,
): readonly { readonly tau: number; readonly share: number }[] {
  return schedule.map(([first, tau], i) => {
    const end = schedule[i + 1]?.[0] ?? epochs;
    return { tau, share: (end - first) / epochs };
  });
}

/** Checks a manifest's schedule, or a caller's. */
export function checkTauSchedule(
  check: FieldChecker,
  value: JsonValue | undefined,
  epochs: number,
): TauSchedule {
  const list = check.list(value, 'tauSchedule');
  const fitting = list.length >= 1 && list.length <= MAX_RUNS;
  check.that(fitting, list.length, 'tauSchedule', `1 to ${MAX_RUNS} runs of epochs`);
  let next = 0;
  return list.map((item, i) => {
    const at = `tauSchedule[${i}]`;
    const run = check.list(item, at);
    check.that(run.length === 2, item, at, '[first epoch, temperature]');
    const first = check.count(run[0], at, next, i === 0 ? 0 : epochs - 1);
    next = first + 1;
    return [first, check.positive(run[1], at)] as const;
  });
}
