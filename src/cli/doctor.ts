import type { Command } from 'commander';
import { errorMessage } from '../errors.js';
import { loadLibvips } from '../images/libvips.js';
import { kernelStatus } from '../kernels/load.js';
import { withTfjs } from '../nn/with-tfjs.js';
import { type CliIo, print } from './io.js';

export function addDoctor(program: Command, io: CliIo): void {
  program
    .command('doctor')
    .description(
      'List the kernels and TensorFlow.js backends that are available, and what the others lack.',
    )
    .option('--json', 'print as JSON')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const { onnxStatus } = await import('../nn/teachers/onnx.js');
      const facts = {
        node: process.version,
        kernels: kernelStatus(),
        tensorflow: await tensorflow(),
        images: await images(),
        teachers: [await onnxStatus()],
      };
      print(io, json ? JSON.stringify(facts, null, 2) : describe(facts));
    });
}

/** Loading TensorFlow.js takes a second that other commands need not spend. */
async function tensorflow(): Promise<readonly BackendState[]> {
  try {
    const { tensorflowStatus } = await withTfjs(() => import('../nn/backend/select.js'));
    return await tensorflowStatus();
  } catch (error) {
    return [absent('tfjs', error)];
  }
}

async function images(): Promise<readonly BackendState[]> {
  try {
    const { versions } = await loadLibvips();
    return [{ name: 'sharp', state: 'ready', reason: `sharp ${versions.sharp}` }];
  } catch (error) {
    return [absent('sharp', error)];
  }
}

function absent(name: string, error: unknown): BackendState {
  return { name, state: 'absent', reason: errorMessage(error) };
}

interface BackendState {
  readonly name: string;
  readonly state: string;
  readonly reason: string;
}

function describe(facts: {
  readonly node: string;
  readonly kernels: readonly BackendState[];
  readonly tensorflow: readonly BackendState[];
  readonly teachers: readonly BackendState[];
  readonly images: readonly BackendState[];
}): string {
  const line = ({ name, state, reason }: BackendState) =>
    `  ${name.padEnd(12)}${state.padEnd(14)}${reason}`;
  return [
    `Node ${facts.node}`,
    'kernels',
    ...facts.kernels.map(line),
    'TensorFlow.js',
    ...facts.tensorflow.map(line),
    'teachers of other tools',
    ...facts.teachers.map(line),
    'image files',
    ...facts.images.map(line),
  ].join('\n');
}
