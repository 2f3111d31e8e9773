import { SoftpackError } from '../../errors.js';

/** Shape and head of the paper's vector-quantised autoencoder. */
export interface VqaeConfig {
  /** c, classes. */
  readonly classes: number;
  /** Length of the latent vector; a multiple of `dc`. */
  readonly dh: number;
  /** Length of a segment and of a codeword. */
  readonly dc: number;
  /** Codewords in the shared codebook: a power of two, 2 to 65536. */
  readonly k: number;
  /** Temperature of the labels: y = softmax(z / tau). */
  readonly tau: number;
  /** Floor of the clamp head, equation 9. */
  readonly eps: number;
}

/** m, segments of one label. */
export function segmentsOf(config: VqaeConfig): number {
  return config.dh / config.dc;
}

/** log2 k, bits of one index. */
export function bitsOf(config: VqaeConfig): number {
  return Math.log2(config.k);
}

/** Throws a `SoftpackError` with `code` naming the first field that is out of range; returns the config. */
export function checkVqaeConfig(
  config: VqaeConfig,
  code: 'INVALID_ARGUMENT' | 'INVALID_FILE' = 'INVALID_ARGUMENT',
): VqaeConfig {
  const { classes, dh, dc, k, tau, eps } = config;
  const require = (valid: boolean, field: string, expected: string, found: unknown) => {
    if (valid) return;
    throw new SoftpackError(code, 'not a valid VQAE', { field, expected, found });
  };
  const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
  require(whole(classes), 'classes', 'a positive integer', classes);
  require(whole(dc), 'dc', 'a positive integer', dc);
  require(whole(dh) && dh % dc === 0, 'dh', `a positive multiple of dc = ${dc}`, dh);
  const powerOfTwo = whole(k) && k >= 2 && k <= 65536 && Number.isInteger(Math.log2(k));
  require(powerOfTwo, 'k', 'a power of two from 2 to 65536', k);
  require(Number.isFinite(tau) && tau > 0, 'tau', 'a positive number', tau);
  require(Number.isFinite(eps) && eps > 0 && eps < 1, 'eps', 'a number in (0, 1)', eps);
  return { classes, dh, dc, k, tau, eps };
}
