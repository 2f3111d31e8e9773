import type { ArchiveRow } from '../archive/pieces.js';
import { SAMPLE_COLUMN } from '../archive/pruning.js';
import { cropInPixels, type RecordedKinds, recordedColumns } from '../augment/recorded.js';
import { allocate } from '../core/allocate.js';
import { SoftpackError } from '../errors.js';

/** How the image of a label was made, as the files record it. */
export interface LabelView {
  /** (top, left, height, width) as shares of the stored image. */
  readonly crop: ArrayLike<number>;
  readonly flip: boolean;
  /** Sample id, or position where rows are batches; with `box` or `weight`. */
  readonly partner?: number;
  /** (top, left, height, width), pixels of the view. */
  readonly box?: readonly [number, number, number, number];
  /** Own share of a mixup. */
  readonly weight?: number;
}

/** What an imported label has besides its values. */
export interface RowKinds {
  readonly views?: RecordedKinds;
  /** A number that views are drawn from elsewhere (TinyViT). */
  readonly seeds?: boolean;
  /** Rows are batches: the image of each label. */
  readonly listed?: boolean;
}

interface LabelSides {
  readonly view?: LabelView;
  readonly seed?: number;
  readonly id?: number;
}

/** Columns of an archive for these labels, beside the codes. */
export function columnsOf(samples: number, { views, seeds, listed }: RowKinds) {
  const recorded = views === undefined ? [] : recordedColumns(samples, views);
  const seed = { name: 'seed', dtype: 'U32', rowBytes: 4 * samples } as const;
  const list = { name: SAMPLE_COLUMN, dtype: 'U32', rowBytes: 4 * samples } as const;
  return [...recorded, ...(seeds ? [seed] : []), ...(listed ? [list] : [])];
}

/** Labels of one epoch or batch as they come, in any order of samples: a row of the archive once each sample has its label. */
export class EpochRow {
  readonly #samples: number;
  readonly #classes: number;
  readonly #halves: Uint16Array<ArrayBuffer>;
  readonly #seen: Uint8Array;
  readonly #columns: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  readonly #views: ReadonlyMap<string, DataView>;
  readonly #sizes: Uint32Array | undefined;
  #count = 0;

  /** @param sizes height and width of every image, if crops are kept in pixels. */
  constructor(samples: number, classes: number, kinds: RowKinds, sizes?: Uint32Array) {
    this.#sizes = sizes;
    this.#samples = samples;
    this.#classes = classes;
    this.#halves = new Uint16Array(allocate(2 * samples * classes, 'labels of an epoch'));
    this.#seen = new Uint8Array(samples);
    const columns = columnsOf(samples, kinds);
    this.#columns = new Map(columns.map(({ name, rowBytes }) => [name, new Uint8Array(rowBytes)]));
    this.#views = new Map(
      [...this.#columns].map(([name, { buffer }]) => [name, new DataView(buffer)]),
    );
  }

  /** Bytes that an epoch takes in memory. */
  static bytes(samples: number, classes: number, kinds: RowKinds): number {
    const columns = columnsOf(samples, kinds).reduce((sum, { rowBytes }) => sum + rowBytes, 0);
    return samples * (2 * classes + 1) + columns;
  }

  has(sample: number): boolean {
    return this.#seen[sample] === 1;
  }

  /** Half floats of a label; a second label of a sample replaces the first. */
  put(sample: number, halves: Uint16Array, { view, seed, id }: LabelSides): void {
    this.#halves.set(halves, sample * this.#classes);
    this.#count += 1 - this.#seen[sample];
    this.#seen[sample] = 1;
    if (view !== undefined) {
      this.#putCrop(sample, view.crop, id ?? sample);
      this.#putView(sample, view);
    }
    if (id !== undefined) this.#views.get(SAMPLE_COLUMN)?.setUint32(4 * sample, id, true);
    if (seed !== undefined) this.#views.get('seed')?.setUint32(4 * sample, seed, true);
  }

  #putCrop(sample: number, crop: ArrayLike<number>, image: number): void {
    const column = this.#views.get('crop');
    const sizes = this.#sizes;
    if (sizes === undefined) {
      for (let i = 0; i < 4; i++) column?.setFloat32(16 * sample + 4 * i, crop[i], true);
      return;
    }
    const shares = [crop[0], crop[1], crop[2], crop[3]].map(Math.fround);
    const [top, left, height, width] = shares;
    const box = cropInPixels([top, left, height, width], sizes[2 * image], sizes[2 * image + 1]);
    for (const [i, pixels] of box.entries()) column?.setUint16(8 * sample + 2 * i, pixels, true);
  }

  #putView(sample: number, { flip, partner, box, weight }: LabelView): void {
    const columns = this.#views;
    for (let i = 0; i < 4; i++) {
      columns.get('box')?.setUint16(8 * sample + 2 * i, box?.[i] ?? 0, true);
    }
    columns.get('flip')?.setUint8(sample, flip ? 1 : 0);
    columns.get('partner')?.setUint32(4 * sample, partner ?? sample, true);
    columns.get('weight')?.setFloat32(4 * sample, weight ?? 1, true);
  }

  /** `INCOMPLETE` while samples have no label. */
  row(epoch: number): ArchiveRow {
    const missing = this.#seen.indexOf(0);
    if (missing >= 0) {
      throw new SoftpackError('INCOMPLETE', 'samples have no label; an archive needs all of them', {
        field: `epoch ${epoch}`,
        expected: `labels of ${this.#samples} images`,
        found: `${this.#count} (sample ${missing} has none)`,
      });
    }
    const columns = Object.fromEntries(this.#columns);
    return { codes: new Uint8Array(this.#halves.buffer), ...columns };
  }

  clear(): void {
    this.#seen.fill(0);
    this.#count = 0;
  }
}
