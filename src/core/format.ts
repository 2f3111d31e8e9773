/** How many times one size is another: `40.2`, `0.21`. */
export function formatRatio(ratio: number): string {
  return ratio >= 1 ? ratio.toFixed(1) : ratio.toPrecision(2);
}

/** Against something `ratio` times the size: `40.0` times `smaller`, or `1.2` times `larger`. */
export function formatTimes(ratio: number): {
  readonly times: string;
  readonly word: 'smaller' | 'larger';
} {
  return ratio >= 1
    ? { times: formatRatio(ratio), word: 'smaller' }
    : { times: formatRatio(1 / ratio), word: 'larger' };
}

/** `123 B`, `4.56 kB`, `7.89 MB`: powers of 1000, three figures. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}
