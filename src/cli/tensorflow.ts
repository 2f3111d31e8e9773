import type { Command } from 'commander';
import type {
  InstallOptions,
  InstallProgress,
  InstallResult,
} from '../nn/tensorflow-install/install.js';
import { type CliIo, print } from './io.js';
import { phaseProgress } from './progress.js';

interface InstallFlags {
  readonly gpu?: boolean;
  readonly wheel?: string;
  readonly dir?: string;
}

export function addTensorflow(program: Command, io: CliIo): void {
  const group = program
    .command('tensorflow')
    .description('Install or remove native TensorFlow, the fast backend for networks.');
  group
    .command('install')
    .description('Build it from the TensorFlow wheel of the Python package index (274 MB).')
    .option('--gpu', "with CUDA kernels and NVIDIA's libraries (several GB)")
    .option('--wheel <path>', 'use this downloaded wheel')
    .option(
      '-d, --dir <dir>',
      'target folder; default: SOFTPACK_TENSORFLOW_DIR or the user cache folder',
    )
    .action(async ({ gpu, ...flags }: InstallFlags) => {
      const { installTensorflow } = await import('../nn/tensorflow-install/install.js');
      const variant: InstallOptions['variant'] = gpu ? 'gpu' : 'cpu';
      const onProgress = installProgress(io);
      const result = await installTensorflow({ ...flags, variant, onProgress, signal: io.signal });
      print(io, describe(result));
    });
  group
    .command('uninstall')
    .description('Remove it, and the remains of interrupted installations.')
    .option('-d, --dir <dir>', 'its folder; default: as for install')
    .action(async ({ dir }: { readonly dir?: string }) => {
      const { uninstallTensorflow } = await import('../nn/tensorflow-install/install.js');
      const removed = await uninstallTensorflow(dir);
      print(io, removed ? 'removed' : 'nothing was installed');
    });
}

const PHASES: Readonly<Record<InstallProgress['phase'], string>> = {
  wait: 'another installation runs',
  package: 'fetching the binding',
  download: 'downloading TensorFlow',
  unpack: 'unpacking libraries',
  compile: 'compiling the binding',
  verify: 'verifying',
};

function installProgress(io: CliIo): (progress: InstallProgress) => void {
  const show = phaseProgress(PHASES, io.stderr);
  return ({ phase, done, total }) => {
    show(phase, done, total, total > 1 ? `${(total / 1e6).toFixed(0)} MB` : '');
  };
}

function describe({ dir, installed, verified, driver }: InstallResult): string {
  const { tensorflow, variant } = installed;
  const devices = verified === undefined ? '' : ` on ${verified.devices.join(' and ')}`;
  const how = verified === undefined ? 'was installed already' : `is ready${devices}`;
  const lines = [`TensorFlow ${tensorflow} (${variant}) ${how}: ${dir}`];
  if (driver !== undefined) lines.push(`It needs ${driver}.`);
  if (verified !== undefined && variant === 'gpu' && !verified.devices.includes('GPU')) {
    lines.push('It sees no GPU here and computes on the processor.');
  }
  if (verified !== undefined && verified.operations.state !== 'ready') {
    lines.push(`It does not decode labels itself: ${verified.operations.reason}`);
  }
  return lines.join('\n');
}
