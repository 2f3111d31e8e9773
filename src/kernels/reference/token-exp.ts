/** 1 / n! for n from 13 down to 3, as divisions so that every machine rounds them equally. */
const TERMS = [6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6].map(
  (factorial) => 1 / factorial,
);

/** 2^-n for n from 0 to 151. */
const POWERS = Float64Array.from({ length: 152 }, (_, n) => 2 ** -n);

/**
 * exp(x) for x <= 0 to a unit in the last place, 0 below -104, where float32 ends. `Math.exp` differs between engines; these
 * are the operations of native/cpu/token_exp.h, so that labels are equal everywhere.
 */
export function expOf(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x < -104) return 0;
  const n = Math.trunc(x * Math.LOG2E - 0.5);
  // ln 2 in two parts, the first exact in 32 bits.
  const r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10;
  let sum = TERMS[0];
  for (let i = 1; i < TERMS.length; i++) sum = sum * r + TERMS[i];
  sum = sum * r + 0.5;
  sum = sum * r + 1;
  sum = sum * r + 1;
  return sum * POWERS[-n];
}
