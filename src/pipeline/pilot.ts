import type { ArchiveBytes } from '../archive/archive.js';
import { trainingLabels } from '../archive/identity.js';
import { predictArchive } from '../archive/size.js';
import type { Pilot } from '../codecs/descriptor.js';
import { CODECS } from '../codecs/registry.js';
import { type CodecParts, tensorBytes } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import type { WeighedEpochs } from './kept-epochs.js';
import { planParts, trainPart, withLogits } from './pack.js';
import type { PackOptions } from './pack-options.js';
import { Problems } from './preflight.js';

export type PilotOptions = Omit<PackOptions, 'out' | 'acceptFinished' | 'provenance' | 'trained'>;

/** What an archive of these labels would be, by a draw of them. */
export interface PilotResult {
  readonly codec: { readonly name: string; readonly config: Readonly<Record<string, unknown>> };
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  readonly storedEpochs: number;
  /** Float16 labels of all epochs. */
  readonly full: number;
  /** Predicted, on disk. */
  readonly bytes: ArchiveBytes;
  /** Full labels over the whole archive. */
  readonly ratio: number;
  readonly pilot: Pilot;
  /** What epochs were weighed, if their number was left open. */
  readonly weighed?: readonly WeighedEpochs[];
}

/**
 * Finds the settings of a codec on a draw of labels, as {@link packLogits} does, and writes nothing.
 *
 * @throws What `packLogits` throws; `UNSUPPORTED` for a codec that is not chosen by a pilot.
 */
export function pilotLabels(options: PilotOptions): Promise<PilotResult> {
  const { codecs = CODECS, codec } = options;
  const asked: PackOptions = { ...options, out: '' };
  return withLogits(asked, new Problems(), async (all, kernels, known, problems, rows) => {
    const { name, weighsEpochs } = codecs.of(codec);
    const { parts, weighed } = await planParts(all, known, problems, rows);
    const [part, ...others] = parts;
    if (weighsEpochs !== true || others.length > 0) throw noPilot(name);
    const checkpoints = { keep: async () => {} };
    const trained = await trainPart(all, part, kernels, { ...known, checkpoints });
    const { pilot, parts: found } = trained;
    if (pilot === undefined) throw noPilot(name);
    const { classes, samples, epochs, storedEpochs = epochs, pruning } = part.planned;
    const bytes = predictArchive(shapeOf(found, pilot, part.source), part.planned);
    const full = 2 * classes * trainingLabels({ epochs, samples, pruning });
    return {
      ...{ codec: { name: found.name, config: found.config }, classes, samples, epochs },
      ...{ storedEpochs, full, bytes, ratio: full / bytes.total, pilot },
      ...(weighed && { weighed: weighed.weighed }),
    };
  });
}

function shapeOf(
  { name, config, tensors }: CodecParts,
  { bitsPerLabel }: Pilot,
  { samples, epochs }: { readonly samples: number; readonly epochs: number },
) {
  const shapes = [...tensors].map(([own, { dtype, shape }]) => ({ name: own, dtype, shape }));
  const besides = (8 * tensorBytes(shapes)) / (samples * epochs);
  const codes = Math.max(bitsPerLabel - besides, 0);
  const { labelsPerBlock } = config as { readonly labelsPerBlock?: number };
  return { name, bitsPerLabel: codes, tensors: shapes, sampleTensors: [], labelsPerBlock };
}

function noPilot(found: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'the size of this codec is known without labels', {
    field: 'codec',
    expected: 'a codec whose settings are found on labels: transform',
    found,
  });
}
