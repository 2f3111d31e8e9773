import type { FieldChecker } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { TOKEN_LIMITS } from '../kernels/tokens.js';

/** What a stored label says of ids that it does not list; see `TokenTail` of the loss. */
export const TAILS = ['sampled', 'ghost', 'uniform', 'prior', 'zero'] as const;
export type StoredTail = (typeof TAILS)[number];

/**
 * `UNSUPPORTED` for tails that a predictor tells from the text: they would teach what the predictor gets wrong. Measured on
 * linear students (docs/tokens.md).
 */
export function refusePredictor(tail: unknown, field: string): void {
  if (tail !== 'predictor') return;
  throw new SoftpackError(
    'UNSUPPORTED',
    'a tail that is predicted from the text teaches the errors of the predictor: a student that could learn the ' +
      'teacher ended three to five times as far from it as with ids sampled from the tail, in about as many bytes',
    { field, expected: TAILS.map((own) => `'${own}'`).join(', '), found: "'predictor'" },
  );
}

/** How labels of tokens are stored. */
export interface TokenCodecConfig {
  readonly vocabulary: number;
  /** Most probable ids that are listed; 0 for samples alone. */
  readonly k: number;
  /** `float16`: a log-probability per id. `vq`: all of a label in `stages` bytes, by residual vector quantisation. */
  readonly values: 'float16' | 'vq';
  /** Ids whose order is kept with `vq`, each with a value of its own; those behind them share what they have together. */
  readonly ordered: number;
  readonly stages: number;
  /** Ids drawn from the tail per label. */
  readonly samples: number;
  readonly tail: StoredTail;
  /** `counted`: as the ids that occur and how often each does. Absent: one by one, as older archives have them. */
  readonly draws?: 'counted';
  /** Of the draws. */
  readonly seed: number;
  /** `coded`: ids of texts by a code that labels tell them by. Absent: as they are, as older archives have them. */
  readonly text?: 'coded';
}

/** Largest vocabulary; today's largest have 262,144 ids. */
export const MAX_VOCABULARY = TOKEN_LIMITS.vocabulary;

export function checkTokenConfig(config: TokenCodecConfig, check: FieldChecker): TokenCodecConfig {
  const { vocabulary, k, values, ordered, stages, samples, draws, tail, seed, text } = config;
  check.count(vocabulary, 'vocabulary', 1, MAX_VOCABULARY);
  check.count(k, 'k', 0, Math.min(vocabulary, TOKEN_LIMITS.k));
  check.oneOf(values, 'values', ['float16', 'vq']);
  const vq = values === 'vq';
  check.count(ordered, 'ordered', vq ? 1 : 0, vq ? Math.min(k, TOKEN_LIMITS.ordered) : 0);
  check.count(stages, 'stages', vq ? 1 : 0, vq ? TOKEN_LIMITS.stages : 0);
  check.count(samples, 'samples', 0, TOKEN_LIMITS.samples);
  check.oneOf(tail, 'tail', TAILS);
  const agrees = (tail === 'sampled') === samples > 0 && k + samples > 0;
  check.that(agrees, tail, 'tail', "'sampled' with samples, another one with ids but no samples");
  check.count(seed, 'seed', 0);
  if (draws !== undefined) check.oneOf(draws, 'draws', ['counted']);
  if (text !== undefined) check.oneOf(text, 'text', ['coded']);
  const chosen = {
    ...(draws === undefined ? {} : { draws }),
    ...(text === undefined ? {} : { text }),
  };
  return { vocabulary, k, values, ordered, stages, samples, tail, seed, ...chosen };
}

/** Kinds of labels by name. */
export const TOKEN_PRESETS = {
  /** 33 B at a vocabulary of 49,152: the exact head holds the variance, the samples the mass that top-k drops. */
  'head-tail': { k: 12, values: 'vq', ordered: 8, stages: 4, samples: 8, tail: 'sampled' },
  /** 26 B. */
  tiny: { k: 8, values: 'vq', ordered: 8, stages: 3, samples: 8, tail: 'sampled' },
  /** Every listed value as it is. */
  topk: { k: 20, values: 'float16', ordered: 0, stages: 0, samples: 0, tail: 'ghost' },
  /** The paper's (section 4.2): 20 ids, values by vector quantisation, renormalised. */
  'topk-vq': { k: 20, values: 'vq', ordered: 20, stages: 4, samples: 0, tail: 'zero' },
  /** 28 B. Ids drawn from the whole distribution, as RS-KD does, systematically: 50 probabilities rounded at random. */
  sampled: {
    ...{ k: 0, values: 'float16', ordered: 0, stages: 0 },
    ...{ samples: 50, draws: 'counted', tail: 'sampled' },
  },
} as const satisfies Record<string, Omit<TokenCodecConfig, 'vocabulary' | 'seed' | 'text'>>;

export type TokenPreset = keyof typeof TOKEN_PRESETS;

/**
 * What whole distributions are stored as if nothing else is asked for: of kinds of about the same size students learn most from draws
 * alone (docs/tokens.md). Who names a number of ids wants those.
 */
export function defaultPreset(k: number | undefined): TokenPreset {
  return k === undefined ? 'sampled' : 'head-tail';
}
