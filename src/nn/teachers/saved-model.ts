import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type * as tf from '@tensorflow/tfjs';
import { errorMessage, invalidFile, SoftpackError } from '../../errors.js';
import { onFile } from '../../store/file-error.js';
import { regularFileSize } from '../../store/local.js';
import { loadNativeTensorflow } from '../backend/native-tensorflow.js';
import { selectBackend } from '../backend/select.js';
import type { TeacherDescription } from './description.js';
import { readDescription } from './description.js';
import { filesSha256 } from './fingerprint.js';
import { networkTeacher } from './network-teacher.js';
import { chosenOutput, type ModelFacts, mismatch, settleShape } from './shape.js';
import type { Teacher } from './teacher.js';
import { type ModelOutput, runOnTensor } from './tensor-run.js';

const TAGS = ['serve'];
const SIGNATURE = 'serving_default';

/** A teacher from a SavedModel directory: native TensorFlow runs it as it is. */
export async function loadSavedModelTeacher(
  path: string,
  given: TeacherDescription,
): Promise<Teacher> {
  const node = await nativeNode();
  await regularFileSize(join(path, 'saved_model.pb'));
  const description = await readDescription(path, given);
  const { names, name, index, ...facts } = await factsOf(path, node, description);
  const shape = settleShape(path, facts, description);
  const files = await onFile(path, () => readdir(path, { recursive: true, withFileTypes: true }));
  // Files that TensorFlow reads to run the model, not those that other tools leave next to it.
  const modelFiles = files
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(path.length + 1))
    .filter((name) => name === 'saved_model.pb' || /^(variables|assets)\//.test(name));
  const sha256 = await filesSha256(path, modelFiles);
  const model = await node.loadSavedModel(path, TAGS, SIGNATURE).catch((cause: unknown) => {
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'TensorFlow cannot load it', { found, cause });
  });
  return networkTeacher({
    ...{ path, kind: 'saved-model', sha256, shape },
    ...(names.length > 1 ? { outputName: name } : {}),
    run: (images, count) =>
      runOnTensor(path, shape, images, count, (x) => model.predict(x), { name, index }),
    dispose: () => model.dispose(),
  });
}

/** Functions of native TensorFlow's package for SavedModels. */
interface NativeNode {
  loadSavedModel(path: string, tags: readonly string[], signature: string): Promise<SavedModel>;
  getMetaGraphsFromSavedModel(path: string): Promise<
    readonly {
      readonly tags: readonly string[];
      readonly signatureDefs: Readonly<Record<string, Signature>>;
    }[]
  >;
}

interface SavedModel {
  predict(images: tf.Tensor): unknown;
  dispose(): void;
}

/** A SavedModel's inputs and outputs by name; axes are numbers or protocol buffer messages. */
type Signature = Readonly<Record<'inputs' | 'outputs', Readonly<Record<string, End>>>>;
type End = { readonly shape?: readonly unknown[] };

async function nativeNode(): Promise<NativeNode> {
  await selectBackend({ backend: 'tensorflow' });
  const native = await loadNativeTensorflow();
  if (native.state === 'ready') return native.exports.node as NativeNode;
  throw new SoftpackError('BACKEND_UNAVAILABLE', native.reason, { field: 'backend' });
}

async function factsOf(
  path: string,
  node: NativeNode,
  { outputName }: TeacherDescription,
): Promise<ModelFacts & ModelOutput & { readonly names: readonly string[] }> {
  const graphs = await node.getMetaGraphsFromSavedModel(path).catch((cause: unknown) => {
    const found = errorMessage(cause);
    throw invalidFile(path, 'saved_model.pb', 'not a SavedModel', { found, cause });
  });
  const graph = graphs.find(({ tags }) => TAGS.every((tag) => tags.includes(tag)));
  const signature = graph?.signatureDefs[SIGNATURE];
  if (signature === undefined) {
    const found = Object.keys(graph?.signatureDefs ?? {}).join(', ') || 'none';
    throw mismatch(path, 'signature', SIGNATURE, found, 'UNSUPPORTED');
  }
  const inputs = Object.values(signature.inputs);
  if (inputs.length !== 1) throw mismatch(path, 'inputs', 'one', inputs.length, 'UNSUPPORTED');
  const names = Object.keys(signature.outputs);
  const index = chosenOutput(path, names, outputName);
  const name = names[index];
  const axesOf = ({ shape = [] }: End) => shape.map(axisLength);
  const [input, output] = [axesOf(inputs[0]), axesOf(signature.outputs[name])];
  return { input, output, layout: 'nhwc', names, name, index };
}

/** The binding hands on protocol buffer messages where its types promise numbers. */
function axisLength(axis: unknown): number {
  const message = axis as { readonly getSize?: () => number };
  const length = typeof axis === 'number' ? axis : message.getSize?.();
  return Number.isSafeInteger(length) ? Number(length) : -1;
}
