import { optionalPackage } from '../core/optional-package.js';

/**
 * Loads a module of softpack that runs on TensorFlow.js, an optional package.
 *
 * @throws `TOOL_MISSING` if it is not installed.
 */
export function withTfjs<T>(load: () => Promise<T>): Promise<T> {
  return optionalPackage(PACKAGES, 'Teachers and students on TensorFlow.js', load);
}

const PACKAGES = '@tensorflow/tfjs @tensorflow/tfjs-backend-wasm';
