import type { FieldChecker } from '../../core/check.js';
import { argumentChecker, type ClampedConfig, checkClamped } from '../config.js';

/** Shape and head of the paper's vector-quantised autoencoder. */
export interface VqaeConfig extends ClampedConfig {
  /** Length of the latent vector; a multiple of `dc`. */
  readonly dh: number;
  /** Length of a segment and of a codeword. */
  readonly dc: number;
  /** Codewords in the shared codebook: a power of two, 2 to 65536. */
  readonly k: number;
}

/** m, segments of one label. */
export function segmentsOf(config: VqaeConfig): number {
  return config.dh / config.dc;
}

/** log2 k, bits of one index. */
export function bitsOf(config: VqaeConfig): number {
  return Math.log2(config.k);
}

/** Returns the config without anything else that came with it. */
export function checkVqaeConfig(
  config: VqaeConfig,
  check: FieldChecker = argumentChecker('vqae'),
): VqaeConfig {
  const { classes, dh, dc, k, tau, eps } = config;
  checkClamped(config, check);
  check.count(dc, 'dc', 1);
  const whole = Number.isSafeInteger(dh) && dh >= 1 && dh % dc === 0;
  check.that(whole, dh, 'dh', `a positive multiple of dc = ${dc}`);
  check.powerOfTwo(k, 'k', 2, 65536);
  return { classes, dh, dc, k, tau, eps };
}

/** Fewest segment vectors per codeword for training to mean anything. */
const MIN_SEGMENTS_PER_CODE = 4;

/** Labels that training needs. */
export function fewestLabels({ dh, dc, k }: Pick<VqaeConfig, 'dh' | 'dc' | 'k'>): number {
  return Math.max(2, Math.ceil((MIN_SEGMENTS_PER_CODE * k) / (dh / dc)));
}
