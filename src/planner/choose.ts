import { batchesPerEpoch } from '../archive/pruning.js';
import type { PlannedLabels } from '../archive/size.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice } from '../codecs/descriptor.js';
import { CODECS, type CodecChoice, type SizedChoice } from '../codecs/registry.js';
import { largest } from '../codecs/size-search.js';
import { type VqaeSetting, vqaeLevelSet as vqaeSettings } from '../codecs/vqae/level-set.js';
import { archiveBytes, choiceForBytes } from '../pipeline/archive-size.js';

export interface Plan {
  readonly codec: SizedChoice;
  /** Size of the whole archive on disk. */
  readonly bytes: number;
}

/** Names of codecs whose size can be chosen. */
export type ScalableCodec = Extract<CodecChoice, { ratio: number }>['name'] & string;

/**
 * The largest parameters of a codec whose archive is at most `budget` bytes in total, or `undefined` if even
 * the smallest is larger.
 *
 * @param form parameters that are no sizes.
 */
export function planForBytes(
  name: string,
  labels: PlannedLabels,
  budget: number,
  form: Readonly<Record<string, unknown>> = {},
  codecs: CodecRegistry = CODECS,
): Plan | undefined {
  const codec = choiceForBytes(name, labels, budget, form, codecs);
  return codec && { codec: codec as SizedChoice, bytes: archiveBytes(codec, labels, codecs) };
}

export interface VqaePlan extends VqaeSetting {
  readonly bytes: number;
}

/** Settings of the autoencoder of about the same size, at most `budget` bytes each. */
export function vqaeLevelSet(labels: PlannedLabels, budget: number): readonly VqaePlan[] {
  const bytesOf = (choice: NamedChoice) => archiveBytes(choice, labels, CODECS);
  return vqaeSettings({ labels, budget, bytesOf }).map((setting) => ({
    ...setting,
    bytes: bytesOf(setting.codec),
  }));
}

/** The least pruning ratio N whose archive of full labels is at most `budget` bytes. */
export function pruneForBytes(
  labels: PlannedLabels,
  batchSize: number,
  budget: number,
): { readonly ratio: number; readonly bytes: number } | undefined {
  const { samples, epochs } = labels;
  const all = epochs * batchesPerEpoch({ samples }, batchSize);
  const pool = (batches: number) => ({ ...labels, samples: batchSize, epochs: batches });
  return largest(all, (batches) => {
    const bytes = archiveBytes({ name: 'none' }, pool(batches), CODECS);
    return bytes <= budget ? { ratio: all / batches, bytes } : undefined;
  });
}
