import type { LabelCounts } from '../descriptor.js';
import { requireRatio, unreachableRatio } from '../size-search.js';
import type { VqaeConfig } from './config.js';

/** The paper's settings for 1,000 classes, by the compression of the codes they were chosen for. */
const PAPER_SETTINGS = [
  { dh: 795, dc: 5, k: 1024 },
  { dh: 990, dc: 15, k: 2048 },
  { dh: 1000, dc: 20, k: 1024 },
  { dh: 1000, dc: 25, k: 512 },
  { dh: 1000, dc: 50, k: 128 },
  { dh: 1000, dc: 100, k: 64 },
] as const;

/** 16 bits per class over bits of codes: the compression of the codes alone, without codec, metadata or container. */
export function codesRatio({
  classes,
  dh,
  dc,
  k,
}: Pick<VqaeConfig, 'classes' | 'dh' | 'dc' | 'k'>): number {
  return (16 * classes * dc) / (dh * Math.log2(k));
}

/** The paper's setting for 1,000 classes that is nearest in compression of the codes. */
function paperSettingFor(ratio: number): (typeof PAPER_SETTINGS)[number] {
  const distance = (setting: (typeof PAPER_SETTINGS)[number]) =>
    Math.abs(Math.log(codesRatio({ classes: 1000, ...setting }) / ratio));
  return PAPER_SETTINGS.reduce((best, next) => (distance(next) < distance(best) ? next : best));
}

/** Segments that each codeword should see on average while it is trained. */
const SEGMENTS_PER_CODE = 64;

/**
 * A (dh, dc, k) whose codes are at least `ratio` times smaller than float16 labels, after the paper: the
 * codebook of its setting nearest in compression, halved while `labels` are too few to train it, and the
 * largest m (segments) that keeps the ratio.
 *
 * `INVALID_ARGUMENT` if not even one segment fits, i.e. ratio > 16 classes.
 */
export function vqaeForRatio(
  classes: number,
  ratio: number,
  labels = Number.POSITIVE_INFINITY,
): { dh: number; dc: number; k: number } {
  requireRatio(ratio);
  let k: number = paperSettingFor(ratio).k;
  const segments = () => Math.floor((16 * classes) / (ratio * Math.log2(k)));
  while (k > 2 && (segments() < 1 || labels * segments() < SEGMENTS_PER_CODE * k)) k /= 2;
  const m = segments();
  if (m < 1) throw unreachableRatio(`at most ${16 * classes} for ${classes} classes`, ratio);
  // dh close to c, as in all of the paper's settings, so that D is about square.
  const dc = Math.max(1, Math.floor(classes / m));
  return { dh: m * dc, dc, k };
}

/** S14 with its constant: what the ratio tends to as labels grow without bound, at dh = C. */
export function limitRatio({ dc, k }: Pick<VqaeConfig, 'dc' | 'k'>): number {
  return (16 * dc) / Math.log2(k);
}

/** The paper's k for this compression, halved until there are 64 labels per codeword. */
export function codebookFor({ classes, samples, epochs }: LabelCounts, budget: number): number {
  const full = 2 * classes * samples * epochs;
  let k: number = paperSettingFor(full / budget).k;
  while (k > 2 && SEGMENTS_PER_CODE * k > samples * epochs) k /= 2;
  return k;
}

/**
 * Segments of a latent of `width` values at which codes and codebook together are smallest: with fewer of them
 * the codewords of k grow by more than the codes shrink.
 */
export function fewestSegments({ samples, epochs }: LabelCounts, width: number, k: number): number {
  const segments = Math.sqrt((32 * k * width) / (samples * epochs * Math.log2(k)));
  return Math.min(width, Math.max(1, Math.round(segments)));
}
