import { checkListTokens } from '../check/tokens.js';
import { type ListTokensArgs, TOKEN_BLOCK, TOKEN_SUMS } from '../tokens.js';
import { expOf } from './token-exp.js';

/** The most probable ids of labels and ids drawn from the others: native/cpu/token_lister.cc, in the same order of sums. */
export function listTokens(args: ListTokensArgs): number {
  const { logits, width, vocabulary, k, samples, uniforms, ids, drawn, sums } =
    checkListTokens(args);
  const rows = logits.length / width;
  for (let row = 0; row < rows; row++) {
    const own = logits.subarray(row * width, row * width + vocabulary);
    const top = own.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    // Math.max of NaN is NaN.
    if (!Number.isFinite(top)) return row;
    const weights = Float64Array.from(own, (value) => expOf(value - top));
    sums[row] = total(massesOf(weights));
    const listed = largest(own, k);
    ids.set(listed, row * k);
    for (const id of listed) weights[id] = 0;
    const spare = listed[listed.length - 1] ?? 0;
    const goals = uniforms.subarray(row * samples, (row + 1) * samples);
    drawn.set(draw(weights, goals, spare), row * samples);
  }
  return rows;
}

function largest(values: Float32Array, k: number): Uint32Array {
  const order = Uint32Array.from(values, (_, id) => id);
  return order.sort((a, b) => values[b] - values[a] || a - b).subarray(0, k);
}

/** Sums of blocks: element i in sum i mod 8, then those pairwise. */
function massesOf(weights: Float64Array): Float64Array {
  const blocks = Math.ceil(weights.length / TOKEN_BLOCK);
  return Float64Array.from({ length: blocks }, (_, block) => {
    const sums = new Float64Array(TOKEN_SUMS);
    const own = weights.subarray(block * TOKEN_BLOCK, (block + 1) * TOKEN_BLOCK);
    for (const [i, weight] of own.entries()) sums[i % TOKEN_SUMS] += weight;
    for (let half = TOKEN_SUMS / 2; half >= 1; half /= 2) {
      for (let lane = 0; lane < half; lane++) sums[lane] += sums[lane + half];
    }
    return sums[0];
  });
}

function total(masses: Float64Array): number {
  return masses.reduce((sum, mass) => sum + mass, 0);
}

/** Ids drawn in proportion to `weights`, one for each of the ascending `uniforms`; `spare` if all weights are 0. */
function draw(weights: Float64Array, uniforms: Float64Array, spare: number): Uint32Array {
  const masses = massesOf(weights);
  const all = total(masses);
  if (all === 0) return new Uint32Array(uniforms.length).fill(spare);
  let [block, below] = [0, 0];
  return Uint32Array.from(uniforms, (uniform) => {
    const goal = uniform * all;
    while (block + 1 < masses.length && below + masses[block] <= goal) below += masses[block++];
    let chosen = block;
    // Rounding may lead beyond the last block that has any weight, and the last id.
    while (chosen > 0 && masses[chosen] === 0) chosen--;
    let [last, sum] = [chosen * TOKEN_BLOCK, 0];
    const end = Math.min((chosen + 1) * TOKEN_BLOCK, weights.length);
    for (let id = last; id < end && !(sum > goal - below); id++) {
      if (weights[id] === 0) continue;
      last = id;
      sum += weights[id];
    }
    return last;
  });
}
