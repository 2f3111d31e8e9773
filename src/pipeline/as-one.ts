import type { LabelArchive } from '../archive/archive.js';
import { storedEpochs } from '../archive/grid.js';
import type { ArchiveIdentity } from '../archive/identity.js';
import type { TauSchedule } from '../archive/tau-schedule.js';

/** Epochs of all parts of an archive as an archive without parts would describe them. */
export function asOne(
  archive: LabelArchive,
): Pick<ArchiveIdentity, 'epochs' | 'storedEpochs' | 'tauSchedule'> {
  const { epochs, storedEpochs: stored, tauSchedule } = archive.manifest;
  if (archive.parts.length === 1) return { epochs, storedEpochs: stored, tauSchedule };
  return {
    epochs: archive.epochs,
    storedEpochs: keptEpochs(archive),
    tauSchedule: schedulesOf(archive),
  };
}

/** The parts that hold the first samples, in order of epochs. */
function followingParts(archive: LabelArchive): readonly LabelArchive[] {
  const found: LabelArchive[] = [];
  for (let epoch = 0; epoch < archive.epochs; ) {
    const { archive: part } = archive.partOf(epoch);
    found.push(part);
    epoch += part.epochs;
  }
  return found;
}

/** Epochs that are stored, if views of more are served. */
function keptEpochs(archive: LabelArchive): number | undefined {
  const every = viewsRepeat(archive);
  return every === archive.epochs ? undefined : every;
}

/** K if epoch e of all parts has the views of epoch e mod K. */
export function viewsRepeat(archive: LabelArchive): number | undefined {
  const { epochs } = archive;
  const parts = followingParts(archive);
  const { manifest: last } = parts[parts.length - 1];
  const candidates = [epochs, last.views?.of ?? epochs, storedEpochs(parts[0].manifest)];
  return candidates.find((every) => {
    let first = 0;
    return parts.every(({ manifest }) => {
      const { epochs: served, views = { first: 0, of: Number.POSITIVE_INFINITY } } = manifest;
      const stored = storedEpochs(manifest);
      const begins = views.first === first % every;
      const follows = views.of === every || views.first + stored <= Math.min(views.of, every);
      first += served;
      return begins && follows && (stored === every || stored === served);
    });
  });
}

/** Temperatures of the parts as a schedule, if they differ. */
function schedulesOf(archive: LabelArchive): TauSchedule | undefined {
  const parts = followingParts(archive);
  const runs: (readonly [number, number])[] = [];
  let first = 0;
  for (const { manifest: part } of parts) {
    for (const [epoch, tau] of part.tauSchedule ?? [[0, part.tau] as const]) {
      if (runs.at(-1)?.[1] !== tau) runs.push([first + epoch, tau]);
    }
    first += part.epochs;
  }
  const isOne = parts.every(({ manifest }) => manifest.tauSchedule === undefined);
  return runs.length === 1 && isOne ? undefined : runs;
}
