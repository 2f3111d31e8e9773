import { batchesPerEpoch } from '../archive/pruning.js';
import { type PlannedLabels, predictArchive } from '../archive/size.js';
import type { CodecChoice, SizedChoice } from '../codecs/choice.js';
import { codecShape } from '../codecs/shape.js';
import { paperSettingFor } from '../codecs/vqae/plan.js';

/** Codecs that can be made as large or as small as a budget says. */
export type ScalableCodec = 'vqae' | 'topk' | 'pca' | 'rpca' | 'scalar' | 'vq';

export interface Plan {
  readonly codec: SizedChoice;
  /** Of the whole archive, on disk. */
  readonly bytes: number;
}

/** Most of the budget that the VQAE's decoder D may take: what it takes is not there for codes. */
const DECODER_SHARE = 0.2;
const LARGEST_CODEBOOK = 2048;

/**
 * The largest parameters of a codec whose archive is at most `budget` bytes in total, or `undefined` where
 * even the smallest is larger.
 */
export function planForBytes(
  name: ScalableCodec,
  labels: PlannedLabels,
  budget: number,
  form: Partial<Extract<SizedChoice, { name: 'topk' }>> = {},
): Plan | undefined {
  switch (name) {
    case 'vqae': {
      const plans = vqaeLevelSet(labels, budget);
      return plans.find(({ suggested }) => suggested) ?? plans[0];
    }
    case 'topk':
      return largest(labels.classes, (k) => plan({ ...form, name, k }, labels, budget));
    case 'pca':
    case 'rpca':
      return largest(labels.classes, (k) => plan({ name, k }, labels, budget));
    case 'scalar':
      return largest(16, (bits) => plan({ name, levels: 2 ** bits }, labels, budget));
    case 'vq': {
      const k = codebookFor(labels, budget);
      const dc = (segments: number) => Math.ceil(labels.classes / segments);
      const { classes } = labels;
      const least = fewestSegments(labels, classes, k);
      return largest(classes, (m) => plan({ name, dc: dc(m), k }, labels, budget), least);
    }
  }
}

export interface VqaePlan extends Plan {
  readonly codec: Extract<SizedChoice, { dh: number }>;
  /** The one to take where nothing else is known. */
  readonly suggested: boolean;
}

/**
 * Settings (dh, dc, k) of about the same size, at most `budget` bytes each, one a codebook size (the paper's
 * section 5.3 found them about equally good): as many segments as fit, dh near the number of classes, or as
 * much as a fifth of the budget pays for. The suggested one has the codebook of the paper's setting nearest in
 * compression, as far as the labels can train it.
 */
export function vqaeLevelSet(labels: PlannedLabels, budget: number): readonly VqaePlan[] {
  const { classes } = labels;
  const afford = Math.floor((DECODER_SHARE * budget) / (4 * classes));
  // A small decoder still reaches every direction that labels have.
  const most = Math.max(1, Math.min(classes, afford));
  const wanted = codebookFor(labels, budget);
  const plans: VqaePlan[] = [];
  for (let k = 2; k <= LARGEST_CODEBOOK; k *= 2) {
    const dc = (m: number) => Math.floor(most / m);
    const found = largest(
      most,
      (m) => plan({ name: 'vqae', dh: m * dc(m), dc: dc(m), k }, labels, budget),
      fewestSegments(labels, most, k),
    );
    if (found === undefined) continue;
    const codec = found.codec as VqaePlan['codec'];
    plans.push({ ...found, codec, suggested: k === wanted });
  }
  return plans;
}

/** The paper's k for this compression, halved until each codeword sees 64 segments of a label a thousand classes. */
function codebookFor(labels: PlannedLabels, budget: number): number {
  const { classes, samples, epochs } = labels;
  const full = 2 * classes * samples * epochs;
  let { k } = paperSettingFor(full / budget);
  while (k > 2 && 64 * k > samples * epochs) k /= 2;
  return k;
}

/** N of label pruning: the least whose archive of full labels is at most `budget` bytes. */
export function pruneForBytes(
  labels: PlannedLabels,
  batchSize: number,
  budget: number,
  inner: CodecChoice = { name: 'none' },
): { readonly ratio: number; readonly bytes: number } | undefined {
  const { samples, epochs } = labels;
  const all = epochs * batchesPerEpoch({ samples, epochs, seed: 0 }, batchSize);
  const pool = (batches: number) => ({ ...labels, samples: batchSize, epochs: batches });
  return largest(all, (batches) => {
    const planned = plan(inner as SizedChoice, pool(batches), budget);
    return planned && { ratio: all / batches, bytes: planned.bytes };
  });
}

function plan(codec: SizedChoice, labels: PlannedLabels, budget: number): Plan | undefined {
  const { total } = predictArchive(codecShape(codec, labels), labels);
  return total <= budget ? { codec, bytes: total } : undefined;
}

/**
 * Segments of a latent of `width` values at which codes and codebook together are smallest: with fewer of them
 * the codewords of k grow by more than the codes shrink.
 */
function fewestSegments({ samples, epochs }: PlannedLabels, width: number, k: number): number {
  const segments = Math.sqrt((32 * k * width) / (samples * epochs * Math.log2(k)));
  return Math.min(width, Math.max(1, Math.round(segments)));
}

/** The result for the largest integer in [least, high] that has one; results end where sizes outgrow the budget. */
function largest<T>(high: number, at: (value: number) => T | undefined, least = 1): T | undefined {
  let best = at(least);
  if (best === undefined) return undefined;
  let [low, top] = [least, high];
  while (low < top) {
    const middle = Math.ceil((low + top) / 2);
    const found = at(middle);
    if (found === undefined) top = middle - 1;
    else [low, best] = [middle, found];
  }
  return best;
}
