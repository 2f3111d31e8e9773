import { numbersOf } from '../../container/torch/numbers.js';
import type { TorchFile } from '../../container/torch/torch-file.js';
import { describeValue, type PickleValue, TorchTensor } from '../../container/torch/values.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import type { LabelView } from '../epoch-row.js';
import { areShares, halvesOf, requireFinite, scatter } from './label-values.js';

/** Labels of one batch: views are per label, mixing per batch. */
export interface LabelBatch {
  readonly count: number;
  readonly classes: number;
  /** [count, classes], half floats. */
  readonly halves: Uint16Array;
  /** Views, if they were asked for; partners are positions in the batch. */
  readonly views?: readonly LabelView[];
  readonly mix: 'none' | 'cutmix' | 'mixup';
  /** Stored values are from 0 to 1 and add up to 1 at most; `false` if nobody asked. */
  readonly shares: boolean;
  /** Labels were wider than half floats. */
  readonly rounded: boolean;
}

export interface BatchOptions {
  /** Height and width of the views, pixels: boxes lie inside. */
  readonly size: readonly [number, number];
  /** Without views, those that cannot be replayed are no reason to refuse a file. */
  readonly views: boolean;
  /** Number of classes, where files keep the top ones only. */
  readonly classes?: number;
  /** Half float of the classes that are not among the top ones. */
  readonly rest: number;
  /** Look whether labels could be probabilities. */
  readonly shares: boolean;
}

const ITEMS = 'coords, flip, [rand_params,] mix_index, mix_lam, mix_bbox, logits[, classes]';

/** Reads one batch as SRe2L, CDA, LPLD, LPQLD and HALD keep it. */
export async function readBatch(
  file: TorchFile,
  root: PickleValue,
  options: BatchOptions,
): Promise<LabelBatch> {
  const items = Array.isArray(root) ? (root as readonly PickleValue[]) : [];
  if (items.length < 6 || items.length > 8) {
    throw invalidFile(file.name, 'content', 'not a batch of labels', {
      expected: `a list of 6 to 8: ${ITEMS}`,
      found: describeValue(root),
    });
  }
  const augmented = Array.isArray(items[2]);
  if (augmented && options.views) throw unsupported(file.name, 'RandAugment', 'rand_params');
  const [coords, flip] = items;
  const [partners, lambda, box, values, ids] = items.slice(augmented ? 3 : 2);
  const labels = await readLabels(file, values, ids, options);
  if (!options.views) return { ...labels, mix: 'none' };
  const { count } = labels;
  const mixing = await readMix(file, { partners, lambda, box }, count, options.size);
  const crops = await floatsOf(file, 'coords', coords, [count, 4], ['F16', 'F32', 'F64']);
  requireCrops(file.name, crops);
  if (flip instanceof TorchTensor && flip.shape.length === 2 && flip.shape[1] === 7) {
    throw unsupported(file.name, 'cutout', 'cutout');
  }
  const flips = await floatsOf(file, 'flip', flip, [count], ['BOOL']);
  const views = Array.from({ length: count }, (_, i) => ({
    crop: crops.subarray(4 * i, 4 * i + 4),
    flip: flips[i] !== 0,
    partner: mixing.partners?.[i],
    box: mixing.box,
    weight: mixing.weight,
  }));
  return { ...labels, views, mix: mixing.kind };
}

function unsupported(file: string, what: string, field: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', `views with ${what} cannot be replayed`, {
    field: `${file}: ${field}`,
    expected: 'crops, flips, CutMix and mixup; or import labels without their views',
    found: what,
  });
}

async function readLabels(
  file: TorchFile,
  values: PickleValue,
  ids: PickleValue | undefined,
  { classes: allClasses, rest, shares: look }: BatchOptions,
): Promise<Omit<LabelBatch, 'views' | 'mix'>> {
  if (!(values instanceof TorchTensor) || values.shape.length !== 2 || values.shape.includes(0)) {
    throw invalidFile(file.name, 'logits', 'not the labels of a batch', {
      expected: 'a tensor [labels, classes]',
      found: describeValue(values),
    });
  }
  const [count, width] = values.shape;
  const floats = ['F16', 'BF16', 'F32', 'F64'].includes(values.dtype);
  if (!floats) {
    const details = { expected: 'floats', found: values.dtype };
    throw invalidFile(file.name, 'logits', 'labels are not numbers with a fraction', details);
  }
  const top = halvesOf(values.dtype, await file.read(values));
  requireFinite(file.name, 'logits', top, width);
  const facts = {
    shares: look && areShares(top, width),
    rounded: values.dtype !== 'F16',
  };
  if (ids === undefined) return { count, classes: width, halves: top, ...facts };
  if (allClasses === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'files keep top classes only: say how many exist', {
      field: 'classes',
      expected: 'the number of classes',
    });
  }
  const classes = await floatsOf(file, 'classes', ids, [count, width], ['I16', 'I32', 'I64']);
  const halves = new Uint16Array(count * allClasses).fill(rest);
  for (let i = 0; i < count; i++) {
    const range = [i * width, (i + 1) * width] as const;
    const out = halves.subarray(i * allClasses, (i + 1) * allClasses);
    const where = { file: file.name, field: `classes, label ${i}` };
    scatter(classes.subarray(...range), top.subarray(...range), out, where);
  }
  return { count, classes: allClasses, halves, ...facts };
}

