import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from '../../core/json.js';

/** Size and hash that an installed file must have. */
export interface InstalledFile {
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/**
 * An installation, as its `state.json` describes it. The file is written last, after the verification:
 * a folder that has it is complete.
 */
export interface InstalledTensorflow {
  /** Version of this record; 1 listed libraries and the addon only. */
  readonly format: 1 | 2;
  /** Version of TensorFlow, e.g. `2.21.0`. */
  readonly tensorflow: string;
  readonly variant: TensorflowVariant;
  /** Version of @tensorflow/tfjs-node-gpu. */
  readonly binding: string;
  /** Digest of the sources of {@link OPERATIONS}; absent from installations without them. */
  readonly operations?: string;
  /** Path below the folder -> what is installed there; every file but the record itself. */
  readonly files: Readonly<Record<string, InstalledFile>>;
  /** Path below the folder -> target of a symbolic link. */
  readonly links: Readonly<Record<string, string>>;
}

export type TensorflowVariant = 'cpu' | 'gpu';

export const STATE_FILE = 'state.json';
export const BINDING_PACKAGE = '@tensorflow/tfjs-node-gpu';
/** Packages that the binding requires and softpack provides. */
export const ENGINE_PACKAGES = ['@tensorflow/tfjs', '@tensorflow/tfjs-core'] as const;
export const BINDING_FOLDER = join('node_modules', BINDING_PACKAGE);
/** Path at which the package looks for its addon on every Node.js version since 10. */
export const ADDON = join('lib', 'napi-v8', 'tfjs_binding.node');
/** Operations that decode labels, built from native/tensorflow. */
export const OPERATIONS = join('operations', 'softpack_operations.node');

/** Compiled against TensorFlow's C++ headers, which are not kept; part of the operations of `gpu` installations. */
export const DEVICE_STREAM = join('operations', 'device_stream.o');

/** `SOFTPACK_TENSORFLOW_DIR`, or `softpack/tensorflow` in the user's cache folder (XDG). */
export function tensorflowFolder(env: NodeJS.ProcessEnv = process.env): string {
  const { SOFTPACK_TENSORFLOW_DIR: own, XDG_CACHE_HOME: cache } = env;
  if (own) return resolve(own);
  return join(cache || join(homedir(), '.cache'), 'softpack', 'tensorflow');
}

/**
 * The complete installation in a folder, or undefined. A file that is missing or of another size makes it incomplete;
 * `damagedFile` compares what is in them.
 */
export function installedTensorflow(dir: string): InstalledTensorflow | undefined {
  const state = readState(dir);
  if (state === undefined) return undefined;
  const whole = Object.entries(state.files).every(
    ([path, { bytes }]) => statSync(join(dir, path), { throwIfNoEntry: false })?.size === bytes,
  );
  return whole ? state : undefined;
}

/** The record of a folder; undefined unless it is one that the installer wrote. */
export function readState(dir: string): InstalledTensorflow | undefined {
  try {
    const path = join(dir, STATE_FILE);
    const json = parseJson(path, 'content', readFileSync(path));
    return isJsonObject(json) ? checkedState(json) : undefined;
  } catch {
    return undefined;
  }
}

function checkedState(json: JsonObject): InstalledTensorflow | undefined {
  const { format, tensorflow, variant, binding, operations, files = {}, links = {} } = json;
  const valid =
    (format === 1 || format === 2) &&
    typeof tensorflow === 'string' &&
    typeof binding === 'string' &&
    (operations === undefined || typeof operations === 'string') &&
    (variant === 'cpu' || variant === 'gpu') &&
    isJsonObject(files) &&
    Object.keys(files).length > 0 &&
    Object.entries(files).every(([path, file]) => isBelow(path) && isFile(file)) &&
    isJsonObject(links) &&
    Object.entries(links).every(([path, target]) => isBelow(path) && typeof target === 'string');
  return valid ? ({ ...json, files, links } as unknown as InstalledTensorflow) : undefined;
}

/** Whether a path stays below the folder that it is relative to. */
function isBelow(path: string): boolean {
  const [first] = path.split(sep);
  return normalize(path) === path && !isAbsolute(path) && first !== '.' && first !== '..';
}

function isFile(value: JsonValue): boolean {
  if (!isJsonObject(value)) return false;
  const { bytes, sha256 } = value;
  return Number.isSafeInteger(bytes) && /^[0-9a-f]{64}$/.test(String(sha256));
}
