import { apart, floats, typedArray } from '../../core/arrays.js';
import type { NearestArgs, ProjectArgs } from '../types.js';
import { codebookOf, flag, given, quotient, size, threads } from './sizes.js';

export type CheckedProject = Required<ProjectArgs>;

export interface CheckedNearest extends Required<NearestArgs> {
  readonly count: number;
  readonly levels: number;
}

export function checkProject(args: ProjectArgs): CheckedProject {
  const { transposeA, transposeB, accumulate } = given(args);
  const rows = size('rows', args.rows);
  const inner = size('inner', args.inner);
  const columns = size('columns', args.columns);
  const a = floats('a', args.a, rows * inner);
  const b = floats('b', args.b, inner * columns);
  const out = floats('out', args.out, rows * columns);
  apart('out', out, { a, b });
  return {
    a,
    b,
    out,
    rows,
    inner,
    columns,
    transposeA: flag('transposeA', transposeA),
    transposeB: flag('transposeB', transposeB),
    accumulate: flag('accumulate', accumulate),
    threads: threads(args.threads),
  };
}

export function checkNearest(args: NearestArgs): CheckedNearest {
  const width = size('width', given(args).width, 1);
  const vectors = floats('vectors', args.vectors);
  const count = quotient('vectors', vectors.length, width, 'width');
  const { codebook, levels } = codebookOf(args.codebook, width);
  const out = typedArray('out', args.out, 'Uint16Array', count);
  apart('out', out, { vectors, codebook });
  return { vectors, codebook, out, width, count, levels, threads: threads(args.threads) };
}
