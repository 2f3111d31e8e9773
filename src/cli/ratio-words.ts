import { formatRatio, formatTimes } from '../core/format.js';
import type { PackResult } from '../pipeline/pack.js';
import type { CliIo } from './io.js';

/** Ratios to labels as float16: `40.0 by codes, 38.2 in total`. Some codecs have no codes. */
export function ratioWords({
  codes,
  total,
}: {
  readonly codes: number;
  readonly total: number;
}): string {
  const byCodes = Number.isFinite(codes) ? `${formatRatio(codes)} by codes` : 'no codes';
  return `${byCodes}, ${formatRatio(total)} in total`;
}

/** `40.0 times smaller than float16`, or how many times larger. */
export function timesSmaller(ratio: number): string {
  const { times, word } = formatTimes(ratio);
  return `${times} times ${word} than float16`;
}

/** Says on standard error that a packed archive takes more bytes than its labels would as float16. */
export function warnOfGrowth(
  { stderr }: CliIo,
  { codec, ratio: { total: ratio } }: Pick<PackResult, 'codec' | 'ratio'>,
): void {
  // Labels as they are, and a few headers.
  if (ratio >= 1 || codec.name === 'none') return;
  stderr.write(
    `softpack: warning: the archive is ${formatRatio(1 / ratio)} times larger than its labels as float16: they are too few for its tables and headers\n`,
  );
}
