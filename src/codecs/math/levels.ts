/** Groups of equal count that the first choice of levels is made from; its cost is their square times k. */
const GROUPS = 1024;
const LLOYD_ITERATIONS = 50;

/**
 * `count` ascending levels with the least mean squared error over `values`: the best division of 1024 groups of
 * neighbouring values, by dynamic programming, then Lloyd's algorithm on all values. Sorts `values`.
 */
export function learnLevels(values: Float32Array, count: number): Float32Array {
  values.sort();
  const n = values.length;
  const sums = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) sums[i + 1] = sums[i] + values[i];
  let edges = divide(values, Math.min(GROUPS, n), Math.min(count, n));
  let levels = new Float32Array(0);
  for (let iteration = 0; iteration < LLOYD_ITERATIONS; iteration++) {
    levels = Float32Array.from({ length: edges.length - 1 }, (_, i) => {
      const members = edges[i + 1] - edges[i];
      return (sums[edges[i + 1]] - sums[edges[i]]) / members;
    });
    const next = [0];
    for (let i = 0; i + 1 < levels.length; i++) {
      const edge = upperBound(values, (levels[i] + levels[i + 1]) / 2);
      if (edge > (next.at(-1) as number)) next.push(edge);
    }
    next.push(n);
    const same = next.length === edges.length && next.every((edge, i) => edge === edges[i]);
    edges = next;
    if (same) break;
  }
  // Fewer distinct values than levels: the last level fills up the table.
  return Float32Array.from({ length: count }, (_, i) => levels[Math.min(i, levels.length - 1)]);
}

/** Edges [0, ..., n] of the `count` runs of sorted values whose squared error, over whole groups, is least. */
function divide(values: Float32Array, groups: number, count: number): number[] {
  const n = values.length;
  const edge = Uint32Array.from({ length: groups + 1 }, (_, g) => Math.floor((g * n) / groups));
  const sum = new Float64Array(groups + 1);
  const square = new Float64Array(groups + 1);
  for (let g = 0; g < groups; g++) {
    let [s, q] = [0, 0];
    for (let i = edge[g]; i < edge[g + 1]; i++) {
      s += values[i];
      q += values[i] ** 2;
    }
    sum[g + 1] = sum[g] + s;
    square[g + 1] = square[g] + q;
  }
  const error = (a: number, b: number) => {
    const s = sum[b] - sum[a];
    return Math.max(0, square[b] - square[a] - (s * s) / (edge[b] - edge[a]));
  };
  const runs = Math.min(count, groups);
  let best = Float64Array.from({ length: groups + 1 }, (_, b) => (b === 0 ? 0 : error(0, b)));
  const from = Array.from({ length: runs }, () => new Uint32Array(groups + 1));
  for (let r = 1; r < runs; r++) {
    const next = new Float64Array(groups + 1).fill(Number.POSITIVE_INFINITY);
    for (let b = r + 1; b <= groups; b++) {
      for (let a = r; a < b; a++) {
        const total = best[a] + error(a, b);
        if (total >= next[b]) continue;
        next[b] = total;
        from[r][b] = a;
      }
    }
    best = next;
  }
  const edges = [n];
  for (let r = runs - 1, b = groups; r >= 0; r--) {
    b = from[r][b];
    edges.unshift(edge[b]);
  }
  return edges;
}

/** Number of sorted values that are at most `limit`. */
function upperBound(values: Float32Array, limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
