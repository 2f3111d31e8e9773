import { stat } from 'node:fs/promises';
import type { LabelArchive } from '../archive/archive.js';
import { argument } from '../core/check.js';
import { sampleIds } from '../core/samples.js';
import { type LabelKind, requireLogits } from '../labels/inspection.js';
import { probabilitySource } from '../labels/probabilities.js';
import { type LabelSource, openLabelSource } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';
import { openArchive } from '../pipeline/open-archive.js';

/** Exact labels of all views, next to those of a report: of an archive, or softened from a file of logits. */
export type FullLabels = Pick<LabelArchive, 'classes' | 'samples' | 'storedEpoch' | 'labels'> &
  AsyncDisposable & {
    readonly manifest: Pick<LabelArchive['manifest'], 'augmentation' | 'pruning'>;
  };

export interface FullLabelsOptions {
  /** Name of the array, if a file holds several. */
  readonly tensor?: string;
  /** What a file holds. Default: logits, and an error if they look like something else. */
  readonly kind?: LabelKind;
}

/**
 * Opens what an archive was packed from: another archive, or a file that `pack` reads.
 *
 * @param tau Temperature of labels that are asked for without one.
 */
export async function openFullLabels(
  path: string,
  tau: number,
  { tensor, kind }: FullLabelsOptions = {},
): Promise<FullLabels> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) {
    refuseFileOptions({ tensor, kind }, 'nothing: --full (`full`) is no file of labels');
    return fromArchive(await openArchive(path));
  }
  const source = await openLabelSource(path, { tensor });
  try {
    if (kind === undefined) await requireLogits(source, tau, 'full');
    return fromLogits(kind === 'probabilities' ? probabilitySource(source, path) : source, tau);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** `INVALID_ARGUMENT` for options of files where there is none. */
export function refuseFileOptions(options: FullLabelsOptions, expected: string): void {
  for (const [name, value] of Object.entries(options)) {
    argument.that(value === undefined, value, name, expected);
  }
}

function fromArchive(archive: LabelArchive): FullLabels {
  const { classes, samples, manifest } = archive;
  return {
    ...{ classes, samples, manifest },
    storedEpoch(epoch) {
      const stored = archive.storedEpoch(epoch);
      if (manifest.augmentation !== null) return stored;
      // Epochs of parts without views count on, as those of the archive that is compared.
      return epoch - archive.partOf(epoch).epoch + stored;
    },
    labels: (...wanted) => archive.labels(...wanted),
    [Symbol.asyncDispose]: () => archive.close(),
  };
}

function fromLogits(source: LabelSource, ownTau: number): FullLabels {
  const { epochs, samples, classes } = source;
  return {
    ...{ samples, classes, manifest: { augmentation: null } },
    storedEpoch(epoch) {
      argument.that(epoch < epochs, epochs, 'full', `labels of epoch ${epoch}`);
      return epoch;
    },
    async labels(epoch, chosen, { tau = ownTau } = {}) {
      const ids = sampleIds(chosen);
      const out = new Float32Array(ids.length * classes);
      for (const [i, id] of ids.entries()) out.set(await source.read(epoch, id, 1), i * classes);
      softmaxRows(out, ids.length, classes, tau, out);
      return out;
    },
    [Symbol.asyncDispose]: () => source.close(),
  };
}
