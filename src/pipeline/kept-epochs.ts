import type { PlannedLabels } from '../archive/size.js';
import { tauScheduleOf } from '../archive/tau-schedule.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice } from '../codecs/descriptor.js';
import { CODECS } from '../codecs/registry.js';
import { largest } from '../codecs/size-search.js';
import { tensorBytes } from '../core/codec-parts.js';
import type { LabelSource } from '../labels/source.js';
import {
  budgetOf,
  choiceForBytes,
  formOf,
  isTotalSize,
  type TotalSizeChoice,
} from './archive-size.js';
import { DEFAULT_TAU, type PackOptions } from './pack-options.js';
import type { PackSource } from './pack-source.js';

/**
 * How many epochs an archive of a given size should store. Fewer leave more bits for each of their labels, but show a student
 * the same views more often. What students of emoji lose (docs/codecs.md) is about 0.15 points times the epochs that
 * one stored epoch serves, and 124 points over the bits of a stored label: together least where both are equal.
 */

/** Bits per label of all epochs from which all are stored: 124 over 0.15. */
const BITS_OF_ALL = 825;
/** Epochs below which students lost most: 2 of 40 cost 5 points. */
const LEAST_EPOCHS = 4;

/** Bits of codes and tensors that this many stored epochs would leave per label; 0 if they do not fit at all. */
export interface WeighedEpochs {
  readonly epochs: number;
  readonly bitsPerLabel: number;
}

export interface KeptEpochs {
  readonly keep: number;
  /** All, half, a fifth and a tenth of the epochs, and those kept. */
  readonly weighed: readonly WeighedEpochs[];
}

/**
 * The share of the epochs that is the root of the bits which the size leaves per label of all of them over {@link BITS_OF_ALL}.
 * At least four epochs, and fewer only where four do not fit at all.
 *
 * @param full bytes of the uncompressed labels. @param most epochs that there are labels of.
 */
export function keptEpochs(
  choice: TotalSizeChoice,
  labels: PlannedLabels,
  full: number,
  codecs: CodecRegistry,
  most = labels.epochs,
): KeptEpochs {
  const { name = codecs.names[0], form } = formOf(choice);
  const budget = budgetOf(choice, full);
  const known = new Map<number, number>();
  const bitsOf = (epochs: number): number => {
    const stored = { ...labels, storedEpochs: epochs === labels.epochs ? undefined : epochs };
    const found = choiceForBytes(name, stored, budget, form, codecs);
    if (found === undefined) return 0;
    const { bitsPerLabel, tensors, sampleTensors } = codecs.shape(found, labels);
    const besides = 8 * (tensorBytes(tensors) + tensorBytes(sampleTensors));
    return bitsPerLabel + besides / (labels.samples * epochs);
  };
  const bitsAt = (epochs: number): number => {
    const bits = known.get(epochs) ?? bitsOf(epochs);
    known.set(epochs, bits);
    return bits;
  };
  const share = Math.sqrt((8 * budget) / (labels.samples * labels.epochs) / BITS_OF_ALL);
  const wanted = Math.min(most, Math.max(LEAST_EPOCHS, Math.round(share * labels.epochs)));
  const fitting = (epochs: number) => (bitsAt(epochs) > 0 ? epochs : undefined);
  const keep = largest(wanted, fitting) ?? 1;
  const shares = [1, 1 / 2, 1 / 5, 1 / 10].map((share) => Math.ceil(labels.epochs * share));
  const shown = [...new Set([...shares, keep])].filter((epochs) => epochs <= most);
  const weighed = shown
    .sort((a, b) => b - a)
    .map((epochs) => ({
      epochs,
      bitsPerLabel: bitsAt(epochs),
    }));
  return { keep, weighed };
}

/** A number of epochs that is not left open. */
export function numberOf(keep: PackOptions['keep']): number | undefined {
  return keep === 'auto' ? undefined : keep;
}

/** @internal Epochs to store, if that is left open and there is a size to fit; batches and parts of a temperature are all stored. */
export function weighedEpochs(
  { classes, samples, epochs }: Pick<LabelSource, 'classes' | 'samples' | 'epochs'>,
  options: Pick<
    PackOptions,
    | 'keep'
    | 'codecs'
    | 'prune'
    | 'tau'
    | 'tauSchedule'
    | 'augmentation'
    | 'classNames'
    | 'teacher'
    | 'images'
  > & { readonly codec?: PackOptions['codec'] },
  { pruning, sides, keep: most }: Pick<PackSource, 'pruning' | 'sides' | 'keep'> = {},
): KeptEpochs | undefined {
  const { keep, codec, codecs = CODECS, prune, tau = DEFAULT_TAU } = options;
  if (keep !== 'auto' || codec === undefined || !isTotalSize(codec)) return undefined;
  if (prune !== undefined || pruning !== undefined) return undefined;
  const anyTau = codecs.of(codec).anyTau?.(codec as NamedChoice);
  if (options.tauSchedule !== undefined && !anyTau) return undefined;
  const tauSchedule = options.tauSchedule && tauScheduleOf(options.tauSchedule, epochs, tau);
  const { augmentation, classNames, teacher, images } = options;
  const known = { augmentation, classNames, teacher, images, columns: sides?.columns };
  const labels = { classes, samples, epochs, tauSchedule, ...known };
  return keptEpochs(codec, labels, 2 * classes * samples * epochs, codecs, most);
}
