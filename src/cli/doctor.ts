import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Command } from 'commander';
import { packageFile } from '../core/package-files.js';
import { errorMessage, SoftpackError } from '../errors.js';
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
    .option('--build', 'first build the native addon, if the installer did not')
    .option('--json', 'print as JSON')
    .action(async ({ build, json }: { readonly build?: boolean; readonly json?: boolean }) => {
      if (build) await buildAddon();
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

const BUILD_SCRIPT = packageFile('scripts/build-addon.mjs');

/** What the install script does; installers that ask before they run one skip it. */
async function buildAddon(): Promise<void> {
  const child = spawn(process.execPath, [BUILD_SCRIPT], {
    env: { ...process.env, SOFTPACK_REQUIRE_ADDON: '1' },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [code] = await once(child, 'exit');
  if (code === 0) return;
  throw new SoftpackError('BUILD_FAILED', 'the native addon could not be built, see above', {
    field: 'build',
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
  const { field } = error as { readonly field?: string };
  return { name, state: 'absent', reason: errorMessage(error).replace(`${field}: `, '') };
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
