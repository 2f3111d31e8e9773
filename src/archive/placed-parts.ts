import { SoftpackError, type SoftpackErrorCode } from '../errors.js';
import type { Manifest } from './manifest.js';
import { type PartExtent, partExtents } from './parts.js';

/** Parts of an archive with the rectangles of epochs x samples that they are. */

export interface PlacedPart {
  readonly extent: PartExtent;
  readonly manifest: Manifest;
}

/** The archive's own epochs and samples, then its parts, in the order of its manifest. */
export function placedParts(manifests: readonly Manifest[]): readonly PlacedPart[] {
  return partExtents(manifests[0]).map((extent, i) => ({ extent, manifest: manifests[i] }));
}

/** A range of epochs and the parts that hold it, numbers in order of their samples. */
export interface EpochBand {
  readonly epochs: readonly [number, number];
  readonly parts: readonly number[];
}

/** Ranges of epochs between which the parts change, ascending. */
export function epochBands(extents: readonly PartExtent[]): readonly EpochBand[] {
  const cuts = [...new Set(extents.flatMap(({ epochs }) => epochs))].sort((a, b) => a - b);
  return cuts.slice(1).map((end, i) => {
    const begin = cuts[i];
    const parts = [...extents.keys()]
      .filter((part) => extents[part].epochs[0] <= begin && extents[part].epochs[1] >= end)
      .sort((a, b) => extents[a].samples[0] - extents[b].samples[0]);
    return { epochs: [begin, end], parts };
  });
}

/** `INVALID_FILE`, or another code, unless an epoch has one temperature for all samples. */
export function requireSameTemperatures(
  name: string,
  placed: readonly PlacedPart[],
  code: SoftpackErrorCode = 'INVALID_FILE',
): void {
  for (const { epochs, parts } of epochBands(placed.map(({ extent }) => extent))) {
    const [expected, ...others] = parts.map((i) => temperatures(placed[i], epochs));
    const found = others.find((one) => one !== expected);
    if (found === undefined) continue;
    throw new SoftpackError(code, 'samples of one epoch have several temperatures', {
      field: `${name}: tau`,
      expected: `${expected}, [first epoch, temperature]`,
      found,
    });
  }
}

/** Runs of epochs, [first epoch, temperature], as text. */
function temperatures(
  { extent, manifest }: PlacedPart,
  [begin, end]: readonly [number, number],
): string {
  const [offset] = extent.epochs;
  const runs: (readonly [number, number])[] = [];
  for (const [first, tau] of manifest.tauSchedule ?? [[0, manifest.tau] as const]) {
    const epoch = Math.max(begin, offset + first);
    if (epoch >= end) break;
    if (runs.at(-1)?.[0] === epoch) runs.pop();
    if (runs.at(-1)?.[1] !== tau) runs.push([epoch, tau]);
  }
  return JSON.stringify(runs);
}
