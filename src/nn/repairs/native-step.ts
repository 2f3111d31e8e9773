import * as tf from '@tensorflow/tfjs';

let repaired = false;

/**
 * On native TensorFlow the gradient of every ReLU goes through `step`, which tfjs-node puts together from eight
 * operations, a tenth of a training step: here from two. Once a process, as `repairWasm`.
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
