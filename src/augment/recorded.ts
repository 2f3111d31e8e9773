import { SoftpackError } from '../errors.js';
import type { Rendering } from '../kernels/augment-args.js';
import type { Augmentations, Box, Mix } from './record.js';

/**
 * Views that another program drew, label by label: columns of an archive, beside the codes. What an import of its
 * labels writes, and the loader replays.
 *
 * - `crop` [samples, 4], (top, left, height, width): U16 pixels of the stored image, or F32 shares of its height and
 *   width, as FKD and SRe2L record them.
 * - `flip` U8 [samples], 0 or 1; without the column nothing is mirrored.
 * - `partner` U32 [samples], global sample id, the sample's own where nothing is mixed in; with it one of
 * - `box` U16 [samples, 4], output pixels, the part that CutMix replaces (height 0: none), and
 * - `weight` F32 [samples], the own share of a mixup (1: nothing is blended).
 */
export const RECORDED_COLUMNS = ['crop', 'flip', 'partner', 'box', 'weight'] as const;
export type RecordedColumnName = (typeof RECORDED_COLUMNS)[number];

/** A column of an archive, as its spec and manifest describe it. */
export interface RecordedColumn {
  readonly name: RecordedColumnName;
  readonly dtype: 'U8' | 'U16' | 'U32' | 'F32';
  readonly rowBytes: number;
}

export interface RecordedKinds {
  readonly crop: 'pixels' | 'shares';
  readonly flip: boolean;
  readonly mix: 'none' | 'cutmix' | 'mixup' | 'both';
}

/** The columns to put in an archive's spec; its `augmentation` is then `{ generator: 'recorded', size }`. */
export function recordedColumns(
  samples: number,
  { crop, flip, mix }: RecordedKinds,
): readonly RecordedColumn[] {
  const columns: RecordedColumn[] = [
    crop === 'pixels'
      ? { name: 'crop', dtype: 'U16', rowBytes: 8 * samples }
      : { name: 'crop', dtype: 'F32', rowBytes: 16 * samples },
  ];
  if (flip) columns.push({ name: 'flip', dtype: 'U8', rowBytes: samples });
  if (mix !== 'none') columns.push({ name: 'partner', dtype: 'U32', rowBytes: 4 * samples });
  if (mix === 'cutmix' || mix === 'both') {
    columns.push({ name: 'box', dtype: 'U16', rowBytes: 8 * samples });
  }
  if (mix === 'mixup' || mix === 'both') {
    columns.push({ name: 'weight', dtype: 'F32', rowBytes: 4 * samples });
  }
  return columns;
}

/** The columns of an archive that record views, checked. `INVALID_FILE` if they do not make up a record. */
export function findRecordedColumns(
  columns: readonly { readonly name: string; readonly dtype: string; readonly rowBytes: number }[],
  samples: number,
): readonly RecordedColumn[] {
  const found = columns.filter(({ name }) =>
    (RECORDED_COLUMNS as readonly string[]).includes(name),
  );
  const has = (name: string) => found.some((column) => column.name === name);
  const kinds = {
    crop: found.find(({ name }) => name === 'crop')?.dtype === 'F32' ? 'shares' : 'pixels',
    flip: has('flip'),
    mix: mixOf(has),
  } as const;
  const expected = recordedColumns(samples, kinds);
  const text = (list: typeof columns) =>
    list.map(({ name, dtype, rowBytes }) => `${name} ${dtype} ${rowBytes}`).sort();
  if (String(text(found)) === String(text(expected))) return expected;
  throw new SoftpackError('INVALID_FILE', 'not a record of views', {
    field: 'manifest.json: columns',
    expected: text(expected).join(', '),
    found: text(found).join(', ') || 'none',
  });
}

function mixOf(has: (name: string) => boolean): RecordedKinds['mix'] {
  if (has('box')) return has('weight') ? 'both' : 'cutmix';
  return has('weight') ? 'mixup' : 'none';
}

