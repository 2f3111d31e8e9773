// Expected results of every operation, in float64, and errors relative to them. Nothing here is shared with the kernels
// or their reference.

/** Labels checked: float64 takes a millisecond for each. */
export const CHECKED = 64;

/** Labels [count, c] of the given labels' indices. */
export function decoded({ weights, indices, setting: { dh, dc, segments }, eps }, labels) {
  const { codebook, decoder, bias } = weights;
  const classes = bias.length;
  const out = new Float64Array(labels.length * classes);
  for (const [i, label] of labels.entries()) {
    const row = out.subarray(i * classes, (i + 1) * classes);
    row.set(bias);
    for (let h = 0; h < dh; h++) {
      const code = indices[label * segments + Math.floor(h / dc)];
      const value = codebook[code * dc + (h % dc)];
      for (let j = 0; j < classes; j++) row[j] += value * decoder[h * classes + j];
    }
    let sum = 0;
    for (let j = 0; j < classes; j++) {
      row[j] = Math.max(row[j], eps);
      sum += row[j];
    }
    for (let j = 0; j < classes; j++) row[j] /= sum;
  }
  return out;
}

/** Latent vectors [count, dh] of the first `count` labels. */
export function projected({ weights, labels, setting: { dh } }, count) {
  const { projection } = weights;
  const classes = projection.length / dh;
  const out = new Float64Array(count * dh);
  for (let i = 0; i < count; i++) {
    const row = out.subarray(i * dh, (i + 1) * dh);
    for (let j = 0; j < classes; j++) {
      const factor = labels[i * classes + j];
      for (let h = 0; h < dh; h++) row[h] += factor * projection[j * dh + h];
    }
  }
  return out;
}

/** Loss and gradient of KL(y || softmax(logits / tau)) for labels y [count, c]. */
export function divergence(ys, logits, classes, tau) {
  const count = ys.length / classes;
  const losses = new Float64Array(count);
  const gradient = new Float64Array(ys.length);
  for (let i = 0; i < count; i++) {
    const at = i * classes;
    let greatest = -Infinity;
    for (let j = 0; j < classes; j++) greatest = Math.max(greatest, logits[at + j]);
    let sum = 0;
    for (let j = 0; j < classes; j++) sum += Math.exp((logits[at + j] - greatest) / tau);
    for (let j = 0; j < classes; j++) {
      const logQ = (logits[at + j] - greatest) / tau - Math.log(sum);
      const y = ys[at + j];
      if (y > 0) losses[i] += y * (Math.log(y) - logQ);
      gradient[at + j] = (Math.exp(logQ) - y) / tau;
    }
  }
  return { losses, gradient };
}

/** Mean over the checked labels y of KL(y || q), nats. */
export function meanDivergence(ys, qs) {
  let sum = 0;
  // Every term y log(y / q) - y + q is at least 0, so that terms cannot cancel by rounding.
  for (const [i, y] of ys.entries()) sum += y * Math.log(y / qs[i]) - y + qs[i];
  return sum / CHECKED;
}

/** ||found - expected|| / ||expected||, and the largest difference over the largest expected value. */
export function differences(found, expected) {
  let [square, energy, largest, greatest] = [0, 0, 0, 0];
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs(found[i] - value);
    // NaN must not count as no difference.
    if (!(difference <= largest)) largest = difference;
    square += difference * difference;
    energy += value * value;
    greatest = Math.max(greatest, Math.abs(value));
  }
  return { error: Math.sqrt(square / energy), maxError: largest / greatest };
}

/**
 * Errors of chosen codewords: summed squared distance over the least possible, less 1; the largest excess over the mean least
 * distance; and the share of indices that are not the nearest (lowest index first).
 */
export function excessDistance(found, vectors, codebook, dc) {
  const levels = codebook.length / dc;
  let [sum, leastSum, largest, other] = [0, 0, 0, 0];
  for (const [segment, code] of found.entries()) {
    let [best, least, chosen] = [0, Infinity, Infinity];
    for (let level = 0; level < levels; level++) {
      let distance = 0;
      for (let i = 0; i < dc; i++) {
        distance += (vectors[segment * dc + i] - codebook[level * dc + i]) ** 2;
      }
      if (level === code) chosen = distance;
      if (distance < least) [best, least] = [level, distance];
    }
    sum += chosen;
    leastSum += least;
    largest = Math.max(largest, chosen - least);
    if (best !== code) other += 1;
  }
  return {
    error: sum / leastSum - 1,
    maxError: (largest * found.length) / leastSum,
    otherCodes: other / found.length,
  };
}
