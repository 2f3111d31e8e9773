import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { readSafetensorsLayout } from '../../container/safetensors.js';
import { SoftpackError } from '../../errors.js';
import { fileError } from '../../store/file-error.js';
import { openLocalFile } from '../../store/local.js';
import type { BackendName } from '../backend/name.js';
import { withTfjs } from '../with-tfjs.js';
import type { TeacherDescription } from './description.js';
import type { Teacher } from './teacher.js';

export { NORMALISATION_KEY } from './description.js';

export interface LoadTeacherOptions {
  /** TensorFlow.js backend; a SavedModel needs `tensorflow`, an ONNX model uses none. */
  readonly backend?: 'auto' | BackendName;
  /** Facts that the model's files do not contain; overrides a `teacher.json` in the model's folder. */
  readonly description?: TeacherDescription;
}

type Kind = 'convnet' | 'torch' | 'tfjs' | 'saved-model' | 'onnx';

/**
 * A teacher for the calling thread, from:
 *
 * - a `.safetensors` file that `saveConvNet` wrote,
 * - a checkpoint of a torchvision ResNet: `.pth` or `.pt` of `torch.save`, or `.safetensors` with the same names,
 * - a TensorFlow.js layers or graph model: its folder, or its `model.json`,
 * - a SavedModel folder, on native TensorFlow,
 * - an `.onnx` file, through the optional package onnxruntime-node.
 *
 * @throws `NOT_FOUND` or `INVALID_FILE` if there is no model of these kinds, `INVALID_ARGUMENT` naming the field
 *   in which model and description differ, `UNSUPPORTED` unless it takes one batch of images and gives one row of logits
 *   per image, `BACKEND_UNAVAILABLE` or `TOOL_MISSING` with what to type if its runtime is not ready.
 */
export async function loadTeacher(
  path: string,
  { backend = 'auto', description = {} }: LoadTeacherOptions = {},
): Promise<Teacher> {
  const model = await locate(resolve(path));
  // Loading this takes a second: only for users of such a model.
  if (model.kind === 'torch' || (model.kind === 'convnet' && (await isResNet(model.path)))) {
    const { loadTorchResNetTeacher } = await withTfjs(() => import('./torch-resnet.js'));
    return loadTorchResNetTeacher(model.path, backend, description);
  }
  if (model.kind === 'convnet') {
    const { loadConvNetTeacher } = await withTfjs(() => import('./convnet.js'));
    return loadConvNetTeacher(model.path, backend, description);
  }
  if (model.kind === 'tfjs') {
    const { loadTfjsTeacher } = await withTfjs(() => import('./tfjs.js'));
    return loadTfjsTeacher(model.path, backend, description);
  }
  requireBackend(model.path, backend, model.kind === 'onnx' ? ['auto'] : ['auto', 'tensorflow']);
  if (model.kind === 'onnx') {
    const { loadOnnxTeacher } = await import('./onnx.js');
    return loadOnnxTeacher(model.path, description);
  }
  const { loadSavedModelTeacher } = await withTfjs(() => import('./saved-model.js'));
  return loadSavedModelTeacher(model.path, description);
}

const EXTENSIONS: Readonly<Record<string, Kind>> = {
  '.safetensors': 'convnet',
  '.pth': 'torch',
  '.pt': 'torch',
  '.onnx': 'onnx',
  '.json': 'tfjs',
};

/** Formats that must be exported again by the tool that made them. */
const ADVICE: Readonly<Record<string, string>> = {
  '.keras': "that can be run here; in Python: model.export('folder'), and give the folder",
  '.h5': "that can be run here; in Python: model.export('folder'), and give the folder",
};

async function locate(path: string): Promise<{ readonly kind: Kind; readonly path: string }> {
  const found = await stat(path).catch((cause: unknown) => {
    throw fileError(path, cause);
  });
  if (found.isDirectory()) {
    if (existsSync(join(path, 'saved_model.pb'))) return { kind: 'saved-model', path };
    if (existsSync(join(path, 'model.json')))
      return { kind: 'tfjs', path: join(path, 'model.json') };
  } else if (found.isFile()) {
    const kind = EXTENSIONS[extname(path)];
    if (kind !== undefined) return { kind, path };
    if (basename(path) === 'saved_model.pb') return { kind: 'saved-model', path: dirname(path) };
  }
  const advice = ADVICE[extname(path)];
  throw new SoftpackError(
    'INVALID_FILE',
    `not a model${advice === undefined ? '' : ` ${advice}`}`,
    {
      field: path,
      expected: 'a .safetensors, .pth or .onnx file, or a folder with model.json or saved_model.pb',
      found: found.isDirectory() ? 'a folder with neither' : 'something else',
    },
  );
}

/** Whether a safetensors file has a ResNet's first convolution; a damaged file is left to the reader of networks. */
async function isResNet(path: string): Promise<boolean> {
  const file = await openLocalFile(path);
  try {
    return (await readSafetensorsLayout(file)).tensors.has('conv1.weight');
  } catch {
    return false;
  } finally {
    await file.close();
  }
}

function requireBackend(path: string, backend: string, expected: readonly string[]): void {
  if (expected.includes(backend)) return;
  throw new SoftpackError('INVALID_ARGUMENT', `this backend cannot run ${path}`, {
    field: 'backend',
    expected: expected.join(' or '),
    found: backend,
  });
}
