import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { FieldChecker } from '../../core/check.js';
import { isJsonObject, type JsonObject, parseJson } from '../../core/json.js';
import { invalidFile } from '../../errors.js';
import { fileError } from '../../store/file-error.js';
import { filesSha256 } from './fingerprint.js';

/** The files of a TensorFlow.js model: `model.json` and the weights that it names. */
export interface TfjsFiles {
  readonly kind: 'tfjs-layers' | 'tfjs-graph';
  readonly handler: tf.io.IOHandler;
  readonly artifacts: tf.io.ModelArtifacts;
  readonly sha256: string;
}

/** No way out of the model's folder. */
const WEIGHT_FILE = /^(?!\/)(?!.*(^|[/\\])\.\.([/\\]|$))[^\\:]+$/;

/** Reads a model whole from its folder; TensorFlow.js alone would fetch it by URL. */
export async function readTfjsFiles(modelJson: string): Promise<TfjsFiles> {
  const bytes = await readFile(modelJson).catch((cause: unknown) => {
    throw fileError(modelJson, cause);
  });
  const json = parseJson(modelJson, 'content', bytes);
  if (!isJsonObject(json)) throw invalidFile(modelJson, 'content', 'not an object', {});
  const kind = kindOf(modelJson, json);
  const folder = dirname(modelJson);
  const paths = weightPaths(modelJson, json);
  const model = json as unknown as tf.io.ModelJSON;
  const artifacts = await tf.io.getModelArtifactsForJSON(model, async (manifest) => {
    const files = await Promise.all(paths.map((name) => readWeights(join(folder, name))));
    const weights = Buffer.concat(files);
    const specs = tf.io.getWeightSpecs(manifest);
    requireBytes(modelJson, specs, weights.length);
    return [specs, new Uint8Array(weights).buffer];
  });
  const sha256 = await filesSha256(folder, [modelJson.slice(folder.length + 1), ...paths]);
  return { kind, handler: { load: async () => artifacts }, artifacts, sha256 };
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
      const { shape } = check.object(weight, `${field}.weights[${j}]`);
      for (const axis of check.list(shape, `${field}.weights[${j}].shape`)) {
        check.count(axis, `${field}.weights[${j}].shape`, 0);
      }
    }
    return check
      .list(paths, `${field}.paths`)
      .map((path) => check.text(path, `${field}.paths`, WEIGHT_FILE));
  });
}

function readWeights(path: string): Promise<Buffer> {
  return readFile(path).catch((cause: unknown) => {
    throw fileError(path, cause);
  });
}

const DTYPE_BYTES: Readonly<Record<string, number>> = {
  ...{ float32: 4, int32: 4, complex64: 8, bool: 1, uint8: 1, uint16: 2, float16: 2 },
};

/** TensorFlow.js reads past the end of short weights, or ignores a rest. */
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
    expected += (width ?? 4) * shape.reduce((size, length) => size * length, 1);
  }
  if (found === expected || (strings && found > expected)) return;
  throw invalidFile(file, 'weightsManifest', 'wrong size of the weights', { expected, found });
}
