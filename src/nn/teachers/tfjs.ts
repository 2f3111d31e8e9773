import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { errorMessage, excerpt, invalidFile, SoftpackError } from '../../errors.js';
import { type BackendName, selectBackend } from '../backend/select.js';
import type { TeacherDescription } from './description.js';
import { type ModelFacts, mismatch, readDescription, settleShape } from './description.js';
import { networkTeacher } from './network-teacher.js';
import type { Teacher } from './teacher.js';
import { runOnTensor } from './tensor-run.js';
import { readTfjsFiles, type TfjsFiles } from './tfjs-files.js';
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
    const facts = factsOf(path, model, files);
    const shape = settleShape(path, facts, await readDescription(dirname(path), given));
    return networkTeacher({
      ...{ path, kind: files.kind, sha256: files.sha256, shape },
      run: (images, count) => runOnTensor(path, shape, images, count, (x) => model.predict(x)),
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
    if (cause instanceof SoftpackError) throw cause;
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'TensorFlow.js cannot build it', { found, cause });
  }
}

function factsOf(path: string, model: Model, { artifacts }: TfjsFiles): ModelFacts {
  const { inputs, outputs } = model;
  for (const [field, list] of Object.entries({ inputs, outputs })) {
    if (list.length !== 1) throw mismatch(path, field, 'one', list.length, 'UNSUPPORTED');
  }
  const input = shapeOf(inputs[0].shape) ?? signatureShape(artifacts.signature, 'inputs');
  const output = shapeOf(outputs[0].shape) ?? signatureShape(artifacts.signature, 'outputs');
  return { input: input ?? [], output: output ?? [-1, -1], layout: 'nhwc' };
}

function shapeOf(shape: readonly (number | null)[] | undefined): number[] | undefined {
  return shape?.map((n) => n ?? -1);
}

/** Converters keep the shapes of a graph's ends in its signature; the nodes themselves seldom have them. */
function signatureShape(signature: unknown, side: 'inputs' | 'outputs'): number[] | undefined {
  type Ends = Record<string, { tensorShape?: { dim?: readonly { size?: string | number }[] } }>;
  const ends = (signature as Partial<Record<typeof side, Ends>> | undefined)?.[side] ?? {};
  const shape = Object.values(ends)
    .at(0)
    ?.tensorShape?.dim?.map(({ size }) => Number(size));
  if (shape === undefined || shape.every((n) => Number.isSafeInteger(n))) return shape;
  throw invalidFile('model.json', `signature.${side}`, 'not a shape', { found: excerpt(shape) });
}
