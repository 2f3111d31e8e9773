import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const onnx = await import('onnxruntime-node').then(
  () => undefined,
  (error: Error) => error.message,
);
const url = (path: string) => new URL(path, import.meta.url);

test("ONNX teachers leave no device id in the user's folders", async (context) => {
  if (onnx !== undefined) return context.skip(`onnxruntime-node does not load: ${onnx}`);
  const home = temporary.path('home');
  await mkdir(home);
  const loader = url('../../dist/nn/teachers/load.js').href;
  const model = fileURLToPath(url('./models/onnx-nchw/model.onnx'));
  const script = `import { loadTeacher } from ${JSON.stringify(loader)};
    const description = { preprocessing: 'torch' };
    const teacher = await loadTeacher(${JSON.stringify(model)}, { description });
    await teacher.logits(new Float32Array(8 * 8 * 3));`;
  // Without CI and the like, which switch telemetry off by themselves.
  const env = { PATH: process.env.PATH, HOME: home };
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env });
  expect(await readdir(home, { recursive: true })).toEqual([]);
});
