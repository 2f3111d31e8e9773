import type { Renaming } from '../renaming.js';

/** Which ids of a label have their logits corrected, whatever its hidden state makes of them. */
export interface ExactRule {
  /** Most ids of a label; 0 for none. */
  readonly most: number;
  /** Least probability of such an id. */
  readonly least: number;
}

export const NO_IDS: ExactRule = { most: 0, least: 1 };

/** Others are not worth the bits of their ids: 16 ids above .003 took 2 % fewer bytes than 8 above .01, and 32 above .001 more. */
const LEAST = 0.003;

/** The rule for so many ids at most. States are for what is left: of few ids nothing would be. */
export function exactRule(exact: number, vocabulary: number): ExactRule {
  return { most: Math.min(exact, Math.floor(vocabulary / 4)), least: LEAST };
}

/** Ids of a label whose logits are corrected. */
export interface ExactIds {
  /** The most probable first. */
  readonly ids: Uint32Array;
  /** Their probabilities. */
  readonly probabilities: Float64Array;
  /** What is left for the others, above 0. */
  readonly rest: number;
}

/** Less than float32 tells from nothing. */
const LEAST_REST = 1e-35;

/** Takes the most probable ids that a rule lists out of a distribution, where they are set to 0; one id at least is left. */
export function takeExact(distribution: Float32Array, { most, least }: ExactRule): ExactIds {
  const found: number[] = [];
  for (let id = 0; most > 0 && id < distribution.length; id++) {
    if (distribution[id] >= least) found.push(id);
  }
  found.sort((a, b) => distribution[b] - distribution[a] || a - b);
  const ids = Uint32Array.from(found.slice(0, Math.min(most, distribution.length - 1)));
  const probabilities = Float64Array.from(ids, (id) => distribution[id]);
  for (const id of ids) distribution[id] = 0;
  const left = ids.length === 0 ? 1 : distribution.reduce((sum, p) => sum + p, 0);
  return { ids, probabilities, rest: Math.max(left, LEAST_REST) };
}

/** The same in the order of the ids' names, which are ascending. */
export function byName(exact: ExactIds, renaming: Renaming) {
  const { ids, probabilities, rest } = exact;
  const order = Array.from(ids.keys()).sort(
    (a, b) => renaming.names[ids[a]] - renaming.names[ids[b]],
  );
  const own: ExactIds = {
    ids: Uint32Array.from(order, (i) => ids[i]),
    probabilities: Float64Array.from(order, (i) => probabilities[i]),
    rest,
  };
  return { exact: own, names: own.ids.map((id) => renaming.names[id]) };
}
