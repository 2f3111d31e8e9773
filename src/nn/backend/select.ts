import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { SoftpackError } from '../../errors.js';
import { repairWasm } from '../repairs/index.js';
import { repairNativeStep } from '../repairs/native-step.js';
import type { BackendName } from './name.js';
import { loadNativeTensorflow } from './native-tensorflow.js';
import { labelOperations, type OperationsState } from './operations.js';
import { warnOfPlainBackend } from './plain-backend.js';

export interface SelectBackendOptions {
  /**
   * `auto` (default): native TensorFlow if it is ready, else wasm. Never `cpu`, which is some 200 times slower: it
   * computes for checks, and warns (`SOFTPACK_PLAIN_BACKEND`).
   */
  readonly backend?: 'auto' | BackendName;
}

export interface SelectedBackend {
  /** The one TensorFlow.js of the process, set to the backend. */
  readonly tf: typeof tf;
  readonly name: BackendName;
}

export interface BackendStatus {
  readonly name: BackendName;
  /** `absent`: an optional package is not installed. `incomplete`: installed, but not built or not loadable. */
  readonly state: 'ready' | 'absent' | 'incomplete';
  /** Reason for the state, and what to type if it is not ready. */
  readonly reason: string;
  /** Version of TensorFlow, if it is native and ready. */
  readonly version?: string;
  /** Kinds of device that native TensorFlow uses. */
  readonly devices?: readonly string[];
  /** Whether native TensorFlow decodes labels itself, and if not, why. */
  readonly operations?: OperationsState;
}

const require = createRequire(import.meta.url);

/** Sets TensorFlow.js to a backend that can train; `BACKEND_UNAVAILABLE` if the requested one cannot. */
export async function selectBackend(options: SelectBackendOptions = {}): Promise<SelectedBackend> {
  const { backend = 'auto' } = options;
  tf.enableProdMode();
  if (backend === 'tensorflow' || backend === 'auto') {
    const native = await loadNativeTensorflow();
    if (native.state === 'ready') {
      const selected = await activate('tensorflow');
      repairNativeStep();
      return selected;
    }
    if (backend === 'tensorflow') throw unavailable(backend, native.reason);
  }
  if (backend === 'cpu') return activate('cpu');
  setWasmPaths(wasmFolder());
  const selected = await activate('wasm');
  repairWasm();
  return selected;
}

/** The state of every backend, as `softpack doctor` prints it. */
export async function tensorflowStatus(): Promise<readonly BackendStatus[]> {
  return [
    await nativeStatus(),
    wasmStatus(),
    { name: 'cpu', state: 'ready', reason: 'plain JavaScript, for parity tests only' },
  ];
}

async function activate(name: BackendName): Promise<SelectedBackend> {
  if (!(await tf.setBackend(name))) {
    throw unavailable(name, 'TensorFlow.js could not initialise it');
  }
  warnOfPlainBackend(name);
  return { tf, name };
}

function unavailable(name: BackendName, reason: string): SoftpackError {
  return new SoftpackError('BACKEND_UNAVAILABLE', `backend ${name} is not ready: ${reason}`, {
    field: 'backend',
  });
}

async function nativeStatus(): Promise<BackendStatus> {
  const name = 'tensorflow';
  const before = tf.engine().backendName;
  const native = await loadNativeTensorflow();
  if (native.state !== 'ready') return { name, ...native };
  // Loading selects it; asking for its state must not.
  if (before) await tf.setBackend(before);
  const { origin, version, devices } = native;
  const operations = labelOperations();
  const decoding =
    operations.state === 'ready'
      ? 'decodes labels'
      : `does not decode labels (${operations.state}: ${operations.reason})`;
  const reason = `TensorFlow ${version} on ${devices.join(' and ')}, from ${origin}; ${decoding}`;
  return { name, state: 'ready', reason, version, devices, operations };
}

function wasmStatus(): BackendStatus {
  const folder = wasmFolder();
  if (existsSync(join(folder, 'tfjs-backend-wasm-simd.wasm'))) {
    return { name: 'wasm', state: 'ready', reason: 'one thread, SIMD where the processor has it' };
  }
  return { name: 'wasm', state: 'incomplete', reason: `no binary in ${folder}; npm ci` };
}

/** The backend reads its binaries from a plain path that ends in a separator. */
function wasmFolder(): string {
  return dirname(require.resolve('@tensorflow/tfjs-backend-wasm')) + sep;
}
