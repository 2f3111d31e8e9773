import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import { openJobStores } from '../pipeline/job/stores.js';
import {
  SYNTHESIS_METHODS,
  type SynthesiseOptions,
  type SynthesisMethod,
  type SynthesisProgress,
  type SynthesisResult,
} from '../synthesis/options.js';
import { type CliIo, print } from './io.js';
import { addJobOption, printJob, requireOutOrJob, type ScriptFlags } from './job-output.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  type Slice,
  shareOf,
  slice,
} from './options.js';
import { phaseProgress } from './progress.js';
import { addTeacherOptions, descriptionOf, type TeacherFlags } from './teacher-options.js';

const OUT = '-o, --out <dir>';
/** Batch-norm term of noise over its cross-entropy, both as they enter the loss; the published weight gave 2. */
const BALANCED = [0.2, 10] as const;

interface SynthesiseFlags extends TeacherFlags, ScriptFlags {
  readonly method: SynthesisMethod;
  readonly teacher: string;
  readonly images?: string;
  readonly split?: string;
  readonly ipc: number;
  readonly out: string;
  readonly job?: string;
  readonly classRange?: Slice;
  readonly jpeg?: number;
  readonly seed: number;
  readonly shard?: { readonly index: number; readonly count: number };
  readonly candidates?: number;
  readonly draws?: number;
  readonly crops?: number;
  readonly factor?: number;
  readonly batch?: number;
  readonly iterations?: number;
  readonly lr?: number;
  readonly bnWeight?: number;
  readonly firstBn?: number;
  readonly minCrop?: number;
  readonly curriculum?: number;
  readonly jitter?: number;
  readonly statistics?: string;
  readonly json?: boolean;
}

export function addSynthesise(program: Command, io: CliIo): void {
  const command = program
    .command('synthesise')
    .description('Distil images from a data set with a teacher, as folders ready for labels.')
    .addOption(
      new Option(
        '--method <name>',
        'rded: crops of images; sre2l, cda, lpld: images optimised from noise',
      )
        .choices(SYNTHESIS_METHODS)
        .default('rded'),
    )
    .requiredOption(
      '--teacher <path>',
      'softpack .safetensors, torchvision .pth, TensorFlow.js model, SavedModel folder or .onnx file',
    )
    .option(
      '-i, --images <path>',
      'class folders, list of files, or packed images; rded needs them',
    )
    .requiredOption('--ipc <n>', 'images per class', positiveInteger)
    .option(OUT, 'folder to write; an interrupted run is resumed')
    .option('--class-range <from:to>', "the teacher's classes to take; default: all", slice)
    .option('--jpeg <quality>', 'write JPEG instead of PNG', positiveInteger)
    .option('--seed <n>', 'seed of all draws', nonNegativeInteger, 0)
    .option('--shard <i/n>', 'make part i of n, counted from 0', shardOf)
    .option('--candidates <n>', 'images tried per class (default: 300)', positiveInteger)
    .option('--draws <n>', 'times each image is tried (default: 1)', positiveInteger)
    .option('--crops <n>', 'crops per try, the best is kept (default: 5)', positiveInteger)
    .option(
      '--factor <n>',
      'an image is a grid of n x n crops (default: 2, or 1 up to 64 pixels)',
      positiveInteger,
    )
    .option(
      '-b, --batch <n>',
      'crops or images at a time (default: 128; others: 100)',
      positiveInteger,
    )
    .option(
      '--iterations <n>',
      'steps from noise to an image (default: 4000, or 1000 up to 64 pixels)',
      positiveInteger,
    )
    .option('--lr <x>', 'of the optimised pixels (default: 0.25)', positiveNumber)
    .option(
      '--bn-weight <x>',
      'of the distance from the batch norms (default: 0.01)',
      positiveNumber,
    )
    .option('--first-bn <x>', 'of the first batch norm among all (default: 10)', positiveNumber)
    .option(
      '--min-crop <x>',
      'smallest share of an image in a view (default: 0.08)',
      positiveNumber,
    )
    .option(
      '--curriculum <x>',
      'share of the steps in which views shrink to it (default: 1 of cda, else 0)',
      shareOf,
    )
    .option(
      '--jitter <n>',
      'largest shift of a view, pixels (default: 1/7 of the side)',
      nonNegativeInteger,
    )
    .option(
      '--statistics <file>',
      'of softpack statistics; lpld and models without batch norms need it',
    )
    .option('--split <name>', 'dataset split of the folder, e.g. train');
  addJobOption(addTeacherOptions(command), ['shard'])
    .option('--json', 'print the result as JSON')
    .action(async (flags: SynthesiseFlags) => {
      requireOutOrJob(command, OUT);
      const description = await descriptionOf(flags);
      if (flags.job !== undefined) return planJob(io, flags.job, { ...flags, description });
      // Loading TensorFlow.js takes a second that other commands need not spend.
      const { synthesise } = await import('../synthesis/synthesise.js');
      const show = phaseProgress({ synthesise: 'images' }, io.stderr);
      const result = await synthesise({
        ...optionsOf({ ...flags, description }),
        onProgress: (progress) => {
          show('synthesise', shareDone(progress), progress.total, noteOf(progress));
          const warning = unbalanced(progress);
          if (warning !== undefined) io.stderr.write(`${warning}\n`);
        },
        signal: io.signal,
      });
      print(io, flags.json ? JSON.stringify(result) : describe(result, flags));
    });
}

