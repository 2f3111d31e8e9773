import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTemporaries } from '../../container/durable.js';
import { readTensorFile, writeTensorFile } from '../../container/tensor-file.js';
import { invalidFile } from '../../errors.js';
import { onFile } from '../../store/file-error.js';
import { recordRequest } from '../job-records.js';
import { Moments } from './moments.js';

/** Moments of one group of images, with its number. */
export interface GroupMoments {
  readonly group: number;
  readonly moments: Moments;
}

/** What finished jobs found, in float64: a file each, so that a killed run repeats one job at most. */
export class StatisticsParts {
  readonly folder: string;
  readonly #channels: number;

  private constructor(folder: string, channels: number) {
    this.folder = folder;
    this.#channels = channels;
  }

  /** @throws `ALREADY_EXISTS` if there are parts of another request. */
  static async open(out: string, request: object, channels: number): Promise<StatisticsParts> {
    const parts = new StatisticsParts(partsFolder(out), channels);
    await recordRequest(out, parts.folder, request);
    return parts;
  }

  has(job: number): boolean {
    return existsSync(this.#pathOf(job));
  }

  async write(job: number, groups: readonly GroupMoments[]): Promise<void> {
    const joined = (part: 'mean' | 'squares') => {
      const values = new Float64Array(groups.length * this.#channels);
      groups.forEach(({ moments }, i) => {
        values.set(moments[part], i * this.#channels);
      });
      const shape = [groups.length, this.#channels];
      return { dtype: 'F64', shape, data: new Uint8Array(values.buffer) } as const;
    };
    const numbers = Float64Array.from(
      groups.flatMap(({ group, moments }) => [group, moments.count]),
    );
    const head = new Uint8Array(numbers.buffer);
    await removeTemporaries(this.folder, [nameOf(job)]);
    await writeTensorFile(
      this.#pathOf(job),
      new Map([
        ['groups', { dtype: 'F64', shape: [groups.length, 2], data: head }],
        ['mean', joined('mean')],
        ['squares', joined('squares')],
      ]),
      {},
    );
  }

  async read(job: number): Promise<readonly GroupMoments[]> {
    const path = this.#pathOf(job);
    const { tensors } = await readTensorFile(path);
    const floats = (name: string) => {
      const { buffer, byteOffset, byteLength } = tensors.get(name)?.data ?? new Uint8Array();
      return new Float64Array(buffer, byteOffset, byteLength / 8);
    };
    const [groups, mean, squares] = ['groups', 'mean', 'squares'].map(floats);
    const expected = (groups.length / 2) * this.#channels;
    if (mean.length !== expected || squares.length !== expected) {
      const found = `${mean.length} and ${squares.length}`;
      throw invalidFile(path, 'mean', 'not a part of these statistics', { expected, found });
    }
    return Array.from({ length: groups.length / 2 }, (_, i) => {
      const moments = new Moments(this.#channels);
      const [from, to] = [i * this.#channels, (i + 1) * this.#channels];
      moments.add(groups[2 * i + 1], mean.subarray(from, to), squares.subarray(from, to));
      return { group: groups[2 * i], moments };
    });
  }

  async remove(): Promise<void> {
    await onFile(this.folder, () => rm(this.folder, { recursive: true, force: true }));
  }

  #pathOf(job: number): string {
    return join(this.folder, nameOf(job));
  }
}

export function partsFolder(out: string): string {
  return `${out}.parts`;
}

function nameOf(job: number): string {
  return `part-${String(job).padStart(6, '0')}.safetensors`;
}
