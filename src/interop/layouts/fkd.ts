import { join } from 'node:path';
import { numbersOf } from '../../container/torch/numbers.js';
import { openTorchFile } from '../../container/torch/open.js';
import type { TorchFile } from '../../container/torch/torch-file.js';
import {
  describeValue,
  NumpyArray,
  type PickleValue,
  TorchTensor,
} from '../../container/torch/values.js';
import { float32ToFloat16 } from '../../core/half.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import type { LabelSet } from './label-set.js';
import { fillProbabilities, type Rest } from './label-values.js';

export interface FkdOptions {
  /** Paths of the images below their folder, by sample id. */
  readonly images: readonly string[];
  readonly classes: number;
  readonly rest: Rest;
}

/** Largest class count whose ids half floats can hold: 2,049 would become 2,048. */
const HALF_IDS = 2048;

type Numbers = TorchTensor | NumpyArray;

/** Name of an image's label file: up to the first dot, as FKD cuts it. */
export function fkdFileOf(image: string): string {
  const slash = image.lastIndexOf('/') + 1;
  const dot = image.indexOf('.', slash);
  return `${dot < 0 ? image : image.slice(0, dot)}.tar`;
}

/** FKD and FerKD: one file an image with the labels of n crops; crop k of every image becomes epoch k. */
export async function fkdLabels(folder: string, options: FkdOptions): Promise<LabelSet> {
  const { images, classes, rest } = options;
  const pathOf = (sample: number) => join(folder, fkdFileOf(images[sample]));
  requireDistinct(folder, images);
  const first = await openCrops(pathOf(0), classes);
  const rounded = first.dtype === 'F16' ? [] : ['probabilities were rounded to float16'];
  return {
    classes,
    epochs: first.count,
    kind: { store: 'probabilities', tau: 1 },
    kinds: { views: { crop: 'shares', flip: true, mix: 'none' } },
    origin: { rest },
    notes: rounded,
    async read(epoch, rows, signal) {
      const values = new Float32Array(classes);
      const halves = new Uint16Array(classes);
      for (let sample = 0; sample < images.length; sample++) {
        throwIfAborted(signal);
        const crops = await openCrops(pathOf(sample), classes);
        requireCrops(crops, first.count);
        for (const [i, row] of rows.entries()) {
          const k = epoch + i;
          crops.fill(k, rest, values);
          float32ToFloat16(values, halves);
          row.put(sample, halves, {
            view: { crop: crops.coords.subarray(4 * k, 4 * k + 4), flip: crops.flips[k] !== 0 },
          });
        }
      }
    },
  };
}

interface Crops {
  readonly path: string;
  readonly count: number;
  readonly dtype: string;
  readonly coords: Float64Array;
  readonly flips: Float64Array;
  fill(crop: number, rest: Rest, out: Float32Array): void;
}

function requireCrops({ path, count }: Crops, expected: number): void {
  if (count === expected) return;
  throw invalidFile(path, 'labels', 'another number of crops than the first image has', {
    expected,
    found: count,
  });
}

/** Two images whose names differ only after the first dot have one label file. */
export function requireDistinct(folder: string, images: readonly string[]): void {
  const names = new Map<string, string>();
  for (const image of images) {
    const name = fkdFileOf(image);
    const other = names.get(name);
    if (other !== undefined) {
      throw new SoftpackError('INVALID_FILE', 'two images share a label file', {
        field: join(folder, name),
        expected: 'names that differ before the first dot',
        found: `${other} and ${image}`,
      });
    }
    names.set(name, image);
  }
}

async function openCrops(path: string, classes: number): Promise<Crops> {
  await using file = await openTorchFile(path);
  const items = Array.isArray(file.root) ? (file.root as readonly PickleValue[]) : [];
  if (items.length !== 3) {
    throw invalidFile(path, 'content', 'not the labels of an image', {
      expected: 'a list of coords, flip, labels',
      found: describeValue(file.root),
    });
  }
  const labels = numbersLike(items[2]);
  const count = labels?.shape[0] ?? 0;
  const shape = labels?.shape.slice(1) ?? [];
  const width = shape.length === 2 && shape[0] === 2 ? shape[1] : 1;
  const known =
    shape.length === 0 ||
    (shape.length === 1 && shape[0] === 2) ||
    (shape.length === 2 && shape[0] === 2);
  if (labels === undefined || count === 0 || !known || width === 0 || width > classes) {
    throw invalidFile(path, 'labels', 'unknown form of labels', {
      expected: `[crops], [crops, 2] or [crops, 2, k <= ${classes}]`,
      found: describeValue(items[2]),
    });
  }
  if (labels.dtype === 'F16' && classes > HALF_IDS) {
    throw invalidFile(path, 'labels', 'half floats cannot hold these class ids', {
      expected: `at most ${HALF_IDS} classes, or labels in float32`,
      found: `${classes} classes`,
    });
  }
  const coords = await numbersIn(file, 'coords', items[0], [count, 4]);
  requireShares(path, coords);
  const flips = await numbersIn(file, 'flip', items[1], [count]);
  const values = numbersOf(labels.dtype, await file.read(labels));
  return {
    path,
    count,
    dtype: shape.length === 0 ? 'F16' : labels.dtype,
    coords,
    flips,
    fill(crop, rest, out) {
      const where = { file: path, field: `labels[${crop}]` };
      if (shape.length === 0) {
        fillProbabilities({ classes: [values[crop]], values: [1] }, 'zero', out, where);
        return;
      }
      const own = values.subarray(2 * width * crop, 2 * width * (crop + 1));
      const top = { classes: own.subarray(0, width), values: own.subarray(width) };
      fillProbabilities(top, rest, out, where);
    },
  };
}

function numbersLike(value: PickleValue): Numbers | undefined {
  return value instanceof NumpyArray || value instanceof TorchTensor ? value : undefined;
}

async function numbersIn(
  file: TorchFile,
  field: string,
  value: PickleValue,
  shape: readonly number[],
): Promise<Float64Array> {
  const numbers = numbersLike(value);
  if (numbers !== undefined && String(numbers.shape) === String(shape)) {
    return numbersOf(numbers.dtype, await file.read(numbers));
  }
  throw invalidFile(file.name, field, 'not the expected array', {
    expected: `[${shape}]`,
    found: describeValue(value),
  });
}

function requireShares(path: string, coords: Float64Array): void {
  const wrong = coords.findIndex((share) => !(share >= 0 && share <= 1));
  if (wrong < 0) return;
  throw invalidFile(path, `coords[${Math.floor(wrong / 4)}]`, 'crop outside of the image', {
    expected: 'top, left, height, width as shares of the image',
    found: coords[wrong],
  });
}
