import { readTensorFile, type StoredTensor, writeTensorFile } from '../container/tensor-file.js';
import { float16ToFloat32, float32ToFloat16 } from '../core/half.js';
import { SoftpackError } from '../errors.js';
import { ConvNet, type ConvNetConfig } from './convnet.js';

const CONFIG_KEY = 'convnet';

/**
 * Writes a network as one safetensors file of float16 weights: half the bytes of float32, each weight within
 * 2^-11 of itself. The network's configuration is in the metadata, as JSON, beside the caller's.
 */
export async function saveConvNet(
  model: ConvNet,
  path: string,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { shape, values }] of await model.parameters()) {
    const halves = new Uint16Array(values.length);
    float32ToFloat16(values, halves);
    tensors.set(name, { dtype: 'F16', shape, data: new Uint8Array(halves.buffer) });
  }
  await writeTensorFile(path, tensors, { ...metadata, [CONFIG_KEY]: JSON.stringify(model.config) });
}

export interface LoadedConvNet {
  /** Belongs to the caller, who disposes of it. */
  readonly model: ConvNet;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Reads what `saveConvNet` wrote, for whichever backend is selected; `INVALID_FILE` for anything else. */
export async function loadConvNet(path: string): Promise<LoadedConvNet> {
  const { tensors, metadata } = await readTensorFile(path);
  const config = parseConfig(path, metadata.get(CONFIG_KEY), tensors.size);
  const parameters = new Map<string, Float32Array>();
  for (const [name, { dtype, data }] of tensors) {
    if (dtype !== 'F16') throw invalid(`${path}: ${name}`, 'F16', dtype);
    const halves = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
    const values = new Float32Array(halves.length);
    float16ToFloat32(halves, values);
    parameters.set(name, values);
  }
  return { model: ConvNet.fromParameters(config, parameters), metadata };
}

/** A configuration with no more stages and blocks than the file has tensors: each of them has several. */
function parseConfig(path: string, json: string | undefined, tensors: number): ConvNetConfig {
  const field = `${path}: __metadata__.${CONFIG_KEY}`;
  if (json === undefined) throw invalid(field, "a network's configuration", 'nothing');
  try {
    const { inputSize, widths, blocks, classes } = JSON.parse(json);
    const counts = [widths, blocks].every(
      (list) => Array.isArray(list) && list.length <= tensors && list.every(isCount),
    );
    if (counts && isCount(inputSize) && isCount(classes)) {
      const total = blocks.reduce((sum: number, n: number) => sum + n, 0);
      if (total <= tensors) return { inputSize, widths, blocks, classes };
    }
  } catch {
    // Not JSON: falls through to the same error as JSON of another kind.
  }
  throw invalid(field, "a network's configuration", json);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function invalid(field: string, expected: string, found: string): SoftpackError {
  return new SoftpackError('INVALID_FILE', 'not a saved network', { field, expected, found });
}
