import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type { Lender, LendLabelsArgs, LossCodec } from '../../codecs/codec.js';
import { errorMessage, isSoftpackError, SoftpackError } from '../../errors.js';
import { findAddon } from '../../kernels/find-addon.js';
import { OPERATIONS } from '../tensorflow-install/location.js';
import { INSTALL, loadedInstallation } from './native-tensorflow.js';

/** Whether TensorFlow decodes labels itself, by the operations of native/tensorflow, and if not, why. */
export interface OperationsState {
  readonly state: 'ready' | 'absent' | 'incompatible';
  readonly reason: string;
}

interface OperationsLibrary {
  /** Empty text, or what is wrong. */
  start(calls: unknown): string;
  /** It has operations of GPUs, too. */
  readonly device?: boolean;
}

/** Member of tfjs-node's backend that runs any operation that TensorFlow has. */
interface OperationBackend {
  readonly isUsingGpuDevice: boolean;
  executeMultipleOutputs(
    name: string,
    attributes: readonly never[],
    inputs: readonly tf.Tensor[],
    outputs: number,
  ): tf.Tensor[];
}

let onDevice = false;
let known: { readonly dir: string; readonly state: OperationsState } | undefined;

/** Loads the operations on first use, into the TensorFlow that this thread has loaded. */
export function labelOperations(): OperationsState {
  const dir = loadedInstallation();
  if (dir === undefined) {
    return { state: 'absent', reason: 'TensorFlow of `softpack tensorflow install` is not in use' };
  }
  if (known?.dir !== dir) known = { dir, state: load(dir) };
  return known.state;
}

/** @throws `BACKEND_UNAVAILABLE` unless they can be used now: `tensorflow` must be the backend. */
export function requireLabelOperations(field: string): void {
  const { state, reason } = labelOperations();
  if (state === 'ready' && tf.getBackend() === 'tensorflow') return;
  throw new SoftpackError('BACKEND_UNAVAILABLE', 'TensorFlow has no operations for labels', {
    field,
    expected: "selectBackend({ backend: 'tensorflow' })",
    found: state === 'ready' ? `backend ${tf.getBackend()}` : reason,
  });
}

/** @throws `UNSUPPORTED` for a codec on kernels that are not native. */
export function requireLender(codec: LossCodec): Lender {
  const lend = codec.lender();
  if (lend !== undefined) return lend;
  throw new SoftpackError('UNSUPPORTED', 'these kernels cannot decode for TensorFlow', {
    field: 'kernels',
    expected: 'cpu',
    found: 'reference',
  });
}

/** [labels, classes] probabilities in TensorFlow's own memory. */
export function decodeLabels(lend: Lender, args: LendLabelsArgs): tf.Tensor2D {
  const [labels] = run(lend, args, 'SoftpackDecode', [], 1);
  return labels as tf.Tensor2D;
}

/** [labels] losses and [labels, classes] gradient of `decodeKl`, in TensorFlow's own memory. */
export function decodeLabelsKl(
  lend: Lender,
  args: LendLabelsArgs,
  logits: tf.Tensor,
): { readonly losses: tf.Tensor1D; readonly gradient: tf.Tensor2D } {
  const [losses, gradient] = run(lend, args, 'SoftpackDecodeKl', [logits], 2);
  return { losses: losses as tf.Tensor1D, gradient: gradient as tf.Tensor2D };
}

function run(
  lend: Lender,
  args: LendLabelsArgs,
  name: string,
  inputs: readonly tf.Tensor[],
  outputs: number,
): tf.Tensor[] {
  const backend = tf.findBackend('tensorflow') as unknown as OperationBackend;
  try {
    return lend(args, (call, kernels) => {
      // TensorFlow's stream is of use to decoders of the CUDA module only; others get host memory.
      const where = kernels === 'cuda' && onDevice && backend.isUsingGpuDevice ? 'OnDevice' : '';
      const number = tf.scalar(call, 'int32');
      try {
        return backend.executeMultipleOutputs(`${name}${where}`, [], [number, ...inputs], outputs);
      } finally {
        number.dispose();
      }
    });
  } catch (error) {
    if (isSoftpackError(error)) throw error;
    const message = `${name} failed: ${errorMessage(error)}`;
    throw new SoftpackError('NATIVE_FAILED', message, { field: 'backend', cause: error });
  }
}

function load(dir: string): OperationsState {
  const path = join(dir, OPERATIONS);
  if (!existsSync(path)) return { state: 'absent', reason: `none in ${dir}; ${INSTALL}` };
  const addon = findAddon();
  if (addon.state !== 'ready') {
    return { state: 'absent', reason: `need the addon (cpu), which is ${addon.state}` };
  }
  try {
    const library: { exports: Partial<OperationsLibrary> } = { exports: {} };
    process.dlopen(library, path);
    const problem = library.exports.start?.(addon.addon.labelCalls());
    onDevice = library.exports.device ?? false;
    if (problem === '') return { state: 'ready', reason: path };
    return { state: 'incompatible', reason: `${path}: ${problem}; ${INSTALL}` };
  } catch (error) {
    const [line] = errorMessage(error).split('\n');
    return { state: 'incompatible', reason: `${line}; ${INSTALL}` };
  }
}
