import { existsSync } from 'node:fs';
import {
  readTensorFile,
  type StoredTensor,
  type TensorFile,
  writeTensorFile,
} from '../../container/tensor-file.js';
import { canonicalJson, isJsonObject, type JsonObject, parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import type { NormStatistics } from '../../nn/network.js';
import { requireSame } from '../job-records.js';
import type { TapShape } from './features.js';
import type { Moments } from './moments.js';

const KIND_KEY = 'kind';
const KIND = 'softpack feature statistics 1';
const REQUEST_KEY = 'request';
const TAPS_KEY = 'taps';

/** Statistics of each tap over all images, and over those of each class if they were asked for. */
export interface FeatureStatistics {
  readonly taps: readonly string[];
  readonly overall: readonly NormStatistics[];
  readonly perClass?: {
    /** Views of each class that were seen. */
    readonly views: Uint32Array;
    /** Of each tap, [classes, channels]; zeros for classes without views. */
    readonly ofTap: readonly NormStatistics[];
  };
}

/** Moments over the channels of all taps, of all images or of each class. */
export interface PooledMoments {
  readonly overall: Moments;
  /** By class. */
  readonly classes?: readonly Moments[];
}

/** Writes statistics as float32, one tensor per tap and kind. */
export async function writeStatistics(
  path: string,
  request: JsonObject,
  taps: readonly TapShape[],
  { overall, classes }: PooledMoments,
): Promise<void> {
  const tensors = new Map<string, StoredTensor>();
  const variance = overall.variance();
  let at = 0;
  for (const { name, channels } of taps) {
    const [from, to] = [at, at + channels];
    at = to;
    tensors.set(`${name}.mean`, float32([channels], overall.mean.subarray(from, to)));
    tensors.set(`${name}.variance`, float32([channels], variance.subarray(from, to)));
    if (classes === undefined) continue;
    const shape = [classes.length, channels];
    const [means, variances] = [0, 1].map(() => new Float32Array(classes.length * channels));
    for (const [k, moments] of classes.entries()) {
      if (moments.count === 0) continue;
      means.set(moments.mean.subarray(from, to), k * channels);
      const squares = moments.squares.subarray(from, to);
      variances.set(
        squares.map((sum) => sum / moments.count),
        k * channels,
      );
    }
    tensors.set(`${name}.class_mean`, float32(shape, means));
    tensors.set(`${name}.class_variance`, float32(shape, variances));
  }
  if (classes !== undefined) {
    const views = Uint32Array.from(classes, ({ count }) => count);
    const data = new Uint8Array(views.buffer);
    tensors.set('class_views', { dtype: 'U32', shape: [classes.length], data });
  }
  await writeTensorFile(path, tensors, {
    [KIND_KEY]: KIND,
    [REQUEST_KEY]: JSON.stringify(canonicalJson(request, 'request')),
    [TAPS_KEY]: JSON.stringify(taps.map(({ name }) => name)),
  });
}

function float32(shape: readonly number[], values: Float64Array | Float32Array): StoredTensor {
  const data = new Uint8Array(Float32Array.from(values).buffer);
  return { dtype: 'F32', shape, data };
}

/** Whether the file is there; `ALREADY_EXISTS` naming the first difference if it was asked for otherwise. */
export async function isFinished(path: string, request: JsonObject): Promise<boolean> {
  if (!existsSync(path)) return false;
  const found = requestOf(path, await readTensorFile(path));
  requireSame(path, found, canonicalJson(request, 'request') as JsonObject);
  return true;
}

/**
 * Reads what `writeStatistics` wrote, for a teacher with these taps.
 *
 * @throws `INVALID_FILE` for anything else, `INVALID_ARGUMENT` for statistics of another teacher.
 */
export async function readStatistics(
  path: string,
  teacher: object,
  taps: readonly TapShape[],
  classes: number,
): Promise<FeatureStatistics> {
  const file = await readTensorFile(path);
  const asked = JSON.stringify(canonicalJson(teacher, 'teacher'));
  const found = JSON.stringify(requestOf(path, file).teacher ?? null);
  if (asked !== found) {
    throw new SoftpackError('INVALID_ARGUMENT', 'statistics of another teacher', {
      ...{ field: `statistics: ${path}`, expected: asked, found },
    });
  }
  const names = taps.map(({ name }) => name);
  const read = (kind: string, shapeOf: (tap: TapShape) => readonly number[]) =>
    taps.map((tap): NormStatistics => {
      const part = (of: string) => floats(path, file, `${tap.name}.${kind}${of}`, shapeOf(tap));
      return { mean: part('mean'), variance: part('variance') };
    });
  const overall = read('', ({ channels }) => [channels]);
  const views = file.tensors.get('class_views');
  if (views === undefined) return { taps: names, overall };
  requireForm(path, 'class_views', views, 'U32', [classes]);
  const { buffer, byteOffset } = views.data;
  return {
    taps: names,
    overall,
    perClass: {
      views: new Uint32Array(buffer, byteOffset, classes),
      ofTap: read('class_', ({ channels }) => [classes, channels]),
    },
  };
}

function requestOf(path: string, { metadata }: TensorFile): JsonObject {
  const kind = metadata.get(KIND_KEY);
  if (kind !== KIND) {
    const details = { expected: KIND, found: kind ?? 'nothing' };
    throw invalidFile(path, `__metadata__.${KIND_KEY}`, 'not a file of statistics', details);
  }
  const field = `__metadata__.${REQUEST_KEY}`;
  const json = parseJson(path, field, Buffer.from(metadata.get(REQUEST_KEY) ?? ''));
  if (isJsonObject(json)) return json;
  throw invalidFile(path, field, 'not a file of statistics', { expected: 'an object' });
}

function floats(
  path: string,
  { tensors }: TensorFile,
  name: string,
  shape: readonly number[],
): Float32Array {
  const tensor = tensors.get(name);
  requireForm(path, name, tensor, 'F32', shape);
  const { buffer, byteOffset, byteLength } = tensor?.data ?? new Uint8Array();
  const values = new Float32Array(buffer, byteOffset, byteLength / 4);
  const variance = name.endsWith('variance');
  const bad = values.find((value) => !Number.isFinite(value) || (variance && value < 0));
  if (bad === undefined) return values;
  const expected = variance ? 'finite values from 0 on' : 'finite values';
  throw invalidFile(path, name, 'not statistics', { expected, found: bad });
}

function requireForm(
  path: string,
  name: string,
  tensor: StoredTensor | undefined,
  dtype: string,
  shape: readonly number[],
): void {
  if (tensor?.dtype === dtype && String(tensor.shape) === String(shape)) return;
  throw invalidFile(path, name, 'not the statistics of this teacher', {
    expected: `${dtype} [${shape}]`,
    found: tensor === undefined ? 'no such tensor' : `${tensor.dtype} [${tensor.shape}]`,
  });
}
