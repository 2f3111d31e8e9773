import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { errorMessage } from '../../errors.js';
import { damagedFile } from '../tensorflow-install/contents.js';
import {
  ADDON,
  BINDING_FOLDER,
  BINDING_PACKAGE,
  ENGINE_PACKAGES,
  installedTensorflow,
  tensorflowFolder,
} from '../tensorflow-install/location.js';

/** Optional peers that hold the native binding, best first. The first also uses a GPU if TensorFlow lists one. */
const PACKAGES = [BINDING_PACKAGE, '@tensorflow/tfjs-node'] as const;
/** Of memory that TensorFlow keeps for tensors on the CPU, megabytes. */
const DEFAULT_LIMIT = 2 ** 16;
export const INSTALL = 'softpack tensorflow install';

export type NativeTensorflow =
  | {
      readonly state: 'ready';
      /** Package or folder that it was loaded from. */
      readonly origin: string;
      /** Version of TensorFlow, e.g. `2.21.0`. */
      readonly version: string;
      /** Kinds of device that operations run on. */
      readonly devices: readonly string[];
      /** All exports of the package, `node` among them; it reads SavedModels. */
      readonly exports: Readonly<Record<string, unknown>>;
    }
  | { readonly state: 'absent' | 'incomplete'; readonly reason: string };

interface Candidate {
  readonly origin: string;
  /** Version of the package with the binding. */
  readonly folder: string;
  readonly load: () => Promise<Record<string, unknown>>;
  /** The first file, if any, that differs from its hash in the record of the installation. */
  readonly damaged?: () => Promise<string | undefined>;
}

const require = createRequire(import.meta.url);

/** Folder of the installation that this thread has loaded. */
let loaded: string | undefined;

/** The folder of `softpack tensorflow install` whose TensorFlow this thread has loaded, if it has loaded that. */
export function loadedInstallation(): string | undefined {
  return loaded;
}

/**
 * Loads native TensorFlow, which registers and selects the backend `tensorflow`: from an installed
 * @tensorflow/tfjs-node-gpu or tfjs-node, else from the folder of `softpack tensorflow install`. Each worker thread and
 * each process loads its own; threads share the libraries but not tensors.
 *
 * TensorFlow's own switches, read from the environment when it is first loaded:
 * - `TF_FORCE_GPU_ALLOW_GROWTH` (set to `true` unless set): GPU memory is taken as needed, not all at once.
 * - `TF_CPU_ALLOCATOR_USE_BFC` (set to `true` unless set): memory of tensors on the CPU is kept for the next ones. Without it
 *   temporaries of many megabytes are mapped and cleared by the system again and again, which took two fifths of a step on logits
 *   of 1,024 tokens and 49,152 ids (3.2 s, 1.8 with it; AMD Zen 4, huge pages on request, 2026-11-30).
 * - `TF_CPU_BFC_MEM_LIMIT_IN_MB` (set to the machine's memory if that is more than TensorFlow's 64 GiB): how much of it.
 * - `NVIDIA_TF32_OVERRIDE=0`: full float32 products on GPUs; TensorFlow uses TF32 (10 bits of fraction) where it can.
 * - `TF_DETERMINISTIC_OPS=1`: GPU kernels that give the same bits in every run, slower.
 * - `TF_ENABLE_ONEDNN_OPTS=0`: CPU kernels without oneDNN, whose sums differ in order between machines.
 */
export async function loadNativeTensorflow(): Promise<NativeTensorflow> {
  const found = [...PACKAGES.flatMap(packageCandidate), ...builtCandidate(tensorflowFolder())];
  const built = found.find(({ folder }) => existsSync(join(folder, ADDON)));
  if (built !== undefined) {
    const damaged = await built.damaged?.();
    if (damaged === undefined) return load(built);
    const reason = `${join(built.origin, damaged)} is not what was installed; ${INSTALL}`;
    return { state: 'incomplete', reason };
  }
  const [first] = found;
  if (first === undefined) return { state: 'absent', reason: `not installed; ${INSTALL}` };
  return { state: 'incomplete', reason: `${first.origin} has no addon; ${INSTALL}` };
}

/** Loads the installation in one folder, whatever else is there. */
export async function loadBuiltTensorflow(dir: string): Promise<NativeTensorflow> {
  return load(folderCandidate(dir));
}

async function load({ origin, load }: Candidate): Promise<NativeTensorflow> {
  defineIsNullOrUndefined();
  process.env.TF_FORCE_GPU_ALLOW_GROWTH ??= 'true';
  process.env.TF_CPU_ALLOCATOR_USE_BFC ??= 'true';
  const megabytes = Math.floor(totalmem() / 2 ** 20);
  if (megabytes > DEFAULT_LIMIT) process.env.TF_CPU_BFC_MEM_LIMIT_IN_MB ??= String(megabytes);
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '1';
  try {
    const exports = await withoutArguments(load);
    const backend = tf.findBackend('tensorflow') as unknown as NodeBackend;
    const devices = backend.isUsingGpuDevice ? ['GPU', 'CPU'] : ['CPU'];
    return { state: 'ready', origin, version: backend.binding.TF_Version, devices, exports };
  } catch (error) {
    const [line] = errorMessage(error).split('\n');
    return { state: 'incomplete', reason: `${origin} does not load: ${line}; ${INSTALL}` };
  }
}

/** The package finds its addon by node-pre-gyp, which mistakes options of the process, such as `--dir`, for its own. */
async function withoutArguments<T>(run: () => Promise<T>): Promise<T> {
  const { argv } = process;
  process.argv = argv.slice(0, 2);
  try {
    return await run();
  } finally {
    process.argv = argv;
  }
}

/** Members of tfjs-node's backend beyond those of any backend. */
interface NodeBackend {
  readonly binding: { readonly TF_Version: string };
  readonly isUsingGpuDevice: boolean;
}

function packageCandidate(name: string): Candidate[] {
  try {
    const folder = dirname(require.resolve(`${name}/package.json`));
    return [{ origin: name, folder, load: () => import(name) }];
  } catch {
    return [];
  }
}

function builtCandidate(dir: string): Candidate[] {
  const installed = installedTensorflow(dir);
  if (installed === undefined) return [];
  return [{ ...folderCandidate(dir), damaged: () => damagedFile(dir, installed) }];
}

function folderCandidate(dir: string): Candidate {
  const folder = join(dir, BINDING_FOLDER);
  const load = async () => {
    const exports = handInEngine(dir)(BINDING_PACKAGE);
    loaded ??= dir;
    return exports;
  };
  return { origin: dir, folder, load };
}

/** Makes `require` inside an installation answer with softpack's own TensorFlow.js: there is one engine. */
function handInEngine(dir: string): NodeJS.Require {
  const inner = createRequire(join(dir, 'package.json'));
  const ofTfjs = createRequire(require.resolve('@tensorflow/tfjs'));
  for (const name of ENGINE_PACKAGES) {
    ofTfjs(name);
    inner.cache[inner.resolve(name)] = inner.cache[ofTfjs.resolve(name)];
  }
  return inner;
}

/** tfjs-node 4.22 calls this function of node:util, which Node.js 23 removed, in nearly every operation. */
function defineIsNullOrUndefined(): void {
  const util = require('node:util') as { isNullOrUndefined?: (value: unknown) => boolean };
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
}
