import { existsSync } from 'node:fs';
import { basename, dirname, resolve, sep } from 'node:path';
import type * as ort from 'onnxruntime-node';
import { whyUnusable } from '../../core/optional-package.js';
import { errorMessage, invalidFile, SoftpackError } from '../../errors.js';
import { fileError } from '../../store/file-error.js';
import { readLocalFile, regularFileSize } from '../../store/local.js';
import type { TeacherDescription } from './description.js';
import { readDescription } from './description.js';
import { filesSha256 } from './fingerprint.js';
import { channelsOf, networkTeacher } from './network-teacher.js';
import { externalFiles } from './onnx-locations.js';
import {
  INPUT_TYPES,
  type InputType,
  inputTensor,
  OUTPUT_TYPES,
  outputValues,
} from './onnx-tensors.js';
import { chosenOutput, type ModelFacts, mismatch, settleShape } from './shape.js';
import type { Teacher } from './teacher.js';

/** A teacher from an ONNX file, run by onnxruntime-node on one thread: labelling has one teacher per thread. */
export async function loadOnnxTeacher(path: string, given: TeacherDescription): Promise<Teacher> {
  const runtime = await loadRuntime();
  const description = await readDescription(dirname(path), given);
  const weights = await weightFiles(path);
  const sha256 = await filesSha256(dirname(path), [basename(path), ...weights]);
  const session = await createSession(runtime, path, weights);
  try {
    const { inputType, outputName, ...facts } = factsOf(path, session, description);
    const shape = settleShape(path, facts, description);
    const channels = channelsOf(shape);
    const { size, layout } = shape;
    const axes = layout === 'nhwc' ? [...size, channels] : [channels, ...size];
    return networkTeacher({
      ...{ path, kind: 'onnx', sha256, shape },
      // Absent if there is one output, so that fingerprints of earlier versions stay valid.
      ...(session.outputNames.length > 1 ? { outputName } : {}),
      async run(images, count) {
        const input = inputTensor(runtime, inputType, images, [count, ...axes]);
        const found = await session.run({ [session.inputNames[0]]: input }, [outputName]);
        return outputValues(found[outputName]);
      },
      dispose: () => {
        session.release().catch(() => undefined); // Nobody waits for it; nothing depends on it.
      },
    });
  } catch (error) {
    await session.release();
    throw error;
  }
}

/** Whether ONNX teachers can run here, as `softpack doctor` prints it. */
export async function onnxStatus(): Promise<{
  readonly name: 'onnx';
  readonly state: 'ready' | 'absent';
  readonly reason: string;
}> {
  try {
    const { env } = await loadRuntime();
    const reason = `onnxruntime-node ${env.versions.node}, one thread a teacher`;
    return { name: 'onnx', state: 'ready', reason };
  } catch (error) {
    return { name: 'onnx', state: 'absent', reason: (error as SoftpackError).message };
  }
}

async function loadRuntime(): Promise<typeof ort> {
  disableTelemetry();
  try {
    return await import('onnxruntime-node');
  } catch (cause) {
    const type = 'npm install onnxruntime-node --onnxruntime-node-install=skip';
    const message = `ONNX teachers need onnxruntime-node, ${whyUnusable(cause)}: ${type}`;
    throw new SoftpackError('BACKEND_UNAVAILABLE', message, { field: 'teacher', cause });
  }
}

/**
 * onnxruntime 1.29 and newer keep a device id in the user's cache folder and report the model's file name with it. The
 * library reads this variable when its first thread loads it. Assignments in worker threads change only their own copy:
 * the main thread must load a teacher first, as `cacheLabels` does, or set the variable itself. An explicit value wins.
 */
function disableTelemetry(): void {
  process.env.ORT_DISABLE_TELEMETRY ||= '1';
}

/** Limit of a protocol buffer, and of a model that is read into memory. */
const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** A model and its weights come from memory, as onnxruntime ends the process if its own reading fails. */
async function createSession(
  runtime: typeof ort,
  path: string,
  weights: readonly string[],
): Promise<ort.InferenceSession> {
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;
  const { InferenceSession } = runtime;
  const read = await readModel(path, weights);
  try {
    return await (read === undefined
      ? InferenceSession.create(path, options)
      : InferenceSession.create(read.model, { ...options, externalData: read.externalData }));
  } catch (cause) {
    if (!existsSync(path)) throw fileError(path, { code: 'ENOENT' });
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'onnxruntime cannot load it', { found, cause });
  }
}

/** `undefined` if it is too large. */
async function readModel(path: string, weights: readonly string[]) {
  const files = weights.map((name) => resolve(dirname(path), name));
  const sizes = await Promise.all([path, ...files].map(regularFileSize));
  if (sizes.reduce((sum, size) => sum + size, 0) > MAX_MODEL_BYTES) return undefined;
  const model = await readLocalFile(path, MAX_MODEL_BYTES);
  const externalData: { path: string; data: Uint8Array }[] = [];
  for (const [i, name] of weights.entries()) {
    // onnxruntime-node strips one "./" from the names that it is given, but not from those in the model.
    const key = name.startsWith('./') ? `./${name}` : name;
    externalData.push({ path: key, data: await readLocalFile(files[i], MAX_MODEL_BYTES) });
  }
  return { model, externalData };
}

/** Files other than the model that hold its weights, all below its folder. */
async function weightFiles(path: string): Promise<readonly string[]> {
  const folder = resolve(dirname(path));
  const files = await externalFiles(path);
  const outside = files.find((name) => !resolve(folder, name).startsWith(folder + sep));
  if (outside === undefined) return files;
  const expected = "files below the model's folder";
  throw invalidFile(path, 'external_data', 'weights in another place', {
    expected,
    found: outside,
  });
}

interface OnnxFacts extends ModelFacts {
  readonly inputType: InputType;
  readonly outputName: string;
}

function factsOf(
  path: string,
  session: ort.InferenceSession,
  { outputName, output = 'logits' }: TeacherDescription,
): OnnxFacts {
  const { inputMetadata: inputs, outputMetadata: outputs } = session;
  if (inputs.length !== 1) throw mismatch(path, 'inputs', 'one', inputs.length, 'UNSUPPORTED');
  const at = chosenOutput(path, session.outputNames, outputName);
  const input = tensorOf(path, 'inputs', inputs[0], INPUT_TYPES);
  const given = tensorOf(path, 'outputs', outputs[at], OUTPUT_TYPES);
  if (given.type === 'uint8' && output !== 'probabilities') {
    const expected = '"output": "probabilities": whole numbers are no logits';
    throw mismatch(path, 'output', expected, given.type);
  }
  return {
    ...{ input: axesOf(input), output: axesOf(given), layout: 'nchw' },
    ...(input.type === 'uint8' ? { pixels: true } : {}),
    inputType: input.type as InputType,
    outputName: session.outputNames[at],
  };
}

type TensorMetadata = Extract<ort.InferenceSession.ValueMetadata, { readonly isTensor: true }>;

function tensorOf(
  path: string,
  field: string,
  value: ort.InferenceSession.ValueMetadata,
  types: readonly string[],
): TensorMetadata {
  if (value.isTensor && types.includes(value.type)) return value;
  const found = value.isTensor ? value.type : 'no tensor';
  throw mismatch(path, field, `a tensor of ${types.join(', ')}`, found, 'UNSUPPORTED');
}

function axesOf({ shape }: TensorMetadata): number[] {
  return shape.map((n) => (typeof n === 'number' ? n : -1));
}
