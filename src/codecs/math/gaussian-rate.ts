/** Directions of one variance. */
type Group = readonly [variance: number, directions: number];

/**
 * Rate-distortion function of a Gaussian vector, bits per vector: the least rate at which independent vectors of this
 * covariance can be told with a mean squared error of `distortion`, summed over directions. Reverse water-filling: every
 * direction gets the error min(level, variance), and log2(variance / level) / 2 bits if its variance is above the level.
 *
 * @param variances eigenvalues of the covariance, the largest ones.
 * @param rest sum of all other eigenvalues, each at most the least of `variances`. They count as few directions of that
 *   variance, which is the cheapest that they can be: the result bounds the rate from below.
 */
export function gaussianRate(
  variances: readonly number[],
  rest: number,
  distortion: number,
): number {
  const groups: Group[] = [...variances]
    .filter((variance) => variance > 0)
    .sort((a, b) => b - a)
    .map((variance) => [variance, 1]);
  const least = groups.at(-1)?.[0];
  if (least !== undefined && rest > 0) groups.push([least, rest / least]);
  const total = groups.reduce((sum, [variance, directions]) => sum + variance * directions, 0);
  if (distortion >= total) return 0;
  const level = waterLevel(groups, distortion);
  return groups.reduce((bits, [variance, directions]) => {
    return variance > level ? bits + (directions * Math.log2(variance / level)) / 2 : bits;
  }, 0);
}

/** The level at which directions take this error together, below their total variance. @param groups largest first. */
function waterLevel(groups: readonly Group[], distortion: number): number {
  let above = groups.reduce((sum, [, directions]) => sum + directions, 0);
  let left = distortion;
  // Directions below the level take their whole variance: leave them out, smallest first.
  for (let i = groups.length - 1; i >= 0; i--) {
    const [variance, directions] = groups[i];
    if (left / above <= variance) break;
    left -= variance * directions;
    above -= directions;
  }
  return left / above;
}
