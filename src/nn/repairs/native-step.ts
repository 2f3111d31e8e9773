import * as tf from '@tensorflow/tfjs';

let repaired = false;

/**
 * On native TensorFlow the gradient of every ReLU goes through `step`, which tfjs-node composes of eight operations, a
 * tenth of a training step. Replaces it by two operations, once per process like `repairWasm`.
 */
export function repairNativeStep(): void {
  if (repaired) return;
  repaired = true;
  const original = tf.getKernel(tf.Step, 'tensorflow');
  tf.unregisterKernel(tf.Step, 'tensorflow');
  tf.registerKernel({
    ...original,
    kernelFunc: (args) => {
      if ((args.attrs as unknown as tf.StepAttrs).alpha !== 0) return original.kernelFunc(args);
      return tf.tidy(() => tf.sign(tf.relu(args.inputs.x as tf.Tensor)));
    },
  });
}
