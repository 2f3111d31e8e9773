import { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';

/** Fields that the config of every codec has. */
export interface CommonConfig {
  readonly classes: number;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
}

/** Most classes: a decoded label is 64 MiB then. The largest vocabularies have a million. */
const MAX_CLASSES = 2 ** 24;

export function checkCommon({ classes, tau }: CommonConfig, check: FieldChecker): void {
  check.count(classes, 'classes', 1, MAX_CLASSES);
  check.positive(tau, 'tau');
}

/** Config of codecs with a clamp head. */
export interface ClampedConfig extends CommonConfig {
  /** Floor of the decoded probabilities. */
  readonly eps: number;
}

export function checkClamped(config: ClampedConfig, check: FieldChecker): void {
  checkCommon(config, check);
  check.share(config.eps, 'eps');
}

/** For a config that a caller made. */
export function argumentChecker(codec: string): FieldChecker {
  return new FieldChecker('', 'INVALID_ARGUMENT', `not a valid ${codec} codec`);
}

/** The config of a file, checked before anything depends on it. */
export function configOf<T>(
  { name, config }: Pick<CodecParts, 'name' | 'config'>,
  check: (config: T, checker: FieldChecker) => T,
): T {
  const checker = new FieldChecker('', 'INVALID_FILE', `not a valid ${name} codec`);
  return check(config as unknown as T, checker);
}
