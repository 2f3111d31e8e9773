import * as tf from '@tensorflow/tfjs';

export interface KernelArgs<Inputs, Attributes> {
  readonly inputs: Inputs;
  readonly attrs: Attributes;
}

/**
 * Replaces or adds a kernel of the wasm backend by one made of other TensorFlow.js operations.
 *
 * `compute` runs in a tidy and off the gradient tape. `original` calls the kernel that was there before.
 */
export function repairKernel<Inputs, Attributes>(
  kernelName: string,
  compute: (
    args: KernelArgs<Inputs, Attributes>,
    original: (inputs: Inputs, attrs: Attributes) => tf.Tensor,
  ) => tf.Tensor,
): void {
  const previous = tf.getKernel(kernelName, 'wasm');
  if (previous !== undefined && previous !== null) tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({
    ...previous,
    kernelName,
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs, backend }) =>
      tf.tidy(() =>
        compute(
          { inputs: inputs as Inputs, attrs: attrs as unknown as Attributes },
          (otherInputs, otherAttrs) =>
            asTensor(
              previous.kernelFunc({
                inputs: otherInputs as tf.NamedTensorInfoMap,
                attrs: otherAttrs as unknown as tf.NamedAttrMap,
                backend,
              }) as tf.TensorInfo,
            ),
        ),
      ),
  });
}

/** Registers a raw kernel's result with the engine, which counts and frees it. */
function asTensor({ dataId, shape, dtype }: tf.TensorInfo): tf.Tensor {
  return tf.engine().makeTensorFromDataId(dataId, shape, dtype);
}
