import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { errorMessage, excerpt, invalidFile, isSoftpackError } from '../../errors.js';
import type { BackendName } from '../backend/name.js';
import { selectBackend } from '../backend/select.js';
import type { TeacherDescription } from './description.js';
import { readDescription } from './description.js';
import { differentiable } from './differentiable.js';
import { networkTeacher } from './network-teacher.js';
import { chosenOutput, type ModelFacts, mismatch, settleShape } from './shape.js';
import type { Teacher } from './teacher.js';
import { type ModelOutput, runOnTensor } from './tensor-run.js';
import { readTfjsFiles, type TfjsFiles } from './tfjs-files.js';
import { graphNetwork, layersNetwork } from './tfjs-network.js';
import { withWeightLimit } from './weight-limit.js';

/** A teacher from a TensorFlow.js layers or graph model, on any backend. */
export async function loadTfjsTeacher(
  path: string,
  backend: 'auto' | BackendName,
  given: TeacherDescription,
): Promise<Teacher> {
  await selectBackend({ backend });
  const files = await readTfjsFiles(path);
  const model = await build(path, files);
  try {
    const description = await readDescription(dirname(path), given);
    const names = outputNames(path, model);
    const index = chosenOutput(path, names, description.outputName);
    const output = { index, name: names[index] };
    const shape = settleShape(path, factsOf(path, model, files, output), description);
    const raw =
      model instanceof tf.GraphModel
        ? graphNetwork(model, files, output)
        : layersNetwork(model, output);
    return networkTeacher({
      ...{ path, kind: files.kind, sha256: files.sha256, shape },
      network: differentiable(shape, raw),
      ...(names.length > 1 ? { outputName: output.name } : {}),
      run: (images, count) =>
        runOnTensor(path, shape, images, count, (x) => model.predict(x), output),
      dispose: () => model.dispose(),
    });
  } catch (error) {
    model.dispose();
    throw error;
  }
}

type Model = tf.LayersModel | tf.GraphModel;

async function build(path: string, files: TfjsFiles): Promise<Model> {
  const { kind, handler, weights } = files;
  try {
    if (kind === 'tfjs-layers') {
      return await withWeightLimit(path, weights, () => tf.loadLayersModel(handler));
    }
    return await tf.loadGraphModel(handler);
  } catch (cause) {
    if (isSoftpackError(cause)) throw cause;
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'TensorFlow.js cannot build it', { found, cause });
  }
}

/** Graph models name the outputs of their signature, layers models those of their layers. */
function outputNames(path: string, model: Model): readonly string[] {
  const { structuredOutputKeys, outputNames } = model as {
    readonly structuredOutputKeys?: readonly string[];
    readonly outputNames?: readonly string[];
  };
  const names = structuredOutputKeys ?? outputNames ?? [];
  // A sequential model keeps them in another, inside.
  return names.length > 0 ? names : endsOf(path, model).outputs.map(({ name }) => name);
}

/** TensorFlow.js looks the nodes up when it is asked, and they may be missing. */
function endsOf(path: string, model: Model): Pick<Model, 'inputs' | 'outputs'> {
  try {
    const { inputs, outputs } = model;
    return { inputs, outputs };
  } catch (cause) {
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'inputs or outputs that are not in the graph', {
      found,
      cause,
    });
  }
}

function factsOf(
  path: string,
  model: Model,
  { artifacts }: TfjsFiles,
  chosen: ModelOutput,
): ModelFacts {
  const { inputs, outputs } = endsOf(path, model);
  if (inputs.length !== 1) throw mismatch(path, 'inputs', 'one', inputs.length, 'UNSUPPORTED');
  const input = shapeOf(inputs[0].shape) ?? signatureShape(artifacts.signature, 'inputs');
  const output =
    shapeOf(outputs[chosen.index].shape) ?? signatureShape(artifacts.signature, 'outputs', chosen);
  return { input: input ?? [], output: output ?? [-1, -1], layout: 'nhwc' };
}

function shapeOf(shape: readonly (number | null)[] | undefined): number[] | undefined {
  return shape?.map((n) => n ?? -1);
}

/** Converters keep the shapes of a graph's ends in its signature; the nodes themselves seldom have them. */
function signatureShape(
  signature: unknown,
  side: 'inputs' | 'outputs',
  { name, index }: ModelOutput = { name: '', index: 0 },
): number[] | undefined {
  type Ends = Record<string, { tensorShape?: { dim?: readonly { size?: string | number }[] } }>;
  const ends = (signature as Partial<Record<typeof side, Ends>> | undefined)?.[side] ?? {};
  const end = ends[name] ?? Object.values(ends)[index];
  const shape = end?.tensorShape?.dim?.map(({ size }) => Number(size));
  if (shape === undefined || shape.every((n) => Number.isSafeInteger(n))) return shape;
  throw invalidFile('model.json', `signature.${side}`, 'not a shape', { found: excerpt(shape) });
}
