import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * An installation, as its `state.json` describes it. The file is written last, after the verification:
 * a folder that has it is complete.
 */
export interface InstalledTensorflow {
  /** Of this record. */
  readonly format: 1;
  /** Of TensorFlow, e.g. `2.21.0`. */
  readonly tensorflow: string;
  readonly variant: TensorflowVariant;
  /** Of @tensorflow/tfjs-node-gpu. */
  readonly binding: string;
  /** Path below the folder -> bytes and sha256 (hex) of the libraries and the addon. */
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

export type TensorflowVariant = 'cpu' | 'gpu';

export const STATE_FILE = 'state.json';
export const BINDING_PACKAGE = '@tensorflow/tfjs-node-gpu';
/** What the package requires and softpack hands in. */
export const ENGINE_PACKAGES = ['@tensorflow/tfjs', '@tensorflow/tfjs-core'] as const;
export const BINDING_FOLDER = join('node_modules', BINDING_PACKAGE);
/** Where the package looks for its addon on every Node.js version since 10. */
export const ADDON = join('lib', 'napi-v8', 'tfjs_binding.node');

/** `SOFTPACK_TENSORFLOW_DIR`, or `softpack/tensorflow` in the user's cache folder (XDG). */
export function tensorflowFolder(env: NodeJS.ProcessEnv = process.env): string {
  const { SOFTPACK_TENSORFLOW_DIR: own, XDG_CACHE_HOME: cache } = env;
  if (own) return resolve(own);
  return join(cache || join(homedir(), '.cache'), 'softpack', 'tensorflow');
}

/** The complete installation in a folder, or undefined. A file that is missing or cut short makes it incomplete. */
export function installedTensorflow(dir: string): InstalledTensorflow | undefined {
  const state = readState(dir);
  if (state === undefined) return undefined;
  const whole = Object.entries(state.files).every(
    ([path, { bytes }]) => statSync(join(dir, path), { throwIfNoEntry: false })?.size === bytes,
  );
  return whole ? state : undefined;
}

function readState(dir: string): InstalledTensorflow | undefined {
  try {
    const state = JSON.parse(readFileSync(join(dir, STATE_FILE), 'utf8')) as InstalledTensorflow;
    return state.format === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}
