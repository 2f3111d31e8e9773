import { repairBatchMatMul } from './batch-mat-mul.js';
import { repairConv2DBackpropFilter } from './conv2d-backprop-filter.js';
import { repairConv2DBackpropInput } from './conv2d-backprop-input.js';
import { repairMaxPoolGrad } from './max-pool-grad.js';
import { repairSplitV } from './split-v.js';

let repaired = false;

/**
 * Makes the wasm backend of TensorFlow.js 4.22 train convolutional networks correctly and fast. Done once per process: the
 * kernels are replaced, by ones that compute the same, for all users of TensorFlow.js in it.
 */
export function repairWasm(): void {
  if (repaired) return;
  repaired = true;
  repairBatchMatMul();
  repairMaxPoolGrad();
  repairConv2DBackpropInput();
  repairConv2DBackpropFilter();
  repairSplitV();
}
