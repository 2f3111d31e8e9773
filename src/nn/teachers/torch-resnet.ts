import { dirname } from 'node:path';
import { readTensorFile, type StoredTensor } from '../../container/tensor-file.js';
import { numbersOf } from '../../container/torch/numbers.js';
import { openTorchFile } from '../../container/torch/open.js';
import { stateDictOf } from '../../container/torch/state-dict.js';
import { requireMemory } from '../../core/allocate.js';
import { errorCode, errorMessage, invalidFile } from '../../errors.js';
import type { BackendName } from '../backend/name.js';
import { selectBackend } from '../backend/select.js';
import { ResNet } from '../resnet.js';
import type { CheckpointTensor } from '../resnet-plan.js';
import { PRESETS, readDescription, type TeacherDescription } from './description.js';
import { differentiable } from './differentiable.js';
import { fileSha256 } from './fingerprint.js';
import { networkTeacher } from './network-teacher.js';
import { settleShape } from './shape.js';
import type { Teacher } from './teacher.js';
import { runOnTensor } from './tensor-run.js';

/** Side of the images that ImageNet's networks are tested on. */
const LARGE_SIDE = 224;
const NUMBERS = ['F64', 'F32', 'F16', 'BF16'] as const;
type FloatType = (typeof NUMBERS)[number];

/** A teacher from a checkpoint of a torchvision ResNet: a file of `torch.save`, or safetensors with the same names. */
export async function loadTorchResNetTeacher(
  path: string,
  backend: 'auto' | BackendName,
  given: TeacherDescription,
): Promise<Teacher> {
  await selectBackend({ backend });
  const model = await readResNet(path);
  try {
    const described = await readDescription(dirname(path), given);
    // Layout and normalisation of the network that was trained; the checkpoint itself says neither.
    const usual = model.isLarge
      ? ({ ...PRESETS.torch, size: [LARGE_SIDE, LARGE_SIDE] } as const)
      : {};
    const description = { ...usual, ...described, layout: 'nhwc' } as const;
    const facts = { input: [-1, -1, -1, 3], output: [-1, model.classes], layout: 'nhwc' } as const;
    const shape = settleShape(path, facts, description);
    const output = { name: 'fc', index: 0 };
    return networkTeacher({
      ...{ path, kind: 'torch-resnet', sha256: await fileSha256(path), shape },
      network: differentiable(shape, {
        taps: model.norms,
        stored: () => model.statistics(),
        run: (input, tap) => model.apply(input, tap),
      }),
      run: (images, count) =>
        runOnTensor(path, shape, images, count, (input) => model.apply(input), output),
      dispose: () => model[Symbol.dispose](),
    });
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
}

async function readResNet(path: string): Promise<ResNet> {
  if (path.endsWith('.safetensors')) {
    const { tensors } = await readTensorFile(path);
    return ResNet.fromCheckpoint(
      path,
      checkpointOf(path, tensors, async ({ data }) => data),
    );
  }
  await using file = await openTorchFile(path).catch((cause: unknown) => {
    if (errorCode(cause) !== 'INVALID_FILE') throw cause;
    const message =
      'not a checkpoint that can be read here; in Python: torch.onnx.export, and give the .onnx file';
    throw invalidFile(path, 'content', message, { found: errorMessage(cause), cause });
  });
  const tensors = stateDictOf(file);
  return await ResNet.fromCheckpoint(
    path,
    checkpointOf(path, tensors, (tensor) => file.read(tensor)),
  );
}

function checkpointOf<T extends Pick<StoredTensor, 'shape'> & { readonly dtype: string }>(
  path: string,
  tensors: ReadonlyMap<string, T>,
  read: (tensor: T) => Promise<Uint8Array>,
): ReadonlyMap<string, CheckpointTensor> {
  return new Map(
    [...tensors].map(([name, tensor]) => [
      name,
      {
        shape: tensor.shape,
        async values() {
          const dtype = NUMBERS.find((known) => known === tensor.dtype);
          if (dtype === undefined) {
            const details = { expected: NUMBERS.join(' or '), found: tensor.dtype };
            throw invalidFile(path, name, 'weights of an unknown type', details);
          }
          const size = tensor.shape.reduce((product, length) => product * length, 1);
          requireMemory(size * Float64Array.BYTES_PER_ELEMENT, `${path}: ${name}`);
          return finite(path, name, dtype, await read(tensor));
        },
      },
    ]),
  );
}

function finite(path: string, name: string, dtype: FloatType, bytes: Uint8Array): Float32Array {
  const values = Float32Array.from(numbersOf(dtype, bytes));
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad === undefined) return values;
  throw invalidFile(path, name, 'weights are not finite', {
    expected: 'finite values',
    found: bad,
  });
}
