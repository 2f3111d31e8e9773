import { allocate, allocateShared } from '../core/allocate.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { type SampleRange, sampleIds } from '../core/samples.js';
import { excerpt, invalidFile, SoftpackError } from '../errors.js';
import { archiveDigest } from './files.js';
import { requireEpoch } from './grid.js';
import type { Column } from './identity.js';
import type { ArchiveBytes, LabelArchive, PartOfEpoch } from './label-archive.js';
import type { Manifest } from './manifest.js';
import { allEpochs, allSamples, type PartExtent, partExtents } from './parts.js';
import { type EpochBand, epochBands } from './placed-parts.js';
import type { CodesOfSamples, ReadLabelsOptions } from './read-labels.js';
import { samplesByPart, scatterRows } from './samples-by-part.js';

/** An archive whose labels lie in several parts: each call goes to those that hold its labels. */
export class PartedArchive implements LabelArchive {
  readonly manifest: Manifest;
  readonly parts: readonly LabelArchive[];
  readonly samples: number;
  readonly epochs: number;
  readonly #extents: readonly PartExtent[];
  readonly #bands: readonly EpochBand[];

  /** @param parts the archive's own labels, then those that its manifest lists. */
  constructor(parts: readonly [LabelArchive, ...LabelArchive[]]) {
    const [{ manifest }] = parts;
    this.manifest = manifest;
    this.parts = parts;
    this.samples = allSamples(manifest);
    this.epochs = allEpochs(manifest);
    this.#extents = partExtents(manifest);
    this.#bands = epochBands(this.#extents);
  }

  get id(): string {
    return archiveDigest(this.manifest);
  }

  get classes(): number {
    return this.manifest.classes;
  }

  get codecParts() {
    return this.parts[0].codecParts;
  }

  wholeCodec() {
    return this.parts[0].wholeCodec();
  }

  sampleBlocks(...samples: readonly Uint32Array[]) {
    return this.parts[0].sampleBlocks(...samples);
  }

  get shards() {
    return this.parts[0].shards;
  }

  partOf(epoch: number, sample = 0): PartOfEpoch {
    requireEpoch(epoch, this.epochs);
    argument.count(sample, 'sample', 0, this.samples - 1);
    const { parts } = this.#bandOf(epoch);
    return this.#placed(parts[lastAt(parts, (i) => this.#extents[i].samples[0] <= sample)], epoch);
  }

  partsOf(epoch: number): readonly PartOfEpoch[] {
    requireEpoch(epoch, this.epochs);
    return this.#bandOf(epoch).parts.map((index) => this.#placed(index, epoch));
  }

