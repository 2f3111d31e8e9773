import type * as ort from 'onnxruntime-node';
import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';

/** Types of images that a network may take. `uint8` are the pixels themselves. */
export const INPUT_TYPES = ['float32', 'float16', 'float64', 'uint8'] as const;
/** Types of labels that a network may give. `uint8` are probabilities times 255. */
export const OUTPUT_TYPES = ['float32', 'float16', 'float64', 'uint8'] as const;

export type InputType = (typeof INPUT_TYPES)[number];

/** Images as the tensor that a network takes. */
export function inputTensor(
  runtime: typeof ort,
  type: InputType,
  images: Float32Array,
  axes: readonly number[],
): ort.Tensor {
  if (type === 'float16') {
    const halves = new Uint16Array(images.length);
    float32ToFloat16(images, halves);
    return new runtime.Tensor('float16', halves, axes);
  }
  if (type === 'float64') return new runtime.Tensor('float64', Float64Array.from(images), axes);
  if (type === 'uint8') {
    // Views are resampled: values lie between those of pixels, and by rounding slightly outside of their range.
    const pixels = Uint8ClampedArray.from(images);
    return new runtime.Tensor('uint8', new Uint8Array(pixels.buffer), axes);
  }
  return new runtime.Tensor('float32', images, axes);
}

/** Values of an output as float32. */
export async function outputValues(tensor: ort.Tensor): Promise<Float32Array> {
  const data = await tensor.getData();
  // By name: test runners give arrays of another realm, which are not `instanceof` this one's.
  const kind = Object.prototype.toString.call(data).slice(8, -1);
  if (kind === 'Float32Array') return data as Float32Array;
  if (tensor.type === 'float16' && kind === 'Uint16Array') {
    const values = new Float32Array(data.length);
    float16ToFloat32(data as Uint16Array, values);
    return values;
  }
  // Including Float16Array of newer Node.js versions.
  return Float32Array.from(data as unknown as ArrayLike<number>);
}