interface MixItems {
  readonly partners: PickleValue;
  readonly lambda: PickleValue;
  readonly box: PickleValue;
}

interface Mixing {
  readonly kind: LabelBatch['mix'];
  readonly partners?: Float64Array;
  readonly box?: readonly [number, number, number, number];
  readonly weight?: number;
}

async function readMix(
  file: TorchFile,
  { partners: index, lambda, box }: MixItems,
  count: number,
  size: readonly [number, number],
): Promise<Mixing> {
  if (index === null && box === null) return { kind: 'none' };
  const integers = ['I64', 'I32', 'U8'] as const;
  const partners = await floatsOf(file, 'mix_index', index, [count], integers);
  const outside = partners.findIndex((p) => p < 0 || p >= count);
  if (outside >= 0) {
    throw invalidFile(file.name, `mix_index[${outside}]`, 'partner outside of the batch', {
      expected: `0 to ${count - 1}`,
      found: partners[outside],
    });
  }
  if (box !== null) return { kind: 'cutmix', partners, box: await readBox(file, box, size) };
  if (typeof lambda !== 'number' || !(lambda >= 0 && lambda <= 1)) {
    throw invalidFile(file.name, 'mix_lam', 'not a share', {
      expected: 'a number from 0 to 1',
      found: describeValue(lambda),
    });
  }
  return { kind: 'mixup', partners, weight: Math.fround(lambda) };
}

/** Their b0 and b2 are rows, b1 and b3 columns, whatever their code calls them; the ends are exclusive. */
async function readBox(
  file: TorchFile,
  value: PickleValue,
  [height, width]: readonly [number, number],
): Promise<readonly [number, number, number, number]> {
  const items = Array.isArray(value) && value.length === 4 ? (value as PickleValue[]) : [];
  const edges: number[] = [];
  for (const item of items) {
    if (typeof item === 'number') edges.push(item);
    else edges.push(...(await floatsOf(file, 'mix_bbox', item, [], ['U8', 'I64', 'I32', 'I16'])));
  }
  const narrow = items.some((item) => item instanceof TorchTensor && item.dtype === 'U8');
  if (narrow && Math.max(height, width) > 255) {
    throw invalidFile(file.name, 'mix_bbox', 'boxes in 8 bits cannot reach the edge of the view', {
      expected: 'views of at most 255 pixels; check the size option',
      found: `${height} x ${width}`,
    });
  }
  const [top = -1, left = -1, bottom = -1, right = -1] = edges;
  const whole = edges.length === 4 && edges.every(Number.isInteger);
  const ordered = 0 <= top && top <= bottom && 0 <= left && left <= right;
  if (whole && ordered && bottom <= height && right <= width) {
    return [top, left, bottom - top, right - left];
  }
  throw invalidFile(file.name, 'mix_bbox', 'box outside of the view', {
    expected: `row, column, end row, end column inside ${height} x ${width}; check the size option`,
    found: edges.length === 4 ? edges.join(', ') : describeValue(value),
  });
}

function requireCrops(file: string, crops: Float64Array): void {
  for (let i = 0; i < crops.length; i += 4) {
    const [top, left, height, width] = crops.subarray(i, i + 4);
    // Half floats round each share by up to 2^-11 of it.
    const inside = (start: number, length: number) =>
      start >= 0 && length > 0 && length <= 1 && start + length <= 1.002;
    if (inside(top, height) && inside(left, width)) continue;
    throw invalidFile(file, `coords[${i / 4}]`, 'crop outside of the image', {
      expected: 'top, left, height, width as shares of the image',
      found: [top, left, height, width].join(', '),
    });
  }
}

/** Numbers of a tensor with this shape and one of these types. */
async function floatsOf(
  file: TorchFile,
  field: string,
  value: PickleValue | undefined,
  shape: readonly number[],
  dtypes: readonly string[],
): Promise<Float64Array> {
  const fits =
    value instanceof TorchTensor &&
    dtypes.includes(value.dtype) &&
    String(value.shape) === String(shape);
  if (fits) return numbersOf(value.dtype, await file.read(value));
  throw invalidFile(file.name, field, 'not the expected tensor', {
    expected: `${dtypes.join(' or ')} [${shape}]`,
    found: describeValue(value),
  });
}
