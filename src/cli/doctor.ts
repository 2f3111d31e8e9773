import type { Command } from 'commander';
import { kernelStatus } from '../kernels/load.js';
import { type CliIo, print } from './io.js';

export function addDoctor(program: Command, io: CliIo): void {
  program
    .command('doctor')
    .description(
      'List the kernels and TensorFlow.js backends that are available, and what the others lack.',
    )
    .option('--json', 'print as JSON')
    .action(async ({ json }: { readonly json?: boolean }) => {
      // Loading TensorFlow.js takes a second that other commands need not spend.
      const { tensorflowStatus } = await import('../nn/backend/select.js');
      const { onnxStatus } = await import('../nn/teachers/onnx.js');
      const facts = {
        node: process.version,
        kernels: kernelStatus(),
        tensorflow: await tensorflowStatus(),
        teachers: [await onnxStatus()],
      };
      print(io, json ? JSON.stringify(facts, null, 2) : describe(facts));
    });
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
  ].join('\n');
}
