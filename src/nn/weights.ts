import { readTensorFile, type StoredTensor, writeTensorFile } from '../container/tensor-file.js';
import { FieldChecker } from '../core/check.js';
import { float16ToFloat32, float32ToFloat16 } from '../core/half.js';
import { parseJson } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import { ConvNet, type ConvNetConfig, checkConvNetConfig } from './convnet.js';

const CONFIG_KEY = 'convnet';

/**
 * Writes a network as one safetensors file of float16 weights: half the bytes of float32, each weight within
 * 2^-11 of itself. The network's configuration is in the metadata, as JSON, next to the caller's.
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
  const field = `__metadata__.${CONFIG_KEY}`;
  const check = new FieldChecker(`${path}: ${field}`, 'INVALID_FILE', 'not a saved network');
  const text = check.text(json, 'configuration');
  const { inputSize, widths, blocks, classes } = check.object(
    parseJson(path, field, Buffer.from(text)),
    'configuration',
  );
  return checkConvNetConfig({ inputSize, widths, blocks, classes }, check, tensors);
}

function invalid(field: string, expected: string, found: string): SoftpackError {
  return new SoftpackError('INVALID_FILE', 'not a saved network', { field, expected, found });
}
