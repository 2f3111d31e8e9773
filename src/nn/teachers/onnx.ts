import { existsSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type * as ort from 'onnxruntime-node';
import { errorMessage, invalidFile, SoftpackError } from '../../errors.js';
import { fileError } from '../../store/file-error.js';
import type { TeacherDescription } from './description.js';
import { type ModelFacts, mismatch, readDescription, settleShape } from './description.js';
import { filesSha256 } from './fingerprint.js';
import { networkTeacher } from './network-teacher.js';
import type { Teacher } from './teacher.js';

/** A teacher from an ONNX file, run by onnxruntime-node on one thread: labelling has a teacher a thread. */
export async function loadOnnxTeacher(path: string, given: TeacherDescription): Promise<Teacher> {
  const runtime = await loadRuntime();
  const description = await readDescription(dirname(path), given);
  // Large models keep their weights beside them, under the names that PyTorch and the onnx package choose.
  const names = [basename(path), `${basename(path)}.data`, `${basename(path)}_data`];
  const present = names.filter((name, i) => i === 0 || existsSync(`${dirname(path)}/${name}`));
  const sha256 = await filesSha256(dirname(path), present);
  const session = await createSession(runtime, path);
  try {
    const shape = settleShape(path, factsOf(path, session), description);
    const { size, layout } = shape;
    const axes = layout === 'nhwc' ? [...size, 3] : [3, ...size];
    return networkTeacher({
      ...{ path, kind: 'onnx', sha256, shape },
      async run(images, count) {
        const input = new runtime.Tensor('float32', images, [count, ...axes]);
        const found = await session.run({ [session.inputNames[0]]: input });
        return (await found[session.outputNames[0]].getData()) as Float32Array;
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
    const reason = errorMessage(cause).split('\n')[0];
    const type = 'npm install onnxruntime-node --onnxruntime-node-install=skip';
    const message = `ONNX teachers need onnxruntime-node: ${reason}; ${type}`;
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

async function createSession(runtime: typeof ort, path: string): Promise<ort.InferenceSession> {
  try {
    return await runtime.InferenceSession.create(path, {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
    });
  } catch (cause) {
    if (!existsSync(path)) throw fileError(path, { code: 'ENOENT' });
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'onnxruntime cannot load it', { found, cause });
  }
}

function factsOf(path: string, session: ort.InferenceSession): ModelFacts {
  const { inputMetadata: inputs, outputMetadata: outputs } = session;
  const shapes = Object.entries({ inputs, outputs }).map(([field, list]) => {
    const [value] = list;
    if (list.length !== 1) throw mismatch(path, field, 'one', list.length, 'UNSUPPORTED');
    if (!value.isTensor || value.type !== 'float32') {
      const found = value.isTensor ? value.type : 'no tensor';
      throw mismatch(path, field, 'a float32 tensor', found, 'UNSUPPORTED');
    }
    return value.shape.map((n) => (typeof n === 'number' ? n : -1));
  });
  return { input: shapes[0], output: shapes[1], layout: 'nchw' };
}
