import { CODECS } from '#src/codecs/registry.js';
import { isSoftpackError } from '#src/errors.js';
import type { ExperimentRow } from '../report/experiments.js';
import type { Cell } from './cells.js';
import { epochsOf, type Setting } from './labels.js';
import { type Method, methodAt } from './methods.js';
import { pack } from './pack.js';
import { student, subsetAt, subsetStudent } from './student.js';

export interface MeasureOptions {
  /** Images per class for which students are trained; for others only the labels are compared. */
  readonly studentIpcs: readonly number[];
  /** Students per cell, instead of the scale's own number. */
  readonly students?: number;
}

/** Measures one cell, using known results of the workspace; `too small` if no parameters fit the ratio. */
export async function measure(
  cell: Cell,
  setting: Setting,
  options: MeasureOptions,
): Promise<ExperimentRow | 'too small'> {
  const trained = seedsOf(cell, setting, options);
  if (cell.method === 'random subset') return measureSubset(cell, setting, trained);
  const fitting: Method | undefined =
    cell.codec === undefined
      ? methodAt(cell.method, cell.ratio, cell.set, setting)
      : { name: cell.method, codec: cell.codec };
  const method = fitting && cell.keep !== undefined ? { ...fitting, keep: cell.keep } : fitting;
  if (method === undefined) return 'too small';
  const packed = await pack(method, cell.set, setting).catch(tooSmall);
  if (packed === 'too small') return packed;
  const top1 = await eachSeed(trained, (seed) =>
    student(method, cell.set, cell.student, seed, setting),
  );
  const pruned = method.prune && `, first 1/${+method.prune.ratio.toFixed(1)} of batches`;
  const { keep } = method;
  const kept = keep === undefined ? '' : `, ${keep} of ${epochsOf(cell.set, setting.scale)} epochs`;
  return {
    ...rowOf(cell),
    codec: `${CODECS.words(packed.codec)}${pruned ?? ''}${kept}`,
    bytes: packed.bytes.total,
    reached: packed.ratio,
    // Meaningless for labels that were shuffled on purpose.
    ...(method.shuffled ? {} : { divergence: packed.divergence }),
    top1,
  };
}

/** Codecs that are sized by a search find out late that no parameters fit. */
function tooSmall(error: unknown): 'too small' {
  if (isSoftpackError(error) && error.field === 'ratio') return 'too small';
  throw error;
}

function seedsOf(
  { set: { ipc }, students }: Cell,
  { scale }: Setting,
  options: MeasureOptions,
): readonly number[] {
  if (!options.studentIpcs.includes(ipc)) return [];
  const several = options.students ?? scale.students[ipc] ?? 1;
  return Array.from({ length: students === 'one' ? Math.min(1, several) : several }, (_, i) => i);
}

async function measureSubset(
  cell: Cell,
  setting: Setting,
  seeds: readonly number[],
): Promise<ExperimentRow> {
  const { samples, bytes } = subsetAt(cell.ratio, cell.set, setting);
  const top1 = await eachSeed(seeds, (seed) => subsetStudent(cell.ratio, cell.set, seed, setting));
  const { scale, emoji } = setting;
  const full = 2 * emoji.classes.length ** 2 * cell.set.ipc * epochsOf(cell.set, scale);
  const reached = { codes: full / bytes, total: full / bytes };
  return { ...rowOf(cell), codec: `none, ${samples} samples`, bytes, reached, top1 };
}

/** Top-1 of one student per seed; if nothing may be computed, of the known ones. */
async function eachSeed(
  seeds: readonly number[],
  train: (seed: number) => Promise<{ readonly top1: number }>,
): Promise<number[]> {
  const top1: number[] = [];
  for (const seed of seeds) {
    const step = await known(() => train(seed));
    if (step !== undefined) top1.push(step.top1);
  }
  return top1;
}

/** `undefined` if a step is missing that must not be computed. */
export async function known<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isSoftpackError(error) && error.code === 'INCOMPLETE') return undefined;
    throw error;
  }
}

function rowOf({ method: of, set, student: name, ratio, codec, keep }: Cell) {
  const asked = codec === undefined ? { ratio } : {};
  const method = keep === undefined ? of : `${of}, ${keep} epochs`;
  return { method, family: set.family, student: name, ipc: set.ipc, ...asked };
}