/** One row of every recorded column. */
export type RecordedRows = Readonly<Partial<Record<RecordedColumnName, Uint8Array>>>;

/**
 * The recorded views of one epoch. Every value is checked when it is used: `INVALID_FILE` naming column and sample.
 */
export class RecordedAugmentations implements Augmentations {
  readonly size: readonly [number, number];
  readonly rendering: Rendering;
  readonly #samples: number;
  readonly #shares: boolean;
  readonly #rows: RecordedRows;

  constructor(
    size: readonly [number, number],
    columns: readonly RecordedColumn[],
    rows: RecordedRows,
    rendering: Rendering = {},
  ) {
    this.size = size;
    this.rendering = rendering;
    const crop = columns.find(({ name }) => name === 'crop');
    this.#shares = crop?.dtype === 'F32';
    this.#samples = (crop?.rowBytes ?? 0) / (this.#shares ? 16 : 8);
    this.#rows = rows;
  }

  cropOf(_epoch: number, sample: number, [height, width]: readonly [number, number]): Box {
    const values = this.#four('crop', sample, this.#shares);
    const box = this.#shares ? cropInPixels(values, height, width) : values;
    const [top, left, h, w] = box;
    const valid = h > 0 && w > 0 && top >= 0 && left >= 0 && top + h <= height && left + w <= width;
    return valid ? box : fail('crop', sample, `inside ${height} x ${width}`, values);
  }

  flip(_epoch: number, sample: number): 0 | 1 {
    const flip = this.#rows.flip?.[sample] ?? 0;
    return flip === 0 || flip === 1 ? flip : fail('flip', sample, '0 or 1', flip);
  }

  mix(_epoch: number, sample: number): Mix {
    const none = { partner: sample, box: [0, 0, 0, 0], weight: 1 } as const;
    const { partner: partners, box: boxes, weight: weights } = this.#rows;
    if (partners === undefined) return none;
    const partner = view(partners).getUint32(4 * sample, true);
    if (partner >= this.#samples) fail('partner', sample, `< ${this.#samples}`, partner);
    const box = boxes === undefined ? none.box : this.#four('box', sample, false);
    const [height, width] = this.size;
    const inside = box[0] + box[2] <= height && box[1] + box[3] <= width;
    if (!inside) fail('box', sample, `inside ${height} x ${width}`, box);
    const weight = weights === undefined ? 1 : view(weights).getFloat32(4 * sample, true);
    if (!(weight >= 0 && weight <= 1)) fail('weight', sample, 'in [0, 1]', weight);
    if (box[2] > 0 && box[3] > 0) return { partner, box, weight: 1 };
    return weight < 1 ? { partner, box: none.box, weight } : none;
  }

  #four(name: 'crop' | 'box', sample: number, floats: boolean): Box {
    const row = view(this.#rows[name] ?? new Uint8Array());
    const at = (i: number) =>
      floats ? row.getFloat32(16 * sample + 4 * i, true) : row.getUint16(8 * sample + 2 * i, true);
    return [at(0), at(1), at(2), at(3)];
  }
}

/** A crop of shares in whole pixels, moved inside where rounding led out of the image; of height 0 if it is no crop. */
export function cropInPixels([top, left, height, width]: Box, rows: number, columns: number): Box {
  const [h, w] = [Math.round(height * rows), Math.round(width * columns)];
  const start = (share: number, side: number, length: number) =>
    Math.max(0, Math.min(Math.round(share * side), side - length));
  const outside = ![top, left, height, width].every((share) => share >= 0 && share <= 1);
  if (outside) return [-1, -1, 0, 0];
  return [start(top, rows, h), start(left, columns, w), Math.max(1, h), Math.max(1, w)];
}

function view(row: Uint8Array): DataView {
  return new DataView(row.buffer, row.byteOffset, row.byteLength);
}

function fail(column: string, sample: number, expected: string, found: unknown): never {
  throw new SoftpackError('INVALID_FILE', 'not a valid record of a view', {
    field: `column ${column}: sample ${sample}`,
    expected,
    found,
  });
}
