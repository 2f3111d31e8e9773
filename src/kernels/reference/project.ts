import type { CheckedProject } from '../check/matrices.js';

/** One dot product per output element, summed in float64. */
export function project(args: CheckedProject): void {
  const { a, b, out, rows, inner, columns } = args;
  // Strides turn both transpositions into index arithmetic.
  const [aRow, aInner] = args.transposeA ? [1, rows] : [inner, 1];
  const [bInner, bColumn] = args.transposeB ? [1, inner] : [columns, 1];
  const sums = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    const outRow = out.subarray(row * columns, (row + 1) * columns);
    if (args.accumulate) sums.set(outRow);
    else sums.fill(0);
    for (let i = 0; i < inner; i++) {
      const factor = a[row * aRow + i * aInner] as number;
      for (let column = 0; column < columns; column++) {
        (sums[column] as number) += factor * (b[i * bInner + column * bColumn] as number);
      }
    }
    outRow.set(sums);
  }
}
