import * as tf from '@tensorflow/tfjs';

/** Members of the wasm backend beyond those of any backend. */
interface WasmBackend {
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  /** A view of the tensor's values, until the heap grows. */
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array;
}

/**
 * The wasm kernel copies the whole input for every part that it cuts out of it: 16 ms per training step for the
 * optimiser's vector of all parameters. Here contiguous parts are copied on their own.
 */
export function repairSplitV(): void {
  const original = tf.getKernel(tf.SplitV, 'wasm');
  tf.unregisterKernel(tf.SplitV, 'wasm');
  tf.registerKernel({
    ...original,
    kernelFunc: (args) => {
      const x = args.inputs.x as tf.Tensor;
      const { axis, numOrSizeSplits } = args.attrs as unknown as tf.SplitVAttrs;
      const whole = x.shape.slice(0, axis).every((length) => length === 1);
      if (axis < 0 || !whole || x.dtype !== 'float32') return original.kernelFunc(args);
      const backend = args.backend as WasmBackend;
      const parts = tf.backend_util.prepareSplitSize(x, numOrSizeSplits, axis).map((length) => {
        return backend.makeOutput(x.shape.with(axis, length), x.dtype);
      });
      // Allocating the parts may have grown the heap: views are valid only from here on.
      const values = backend.typedArrayFromHeap(x);
      let at = 0;
      for (const part of parts) {
        const view = backend.typedArrayFromHeap(part);
        view.set(values.subarray(at, at + view.length));
        at += view.length;
      }
      return parts;
    },
  });
}
