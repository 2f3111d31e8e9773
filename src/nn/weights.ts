import type { Tensor } from '../codec/codec.js';
import { SoftpackError } from '../errors.js';
import { fromHalf, toHalf } from './half.js';
import { ConvNet, type ConvNetConfig } from './models.js';
import { readTensors, writeTensors } from './safetensors.js';

const CONFIG_KEY = 'convnet';

/**
 * Writes a network as one safetensors file of float16 weights: half the bytes of float32 at a relative error of
 * 2^-11, which moves no prediction that was not a tie. The network's shape is in the metadata.
 */
export async function saveConvNet(
  model: ConvNet,
  file: string,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const tensors = new Map<string, Tensor>();
  for (const [name, { shape, values }] of await model.parameters()) {
    const half = Uint16Array.from(values, toHalf);
    tensors.set(name, { dtype: 'F16', shape, data: new Uint8Array(half.buffer) });
  }
  await writeTensors(file, tensors, { ...metadata, [CONFIG_KEY]: JSON.stringify(model.config) });
}

/** Reads what `saveConvNet` wrote, for whichever backend is selected. */
export async function loadConvNet(
  file: string,
): Promise<{ readonly model: ConvNet; readonly metadata: Readonly<Record<string, string>> }> {
  const { tensors, metadata } = await readTensors(file);
  const config = metadata[CONFIG_KEY];
  if (config === undefined) {
    throw new SoftpackError('INVALID_FILE', 'no network in this file', {
      field: `${file}: metadata`,
      expected: CONFIG_KEY,
      found: Object.keys(metadata).join(', '),
    });
  }
  const parameters = new Map<string, Float32Array>();
  for (const [name, { dtype, data }] of tensors) {
    if (dtype !== 'F16') {
      throw new SoftpackError('INVALID_FILE', 'wrong type', {
        field: `${file}: ${name}`,
        expected: 'F16',
        found: dtype,
      });
    }
    parameters.set(name, Float32Array.from(new Uint16Array(data.buffer), fromHalf));
  }
  const model = ConvNet.fromParameters(JSON.parse(config) as ConvNetConfig, parameters);
  return { model, metadata };
}
