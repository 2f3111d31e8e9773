import { dirname, resolve, sep } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { requireMemory } from '../../core/allocate.js';
import { FieldChecker } from '../../core/check.js';
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from '../../core/json.js';
import { invalidFile } from '../../errors.js';
import { readLocalFile, regularFileSize } from '../../store/local.js';
import { filesSha256 } from './fingerprint.js';

const DTYPE_BYTES: Readonly<Record<string, number>> = {
  ...{ float32: 4, int32: 4, complex64: 8, bool: 1, uint8: 1, uint16: 2, float16: 2 },
};

/** The files of a TensorFlow.js model: `model.json` and the weights that it names. */
export interface TfjsFiles {
  readonly kind: 'tfjs-layers' | 'tfjs-graph';
  readonly handler: tf.io.IOHandler;
  readonly artifacts: tf.io.ModelArtifacts;
  /** Elements of all weights together. */
  readonly weights: number;
  readonly sha256: string;
}

/** Topologies take less; weights are in files of their own. */
const MAX_MODEL_JSON = 256 * 2 ** 20;

/** Reads a model whole from its folder; TensorFlow.js alone would fetch it by URL. */
export async function readTfjsFiles(modelJson: string): Promise<TfjsFiles> {
  const json = parseJson(modelJson, 'content', await readLocalFile(modelJson, MAX_MODEL_JSON));
  if (!isJsonObject(json)) throw invalidFile(modelJson, 'content', 'not an object', {});
  const kind = kindOf(modelJson, json);
  const folder = dirname(modelJson);
  const paths = weightPaths(modelJson, json);
  const model = json as unknown as tf.io.ModelJSON;
  const artifacts = await tf.io.getModelArtifactsForJSON(model, async (manifest) => {
    const specs = tf.io.getWeightSpecs(manifest);
    return [specs, await readWeights(modelJson, specs, paths)];
  });
  const sha256 = await filesSha256(folder, [modelJson.slice(folder.length + 1), ...paths]);
  const { weightSpecs = [] } = artifacts;
  const weights = weightSpecs.reduce((sum, { shape }) => sum + elements(shape), 0);
  return { kind, handler: { load: async () => artifacts }, artifacts, weights, sha256 };
}

function kindOf(file: string, { format, modelTopology }: JsonObject): TfjsFiles['kind'] {
  const topology = isJsonObject(modelTopology ?? null) ? (modelTopology as JsonObject) : {};
  if (format === 'graph-model' || (format === undefined && 'node' in topology)) return 'tfjs-graph';
  if (format === 'layers-model' || (format === undefined && 'model_config' in topology)) {
    return 'tfjs-layers';
  }
  throw invalidFile(file, 'format', 'not a TensorFlow.js model', {
    expected: 'layers-model or graph-model',
    found: format ?? 'nothing',
  });
}

function weightPaths(file: string, json: JsonObject): readonly string[] {
  const check = new FieldChecker(file, 'INVALID_FILE');
  return check.list(json.weightsManifest, 'weightsManifest').flatMap((group, i) => {
    const field = `weightsManifest[${i}]`;
    const { paths, weights } = check.object(group, field);
    for (const [j, weight] of check.list(weights, `${field}.weights`).entries()) {
      const at = `${field}.weights[${j}]`;
      const { shape, dtype, quantization } = check.object(weight, at);
      check.oneOf(dtype, `${at}.dtype`, [...Object.keys(DTYPE_BYTES), 'string']);
      if (quantization !== undefined) {
        const { dtype: stored } = check.object(quantization, `${at}.quantization`);
        check.oneOf(stored, `${at}.quantization.dtype`, ['uint8', 'uint16', 'float16']);
      }
      for (const axis of check.list(shape, `${field}.weights[${j}].shape`)) {
        check.count(axis, `${field}.weights[${j}].shape`, 0);
      }
    }
    return check
      .list(paths, `${field}.paths`)
      .map(
        (path) =>
          check.that(isInside(dirname(file), path), path, `${field}.paths`, INSIDE) as string,
      );
  });
}

const INSIDE = "a path below the model's folder";

/** Whether a path leads to a file below the folder; backslashes and control characters are in no model's names. */
function isInside(folder: string, path: JsonValue): boolean {
  if (typeof path !== 'string' || path.includes('\\') || /\p{Cc}/u.test(path)) return false;
  return resolve(folder, path).startsWith(resolve(folder) + sep) && !path.startsWith(sep);
}

/** All weight files joined, after a check that their sizes are those of the specifications. */
async function readWeights(
  modelJson: string,
  specs: readonly tf.io.WeightsManifestEntry[],
  paths: readonly string[],
): Promise<ArrayBuffer> {
  const files = paths.map((name) => resolve(dirname(modelJson), name));
  const sizes = await Promise.all(files.map(regularFileSize));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  requireBytes(modelJson, specs, total);
  requireMemory(total, modelJson);
  const weights = new Uint8Array(total);
  let at = 0;
  for (const [i, file] of files.entries()) {
    weights.set(await readLocalFile(file, sizes[i]), at);
    at += sizes[i];
  }
  return weights.buffer;
}

/** TensorFlow.js would read past the end of short weights and ignore excess bytes. */
function requireBytes(
  file: string,
  specs: readonly tf.io.WeightsManifestEntry[],
  found: number,
): void {
  let expected = 0;
  let strings = false;
  for (const { shape, dtype, quantization } of specs) {
    const width = DTYPE_BYTES[quantization?.dtype ?? dtype];
    // The lengths of strings are in the data: 4 bytes each.
    strings ||= width === undefined;
    expected += (width ?? 4) * elements(shape);
  }
  if (found === expected || (strings && found > expected)) return;
  throw invalidFile(file, 'weightsManifest', 'wrong size of the weights', { expected, found });
}

function elements(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}