  #bandOf(epoch: number): EpochBand {
    return this.#bands[lastAt(this.#bands, ({ epochs }) => epochs[0] <= epoch)];
  }

  #placed(index: number, epoch: number): PartOfEpoch {
    const { epochs, samples } = this.#extents[index];
    return { index, archive: this.parts[index], epoch: epoch - epochs[0], samples };
  }

  async readRow(epoch: number, column = 'codes'): Promise<Uint8Array<SharedArrayBuffer>> {
    const [first, ...others] = this.partsOf(epoch);
    const own = await first.archive.readRow(first.epoch, column);
    if (others.length === 0) return own;
    if (column === 'codes') throw severalParts('readRow');
    const rows = [own];
    for (const { archive, epoch: row, samples } of others) {
      const bytes = await archive.readRow(row, column);
      if (column === 'partner') movePartners(archive.fileOf(row), bytes, samples);
      rows.push(bytes);
    }
    const bytes = rows.reduce((sum, { length }) => sum + length, 0);
    const all = new Uint8Array(allocateShared(bytes, `epoch ${epoch} of ${column}`));
    let at = 0;
    for (const row of rows) {
      all.set(row, at);
      at += row.length;
    }
    return all;
  }

  async readCodes(
    epoch: number,
    { start, count }: { readonly start: number; readonly count: number },
  ): Promise<CodesOfSamples> {
    argument.count(start, 'start', 0, this.samples);
    argument.count(count, 'count', 0, this.samples - start);
    const part = this.partOf(epoch, Math.min(start, this.samples - 1));
    const [from, to] = part.samples;
    if (start + count > to) throw severalParts('readCodes');
    const range = { start: start - from, count };
    const { row, first } = await part.archive.readCodes(part.epoch, range);
    return { row, first: from + first };
  }

  async labels(
    epoch: number,
    samples: SampleRange | readonly number[],
    options?: ReadLabelsOptions,
  ): Promise<Float32Array> {
    const parts = this.partsOf(epoch);
    const [{ archive, epoch: row }] = parts;
    if (parts.length === 1) return archive.labels(row, samples, options);
    const { classes } = this;
    const ids = sampleIds(samples);
    for (const id of ids) argument.count(id, 'samples', 0, this.samples - 1);
    const out = new Float32Array(allocate(4 * ids.length * classes, `${ids.length} labels`));
    for (const { part, positions, own } of samplesByPart(parts, ids)) {
      const found = await part.archive.labels(part.epoch, own, options);
      scatterRows(found, positions, out);
    }
    return out;
  }

  temperatureOf(epoch: number): number {
    const part = this.partOf(epoch);
    return part.archive.temperatureOf(part.epoch);
  }

  storedEpoch(epoch: number): number {
    const part = this.partOf(epoch);
    return part.archive.storedEpoch(part.epoch);
  }

  fileOf(epoch: number, sample = 0): string {
    const part = this.partOf(epoch, sample);
    return part.archive.fileOf(part.epoch, sample - part.samples[0]);
  }

  bytes(): ArchiveBytes {
    const sizes = this.parts.map((part) => part.bytes());
    const sum = (name: keyof ArchiveBytes) => sizes.reduce((total, size) => total + size[name], 0);
    return {
      ...{ codes: sum('codes'), codec: sum('codec'), metadata: sum('metadata') },
      ...{ container: sum('container'), total: sum('total') },
    };
  }

  /** All files that the manifest lists, those of the parts among them. */
  verify(): Promise<void> {
    return this.parts[0].verify();
  }

  async close(): Promise<void> {
    for (const part of this.parts) await part.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The last item of which something holds, in a list in which it holds of the first ones. */
function lastAt<T>(items: readonly T[], holds: (item: T) => boolean): number {
  let [low, high] = [0, items.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (holds(items[middle])) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Partners are numbers of samples in their part; they become those of the archive. */
function movePartners(
  file: string,
  bytes: Uint8Array<SharedArrayBuffer>,
  [from, to]: readonly [number, number],
): void {
  const partners = new Uint32Array(bytes.buffer);
  for (const [i, partner] of partners.entries()) {
    if (partner >= to - from) {
      const details = { expected: `< ${to - from}`, found: partner };
      throw invalidFile(file, `column partner: sample ${i}`, 'no such sample', details);
    }
    partners[i] = from + partner;
  }
}

function severalParts(field: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'codes of these samples lie in several parts', {
    field,
    expected: 'samples of one part: see partsOf',
  });
}

/** How the views of all parts were made; `UNSUPPORTED` if they differ in it. */
export function commonAugmentation({ parts }: LabelArchive): JsonObject | null {
  const [{ augmentation }, ...others] = parts.map(({ manifest }) => manifest);
  const text = (value: JsonObject | null) => JSON.stringify(canonicalJson(value, 'augmentation'));
  const other = others.find((part) => text(part.augmentation) !== text(augmentation));
  if (other === undefined) return augmentation;
  throw new SoftpackError('UNSUPPORTED', 'parts of this archive have views of several kinds', {
    field: 'augmentation',
    expected: excerpt(text(augmentation)),
    found: excerpt(text(other.augmentation)),
  });
}

/** Columns of an archive as one without parts would have them: of all samples. */
export function wholeColumns({ manifest, samples }: LabelArchive): readonly Column[] {
  return manifest.columns.map((column) => ({
    ...column,
    rowBytes: (column.rowBytes / manifest.samples) * samples,
  }));
}

/** The images of all samples, as far as one record can tell: undefined if parts have samples of their own. */
export function commonImages({ manifest, samples }: LabelArchive): JsonObject | undefined {
  return samples === manifest.samples ? manifest.images : undefined;
}
