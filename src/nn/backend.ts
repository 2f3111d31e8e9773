import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { SoftpackError } from '../errors.js';
import { repairWasm } from './repairs/index.js';

/** `tensorflow`: native, through tfjs-node(-gpu). `wasm`: everywhere. `cpu`: plain JavaScript, for checks only. */
export type BackendName = 'tensorflow' | 'wasm' | 'cpu';

export interface SelectBackendOptions {
  /** `auto` (default): native TensorFlow if it is ready, else wasm. Never `cpu`, which takes minutes a step. */
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
  /** Why it is in that state; what to type if it is not ready. */
  readonly reason: string;
}

/** What the native packages have beyond TensorFlow.js: models as TensorFlow itself saves them. */
export interface NativeNode {
  loadSavedModel(path: string, tags: readonly string[], signature: string): Promise<SavedModel>;
  getMetaGraphsFromSavedModel(path: string): Promise<
    readonly {
      readonly tags: readonly string[];
      readonly signatureDefs: Readonly<Record<string, SavedModelSignature>>;
    }[]
  >;
}

export interface SavedModel {
  predict(images: tf.Tensor): unknown;
  dispose(): void;
}

/** A SavedModel's ends by name; axes are numbers or protocol buffer messages. */
export interface SavedModelSignature {
  readonly inputs: Readonly<Record<string, { readonly shape?: readonly unknown[] }>>;
  readonly outputs: Readonly<Record<string, { readonly shape?: readonly unknown[] }>>;
}

/** Optional peers that hold the native binding, best first. The first also uses a GPU if TensorFlow lists one. */
const NATIVE_PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] as const;
/** Where both packages look for their addon on every Node.js version since 10. */
const ADDON = join('lib', 'napi-v8', 'tfjs_binding.node');

const require = createRequire(import.meta.url);

/** The native package, once it is loaded. */
let native:
  | { readonly node?: NativeNode; readonly default?: { readonly node?: NativeNode } }
  | undefined;

/** Sets TensorFlow.js to a backend that can train; throws `BACKEND_UNAVAILABLE` if the one asked for cannot. */
export async function selectBackend(options: SelectBackendOptions = {}): Promise<SelectedBackend> {
  const { backend = 'auto' } = options;
  tf.enableProdMode();
  if (backend === 'tensorflow' || backend === 'auto') {
    const status = await loadNative();
    if (status.state === 'ready') return activate('tensorflow');
    if (backend === 'tensorflow') throw unavailable(backend, status.reason);
  }
  if (backend === 'cpu') return activate('cpu');
  setWasmPaths(wasmFolder());
  const selected = await activate('wasm');
  repairWasm();
  return selected;
}

/** Native TensorFlow's own functions, with its backend selected; `BACKEND_UNAVAILABLE` where it is not ready. */
export async function nativeNode(): Promise<NativeNode> {
  await selectBackend({ backend: 'tensorflow' });
  const node = native?.node ?? native?.default?.node;
  if (node === undefined)
    throw unavailable('tensorflow', 'its package has no SavedModel functions');
  return node;
}

/** The state of every backend, as `softpack doctor` prints it. */
export async function tensorflowStatus(): Promise<readonly BackendStatus[]> {
  return [
    await loadNative(),
    wasmStatus(),
    { name: 'cpu', state: 'ready', reason: 'plain JavaScript, for parity tests only' },
  ];
}

async function activate(name: BackendName): Promise<SelectedBackend> {
  if (!(await tf.setBackend(name))) {
    throw unavailable(name, 'TensorFlow.js could not initialise it');
  }
  return { tf, name };
}

function unavailable(name: BackendName, reason: string): SoftpackError {
  return new SoftpackError('BACKEND_UNAVAILABLE', `backend ${name} is not ready: ${reason}`, {
    field: 'backend',
  });
}

/** Imports the native binding if one is built, which registers the `tensorflow` backend. */
async function loadNative(): Promise<BackendStatus> {
  const name = 'tensorflow';
  const found = NATIVE_PACKAGES.flatMap((packageName) => {
    const folder = packageFolder(packageName);
    return folder === undefined ? [] : [{ packageName, folder }];
  });
  const built = found.find(({ folder }) => existsSync(join(folder, ADDON)));
  if (built === undefined && found.length === 0) {
    const reason = `not installed; npm install ${NATIVE_PACKAGES[1]}@${tf.version_core}`;
    return { name, state: 'absent', reason };
  }
  if (built === undefined) {
    const { packageName } = found[0];
    const reason = `${packageName} is installed without its addon; npm rebuild ${packageName}`;
    return { name, state: 'incomplete', reason };
  }
  defineIsNullOrUndefined();
  try {
    native = await import(built.packageName);
    return { name, state: 'ready', reason: built.packageName };
  } catch (error) {
    const reason = `${built.packageName} does not load: ${firstLine(error)}`;
    return { name, state: 'incomplete', reason: `${reason}; npm rebuild ${built.packageName}` };
  }
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

function packageFolder(packageName: string): string | undefined {
  try {
    return dirname(require.resolve(`${packageName}/package.json`));
  } catch {
    return undefined;
  }
}

/** tfjs-node 4.22 calls this function of node:util, which Node.js 23 removed, in nearly every operation. */
function defineIsNullOrUndefined(): void {
  const util = require('node:util') as { isNullOrUndefined?: (value: unknown) => boolean };
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split('\n')[0];
}
