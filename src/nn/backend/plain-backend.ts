let warned = false;

/**
 * Warns once per thread if TensorFlow.js computes in plain JavaScript: a training step of a small convolutional network took
 * 20 s of processor time, 0.08 s on WebAssembly (16 images of 64 x 64 pixels, Zen 4, 2026-11-29).
 *
 * @param backend Name of the backend in use, as `tf.getBackend()` gives it.
 */
export function warnOfPlainBackend(backend: string): void {
  if (backend !== 'cpu' || warned) return;
  warned = true;
  const message =
    'TensorFlow.js computes in plain JavaScript (backend "cpu"), some 200 times slower than on WebAssembly: ' +
    "call `await selectBackend()` of 'softpack/nn' first";
  process.emitWarning(message, { type: 'SoftpackWarning', code: 'SOFTPACK_PLAIN_BACKEND' });
}
