/** Stands for minus infinity, which JSON has not. */
export const NO_PROBABILITY = -9999;

/** A log-probability of vLLM's JSON; undefined for what is none. */
export function vllmLogProb(value: unknown): number | undefined {
  if (typeof value !== 'number') return undefined;
  return value <= NO_PROBABILITY ? Number.NEGATIVE_INFINITY : value;
}