type Described = Omit<SynthesiseFlags, 'description'> & Pick<SynthesiseOptions, 'description'>;

async function planJob(io: CliIo, address: string, flags: Described): Promise<void> {
  const { planSynthesisJob } = await import('../synthesis/synthesis-jobs.js');
  const { out: _, shard: __, ...options } = optionsOf(flags);
  const job = await planSynthesisJob(await openJobStores(address), options, io.signal);
  const { images, folders } = job.content;
  const total = images.reduce((sum, count) => sum + count, 0);
  const lines = [
    `${total} images of ${folders.length} classes in ${images.length} shards`,
    `next: softpack cache run ${address}`,
  ];
  printJob(io, address, job, lines, flags);
}

function optionsOf(flags: Described) {
  const { classRange, jpeg, json: _, job: __, for: ___, tasks: ____, ...options } = flags;
  const range = classRange && ([classRange.from, endOf(classRange)] as const);
  return {
    ...options,
    classes: range,
    format: jpeg === undefined ? 'png' : { jpeg },
  } satisfies SynthesiseOptions;
}

function noteOf({ confidence, step }: SynthesisProgress): string | undefined {
  if (step === undefined) {
    return confidence === undefined ? undefined : `confidence ${confidence.toFixed(2)}`;
  }
  const { job, iteration, iterations, crossEntropy, bn } = step;
  return `job ${job}, ${iteration + 1}/${iterations}, CE ${crossEntropy.toFixed(2)}, BN ${bn.toFixed(0)}`;
}

/** Said of the noise that a run begins with: a term that is many times the other decides alone. */
function unbalanced({ done, step }: SynthesisProgress): string | undefined {
  if (step === undefined || done > 0 || step.iteration > 0) return undefined;
  const { bn, bnWeight, crossEntropy } = step;
  const share = (bnWeight * bn) / crossEntropy;
  const [least, most] = BALANCED;
  if (share >= least && share <= most) return undefined;
  const better = (bnWeight * 2) / share;
  return `batch norms weigh ${share.toPrecision(2)} times the cross-entropy of noise, usual are ${least} to ${most}: consider --bn-weight ${better.toPrecision(1)}`;
}

/** Whole jobs, and the part of the one under way. */
function shareDone({ done, step }: SynthesisProgress): number {
  return step === undefined ? done : done + step.iteration / step.iterations;
}

function endOf({ to }: Slice): number {
  if (to !== 'end') return to;
  throw new InvalidArgumentError('A range of classes needs its end, as in 0:100.');
}

function shardOf(text: string): { readonly index: number; readonly count: number } {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text)?.map(Number) ?? [];
  if (count > index) return { index, count };
  throw new InvalidArgumentError('Must be a part and the number of parts, from 0/4 to 3/4.');
}

function describe(result: SynthesisResult, { out, teacher }: SynthesiseFlags): string {
  const { images, classes, bytes, accuracy, confidence, jobs, jobsDone } = result;
  const lines = [
    `${images} images of ${classes} classes in ${out}, ${formatBytes(bytes)}`,
    `the teacher gives ${(100 * accuracy).toFixed(1)} % of them their class, with a mean confidence of ${confidence.toFixed(2)}`,
  ];
  if (jobsDone < jobs)
    lines.push(`${jobsDone} of ${jobs} jobs are done; other shards make the rest`);
  else lines.push(`label them with: softpack cache --teacher ${teacher} --images ${out} ...`);
  return lines.join('\n');
}
