import { canonicalJson, type JsonObject } from '../core/json.js';
import type { SampleRange } from '../core/samples.js';
import { excerpt, SoftpackError } from '../errors.js';

import { archiveDigest } from './files.js';
import { requireEpoch } from './grid.js';
import type { ArchiveBytes, LabelArchive, PartOfEpoch } from './label-archive.js';
import type { Manifest } from './manifest.js';
import { allEpochs } from './parts.js';
import type { ReadLabelsOptions } from './read-labels.js';

/** An archive whose epochs lie in several parts: each call goes to the part with its epoch. */
export class PartedArchive implements LabelArchive {
  readonly manifest: Manifest;
  readonly parts: readonly LabelArchive[];
  /** The first epoch of each part. */
  readonly #firsts: readonly number[];

  /** @param parts the archive's own epochs, then those that its manifest lists. */
  constructor(parts: readonly [LabelArchive, ...LabelArchive[]]) {
    const [{ manifest }] = parts;
    this.manifest = manifest;
    this.parts = parts;
    this.#firsts = [0, ...(manifest.parts ?? []).map(({ epochs: [first] }) => first)];
  }

  get id(): string {
    return archiveDigest(this.manifest);
  }

  get classes(): number {
    return this.manifest.classes;
  }

  get samples(): number {
    return this.manifest.samples;
  }

  get epochs(): number {
    return allEpochs(this.manifest);
  }

  get codecParts() {
    return this.parts[0].codecParts;
  }

  get shards() {
    return this.parts[0].shards;
  }

  partOf(epoch: number): PartOfEpoch {
    requireEpoch(epoch, this.epochs);
    let [low, high] = [0, this.#firsts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#firsts[middle] <= epoch) low = middle;
      else high = middle - 1;
    }
    return { index: low, archive: this.parts[low], epoch: epoch - this.#firsts[low] };
  }

  async readRow(epoch: number, column?: string) {
    const part = this.partOf(epoch);
    return part.archive.readRow(part.epoch, column);
  }

  async readCodes(epoch: number, samples: { readonly start: number; readonly count: number }) {
    const part = this.partOf(epoch);
    return part.archive.readCodes(part.epoch, samples);
  }

  async labels(
    epoch: number,
    samples: SampleRange,
    options?: ReadLabelsOptions,
  ): Promise<Float32Array> {
    const part = this.partOf(epoch);
    return part.archive.labels(part.epoch, samples, options);
  }

  temperatureOf(epoch: number): number {
    const part = this.partOf(epoch);
    return part.archive.temperatureOf(part.epoch);
  }

  storedEpoch(epoch: number): number {
    const part = this.partOf(epoch);
    return part.archive.storedEpoch(part.epoch);
  }

  fileOf(epoch: number, sample?: number): string {
    const part = this.partOf(epoch);
    return part.archive.fileOf(part.epoch, sample);
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
