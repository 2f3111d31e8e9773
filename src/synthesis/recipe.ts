/** Choices in which the optimising methods differ, and those they share. */
export interface RecoverRecipe {
  readonly iterations: number;
  /** Of Adam, falling to zero by half a cosine. */
  readonly lr: number;
  /** Weight of the batch-norm term next to the cross-entropy. */
  readonly bnWeight: number;
  /** Weight of the first batch norm among all. */
  readonly firstBn: number;
  /** Largest cyclic shift, pixels. */
  readonly jitter: number;
  /** Smallest share of the image that a view shows. */
  readonly minCrop: number;
  /**
   * Share of the iterations over which the smallest crop falls from the whole image to `minCrop`, by half a cosine;
   * 0: it is `minCrop` from the start.
   */
  readonly curriculum: number;
  /**
   * Images that are optimised together and share statistics: one each of many classes, held to those of all images, or
   * all of one class, held to those of the class.
   */
  readonly batches: 'across classes' | 'within classes';
}

/**
 * SRe2L (Yin et al. 2023), CDA (Yin and Shen 2024) and LPLD's images (Xiao and He 2024), with the constants of their ImageNet
 * scripts.
 */
export type RecoverMethod = 'sre2l' | 'cda' | 'lpld';

/** All in which they differ. */
const PRESETS: Readonly<Record<RecoverMethod, Pick<RecoverRecipe, 'curriculum' | 'batches'>>> = {
  sre2l: { curriculum: 0, batches: 'across classes' },
  cda: { curriculum: 1, batches: 'across classes' },
  lpld: { curriculum: 0, batches: 'within classes' },
};
/** Side up to which images converge in a quarter of the iterations. */
const SMALL_SIDE = 64;

export function recoverRecipe(
  method: RecoverMethod,
  side: number,
  given: Partial<RecoverRecipe>,
): RecoverRecipe {
  return {
    iterations: given.iterations ?? (side > SMALL_SIDE ? 4000 : 1000),
    lr: given.lr ?? 0.25,
    bnWeight: given.bnWeight ?? 0.01,
    firstBn: given.firstBn ?? 10,
    // 32 of 224 pixels, as published.
    jitter: given.jitter ?? Math.round(side / 7),
    minCrop: given.minCrop ?? 0.08,
    curriculum: given.curriculum ?? PRESETS[method].curriculum,
    batches: given.batches ?? PRESETS[method].batches,
  };
}

/** The smallest crop in iteration t. */
export function smallestCrop(
  { minCrop, curriculum, iterations }: RecoverRecipe,
  t: number,
): number {
  const end = curriculum * iterations;
  if (t >= end) return minCrop;
  return minCrop + ((1 - minCrop) * (1 + Math.cos((Math.PI * t) / end))) / 2;
}
