import { FieldChecker } from '../core/check.js';
import type { JsonObject } from '../core/json.js';
import { MAX_SIDE } from '../core/limits.js';
import { SoftpackError } from '../errors.js';
import { RESAMPLES, type Rendering, ROUNDS } from '../kernels/augment-args.js';

/**
 * Derivation of labelled images from stored ones, as in the archive's manifest: from a seed, without any
 * bytes per label, or recorded per label in columns next to the codes.
 */
export type AnyAugmentationSpec = AugmentationSpec | RecordedAugmentationSpec;

/** Views that were drawn by another program, kept in the archive's columns (see `RecordedAugmentations`). */
export interface RecordedAugmentationSpec extends Rendering {
  readonly generator: 'recorded';
  /** Height and width of the rendered image, pixels. */
  readonly size: readonly [number, number];
}

/** Views drawn by softpack's own generator. */
export interface AugmentationSpec extends Rendering {
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

/** Rendering by PIL, and by torchvision with PIL images: the views of most labels made in PyTorch. */
export const PIL_RENDERING = { resample: 'antialias', round: 'u8' } as const;

export type MixSpec =
  | { readonly kind: 'none' }
  /** Paste a rectangle of another sample's view: lambda ~ Beta(alpha, alpha), 0 < alpha <= 1. */
  | { readonly kind: 'cutmix'; readonly alpha: number; readonly probability: number }
  /** Blend with another sample's view, own share lambda ~ Beta(alpha, alpha), 0 < alpha <= 1. */
  | { readonly kind: 'mixup'; readonly alpha: number; readonly probability: number };

const checker = new FieldChecker('', 'INVALID_FILE', 'not a valid augmentation');

/** Reads an untrusted spec of either kind, e.g. from a manifest; throws `INVALID_FILE` naming the field. */
export function parseAnyAugmentationSpec(
  value: unknown,
  where = 'augmentation',
): AnyAugmentationSpec {
  const spec = checker.object(value, where);
  if (spec.generator !== 'recorded') return parseAugmentationSpec(value, where);
  return {
    generator: 'recorded',
    size: pair(spec.size, `${where}.size`, side),
    ...parseRendering(spec, where),
  };
}

/** The same for views drawn from a seed; `UNSUPPORTED` for any other. */
export function parseAugmentationSpec(value: unknown, where = 'augmentation'): AugmentationSpec {
  const spec = checker.object(value, where);
  if (spec.generator !== 'philox4x32-10') {
    throw new SoftpackError('UNSUPPORTED', 'unknown generator', {
      field: `${where}.generator`,
      expected: 'philox4x32-10',
      found: spec.generator,
    });
  }
  const crop = checker.object(spec.crop, `${where}.crop`);
  return {
    generator: 'philox4x32-10',
    seed: checker.count(spec.seed, `${where}.seed`, 0),
    size: pair(spec.size, `${where}.size`, side),
    crop: {
      scale: ordered(pair(crop.scale, `${where}.crop.scale`, share)),
      ratio: ordered(pair(crop.ratio, `${where}.crop.ratio`, ratio)),
    },
    flip: checker.number(spec.flip, `${where}.flip`, 0, 1),
    mix: parseMix(spec.mix, `${where}.mix`),
    ...parseRendering(spec, where),
  };
}

/** The fields of a spec that say how crops are resized; empty for the defaults, so that those have one form. */
export function renderingOf({ resample = 'bilinear', round = 'none' }: Rendering): Rendering {
  return {
    ...(resample === 'bilinear' ? {} : { resample }),
    ...(round === 'none' ? {} : { round }),
  };
}

function parseRendering({ resample, round }: JsonObject, where: string): Rendering {
  return renderingOf({
    ...(resample === undefined
      ? {}
      : { resample: checker.oneOf(resample, `${where}.resample`, RESAMPLES) }),
    ...(round === undefined ? {} : { round: checker.oneOf(round, `${where}.round`, ROUNDS) }),
  });
}

function parseMix(value: unknown, where: string): MixSpec {
  const mix = checker.object(value, where);
  const kind = checker.oneOf(mix.kind, `${where}.kind`, ['none', 'cutmix', 'mixup']);
  if (kind === 'none') return { kind };
  return {
    kind,
    alpha: share(mix.alpha, `${where}.alpha`),
    probability: checker.number(mix.probability, `${where}.probability`, 0, 1),
  };
}

function pair(
  value: unknown,
  field: string,
  check: (item: unknown, field: string) => number,
): readonly [number, number] {
  const items = checker.list(value, field);
  checker.that(items.length === 2, value, field, 'two numbers');
  return [check(items[0], field), check(items[1], field)];
}

function side(value: unknown, field: string): number {
  return checker.count(value, field, 1, MAX_SIDE);
}

function share(value: unknown, field: string): number {
  checker.that(value !== 0, value, field, 'a number above 0');
  return checker.number(value, field, 0, 1);
}

function ratio(value: unknown, field: string): number {
  checker.that(value !== 0, value, field, 'a number above 0');
  return checker.number(value, field, 0, 1e6);
}

function ordered(range: readonly [number, number]): readonly [number, number] {
  return checker.that(range[0] <= range[1], range, 'augmentation', 'low <= high');
}
