import { MAX_SIDE } from '../core/limits.js';
import { SoftpackError } from '../errors.js';

/**
 * How labelled images are made from stored ones, as the archive's manifest says it: derived from a seed, at no byte
 * a label, or recorded label by label in columns beside the codes.
 */
export type AnyAugmentationSpec = AugmentationSpec | RecordedAugmentationSpec;

/** Views that were drawn by another program, kept in the archive's columns (see `RecordedAugmentations`). */
export interface RecordedAugmentationSpec {
  readonly generator: 'recorded';
  /** Height and width of the rendered image, pixels. */
  readonly size: readonly [number, number];
}

/** Views drawn by softpack's own generator. */
export interface AugmentationSpec {
  readonly generator: 'philox4x32-10';
  /** Non-negative safe integer. */
  readonly seed: number;
  /** Height and width of the rendered image, pixels. */
  readonly size: readonly [number, number];
  readonly crop: {
    /** Share of the source area, drawn uniformly from [low, high], 0 < low <= high <= 1. */
    readonly scale: readonly [number, number];
    /** Width over height, drawn log-uniformly. */
    readonly ratio: readonly [number, number];
  };
  /** Probability of mirroring left to right. */
  readonly flip: number;
  readonly mix: MixSpec;
}

export type MixSpec =
  | { readonly kind: 'none' }
  /** Paste a rectangle of another sample's view: lambda ~ Beta(alpha, alpha), 0 < alpha <= 1. */
  | { readonly kind: 'cutmix'; readonly alpha: number; readonly probability: number }
  /** Blend with another sample's view, own share lambda ~ Beta(alpha, alpha), 0 < alpha <= 1. */
  | { readonly kind: 'mixup'; readonly alpha: number; readonly probability: number };

/** Reads an untrusted spec of either kind, e.g. from a manifest; throws `INVALID_FILE` naming the field. */
export function parseAnyAugmentationSpec(
  value: unknown,
  where = 'augmentation',
): AnyAugmentationSpec {
  const spec = record(value, where);
  if (spec.generator !== 'recorded') return parseAugmentationSpec(value, where);
  return { generator: 'recorded', size: pair(spec.size, `${where}.size`, 1, MAX_SIDE, true) };
}

/** The same for views drawn from a seed; `UNSUPPORTED` for any other. */
export function parseAugmentationSpec(value: unknown, where = 'augmentation'): AugmentationSpec {
  const spec = record(value, where);
  if (spec.generator !== 'philox4x32-10') {
    throw new SoftpackError('UNSUPPORTED', 'unknown generator', {
      field: `${where}.generator`,
      expected: 'philox4x32-10',
      found: spec.generator,
    });
  }
  const crop = record(spec.crop, `${where}.crop`);
  return {
    generator: 'philox4x32-10',
    seed: number(spec.seed, `${where}.seed`, 0, Number.MAX_SAFE_INTEGER, true),
    size: pair(spec.size, `${where}.size`, 1, MAX_SIDE, true),
    crop: {
      scale: ordered(pair(crop.scale, `${where}.crop.scale`, Number.MIN_VALUE, 1)),
      ratio: ordered(pair(crop.ratio, `${where}.crop.ratio`, Number.MIN_VALUE, 1e6)),
    },
    flip: number(spec.flip, `${where}.flip`, 0, 1),
    mix: parseMix(spec.mix, `${where}.mix`),
  };
}

function parseMix(value: unknown, where: string): MixSpec {
  const mix = record(value, where);
  if (mix.kind === 'none') return { kind: 'none' };
  if (mix.kind !== 'cutmix' && mix.kind !== 'mixup') {
    throw invalid(`${where}.kind`, 'none, cutmix or mixup', mix.kind);
  }
  return {
    kind: mix.kind,
    alpha: number(mix.alpha, `${where}.alpha`, Number.MIN_VALUE, 1),
    probability: number(mix.probability, `${where}.probability`, 0, 1),
  };
}

function invalid(field: string, expected: unknown, found: unknown): SoftpackError {
  return new SoftpackError('INVALID_FILE', 'not a valid augmentation', {
    field,
    expected,
    found: JSON.stringify(found),
  });
}

function record(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(field, 'an object', value);
  }
  return value as Record<string, unknown>;
}

function number(value: unknown, field: string, low: number, high: number, whole = false): number {
  const valid =
    typeof value === 'number' &&
    value >= low &&
    value <= high &&
    (!whole || Number.isSafeInteger(value));
  if (!valid)
    throw invalid(field, `${whole ? 'an integer' : 'a number'} in [${low}, ${high}]`, value);
  return value;
}

function pair(
  value: unknown,
  field: string,
  low: number,
  high: number,
  whole = false,
): readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2) throw invalid(field, 'two numbers', value);
  return [number(value[0], field, low, high, whole), number(value[1], field, low, high, whole)];
}

function ordered(range: readonly [number, number]): readonly [number, number] {
  if (range[0] > range[1]) throw invalid('augmentation', 'low <= high', range);
  return range;
}
