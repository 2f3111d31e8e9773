import type { ExperimentRow } from '../report/experiments.js';
import { codecWords } from '../report/format.js';
import type { Cell } from './cells.js';
import type { Setting } from './labels.js';
import { type Method, methodAt, pack } from './methods.js';
import { student, subsetAt, subsetStudent } from './student.js';

export interface MeasureOptions {
  /** Students are trained on labels of this many images a class; on others only the labels are compared. */
  readonly studentIpcs: readonly number[];
  readonly seeds: readonly number[];
}

/** Measures one cell, taking from the workspace what is known; `undefined` where no parameters fit the ratio. */
export async function measure(
  cell: Cell,
  setting: Setting,
  options: MeasureOptions,
): Promise<ExperimentRow | undefined> {
  const seeds = cell.seeds === 'one' ? options.seeds.slice(0, 1) : options.seeds;
  const trained = options.studentIpcs.includes(cell.set.ipc) ? seeds : [];
  if (cell.method === 'random subset') return measureSubset(cell, setting, trained);
  const method: Method | undefined =
    cell.codec === undefined
      ? methodAt(cell.method, cell.ratio, cell.set, setting)
      : { name: cell.method, codec: cell.codec };
  if (method === undefined) return undefined;
  const packed = await pack(method, cell.set, setting);
  const top1: number[] = [];
  for (const seed of trained) {
    top1.push((await student(method, cell.set, cell.student, seed, setting)).top1);
  }
  const pruned = method.prune && `, first 1/${+method.prune.ratio.toFixed(1)} of batches`;
  return {
    ...rowOf(cell),
    codec: `${codecWords(packed.codec)}${pruned ?? ''}`,
    bytes: packed.bytes.total,
    reached: packed.ratio,
    // Of labels that were put in another order on purpose this would say nothing.
    ...(method.shuffled ? {} : { divergence: packed.divergence }),
    top1,
  };
}

async function measureSubset(
  cell: Cell,
  setting: Setting,
  seeds: readonly number[],
): Promise<ExperimentRow> {
  const { samples, bytes } = subsetAt(cell.ratio, cell.set, setting);
  const top1: number[] = [];
  for (const seed of seeds) {
    top1.push((await subsetStudent(cell.ratio, cell.set, seed, setting)).top1);
  }
  const { scale, emoji } = setting;
  const full = 2 * emoji.classes.length ** 2 * cell.set.ipc * scale.epochs;
  const reached = { codes: full / bytes, total: full / bytes };
  return { ...rowOf(cell), codec: `none, ${samples} samples`, bytes, reached, top1 };
}

function rowOf({ method, set, student: name, ratio }: Cell) {
  return { method, family: set.family, student: name, ipc: set.ipc, ratio };
}
