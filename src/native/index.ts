import type { Kernels } from './kernels.js';
import { referenceKernels } from './reference/kernels.js';

export interface LoadKernelsOptions {
  readonly backend?: 'auto' | 'cpu' | 'reference';
}

/** The kernels to use. */
export function loadKernels(_options: LoadKernelsOptions = {}): Kernels {
  return referenceKernels;
}
