import { type Command, Option } from 'commander';
import { CODECS } from '../codecs/registry.js';
import { formatBytes } from '../core/format.js';
import { SoftpackError } from '../errors.js';
import { type PilotResult, pilotLabels } from '../pipeline/pilot.js';
import { type LabelPlan, type PlanRequest, planLabels } from '../planner/plan.js';
import { codecOf, keepOf } from './codec-options.js';
import { type CliIo, print } from './io.js';
import { addLogitsOptions, type LogitsFlags, labelsOf } from './logits-options.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  tauScheduleOption,
} from './options.js';
import { packProgress } from './pack.js';
import { pilotLines, reuseLines } from './planned.js';

interface PlanFlags extends LogitsFlags {
  readonly classes?: number;
  readonly ipc?: number;
  readonly epochs: number;
  readonly codec?: string;
  readonly ratio?: number;
  readonly megabytes?: number;
  readonly rate?: number;
  readonly kl?: number;
  readonly keep?: number;
  readonly labels?: string;
  readonly tau?: number;
  readonly tauSchedule?: 'lpqld' | readonly number[];
  readonly seed: number;
  readonly teacherBytes?: number;
  readonly teacherParameters?: number;
  readonly imageBytes: number;
  readonly batch: number;
  readonly json?: boolean;
}

export function addPlan(program: Command, io: CliIo): void {
  const command = program
    .command('plan')
    .description(
      'Predict the size of soft labels for every codec, before there are any; or try a codec on a draw of labels.',
    )
    .option('-c, --classes <n>', 'classes', positiveInteger)
    .option('--ipc <n>', 'distilled images per class', positiveInteger)
    .option('-E, --epochs <n>', 'epochs, with one label per image each', positiveInteger, 300)
    .addOption(
      new Option('--codec <name>', 'plan this one only').choices([...CODECS.names, 'prune']),
    )
    .option(
      '-r, --ratio <x>',
      'compression ratio of the whole archive relative to float16; default: 40',
      positiveNumber,
    )
    .option('-m, --megabytes <n>', 'size of the whole archive, MB of 1024^2 bytes', positiveNumber)
    .option('--rate <n>', 'transform: bits per stored label, tensors included', positiveNumber)
    .option('--kl <n>', 'transform: mean KL divergence of decoded labels, nats', positiveNumber)
    .option('--keep <n>', 'store the first n epochs, which serve for all in turn', positiveInteger)
    .option('--labels <path>', 'logits or an archive to try the transform codec on, as pack reads')
    .option('-t, --tau <t>', 'with --labels: temperature of the labels', positiveNumber)
    .addOption(tauScheduleOption())
    .option('--seed <n>', 'with --labels: seed of the draw', nonNegativeInteger, 0)
    .option('--teacher-bytes <n>', "size of the teacher's file", positiveInteger)
    .option('--teacher-parameters <n>', "number of the teacher's parameters", positiveInteger)
    .option('--image-bytes <n>', 'size of one image as JPEG', positiveInteger, 13_600)
    .option('-b, --batch <n>', 'labels per batch, for label pruning', positiveInteger, 64);
  addLogitsOptions(command)
    .option('--json', 'print as JSON')
    .action(async (flags: PlanFlags) => {
      if (flags.labels !== undefined) return tryOn(flags.labels, flags, io);
      const plan = planLabels(requestOf(flags));
      print(io, flags.json ? JSON.stringify(plan, null, 2) : describe(plan));
    });
}

/** Finds the settings of a codec on a draw of labels. */
async function tryOn(source: string, flags: PlanFlags, io: CliIo): Promise<void> {
  const codec = { ...flags, codec: flags.codec ?? 'transform' };
  const result = await pilotLabels({
    source,
    tensor: flags.tensor,
    labels: labelsOf(flags),
    codec: codecOf(codec),
    keep: keepOf(codec),
    tau: flags.tau,
    tauSchedule: flags.tauSchedule,
    training: { seed: flags.seed },
    onProgress: packProgress(io),
    signal: io.signal,
  });
  const teacher = int8Of(flags.teacherParameters, result.bytes.total);
  const text = flags.json
    ? JSON.stringify({ ...result, ...teacher }, null, 2)
    : describePilot(result, teacher.teacherInt8);
  print(io, text);
}

interface Int8 {
  readonly bytes: number;
  /** Archives that fit into it. */
  readonly archives: number;
}

/** The control: no labels, but the teacher in one byte per parameter. */
function int8Of(parameters: number | undefined, archive: number): { readonly teacherInt8?: Int8 } {
  if (parameters === undefined) return {};
  return { teacherInt8: { bytes: parameters, archives: parameters / archive } };
}

function describePilot(result: PilotResult, teacher: Int8 | undefined): string {
  const { codec, classes, samples, epochs, full, bytes, ratio, pilot } = result;
  return [
    `${samples} images x ${epochs} epochs of ${classes} classes: ${binary(full)} as float16`,
    `${CODECS.words(codec)}: ${binary(bytes.total)}, ${ratio.toFixed(1)}x, predicted, every byte counted`,
    ...reuseLines(result),
    ...pilotLines(pilot),
    ...(teacher === undefined
      ? []
      : [
          `the teacher in int8: ${binary(teacher.bytes)}, ${(full / teacher.bytes).toFixed(1)}x, ` +
            `${teacher.archives.toFixed(1)} such archives`,
        ]),
  ].join('\n');
}

function requestOf(flags: PlanFlags): PlanRequest {
  const { ratio, megabytes, rate, kl, epochs, keep, imageBytes, batch } = flags;
  const { codec = rate === undefined ? undefined : 'transform' } = flags;
  const { teacherBytes, teacherParameters } = flags;
  if (kl !== undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'a divergence is that of labels', {
      field: '--labels',
      expected: 'logits or an archive to try the codec on',
    });
  }
  if ([ratio, megabytes, rate].filter((size) => size !== undefined).length > 1) {
    throw new SoftpackError('INVALID_ARGUMENT', 'give one of --ratio, --megabytes and --rate', {
      field: '--ratio',
    });
  }
  const shape = { classes: needed(flags, 'classes'), ipc: needed(flags, 'ipc'), epochs, keep };
  const besides = { codec, teacherBytes, teacherParameters, imageBytes, batch };
  if (rate !== undefined) return { ...shape, ...besides, rate };
  if (megabytes !== undefined) return { ...shape, ...besides, bytes: megabytes * 2 ** 20 };
  return { ...shape, ...besides, ratio: ratio ?? 40 };
}

function needed(flags: PlanFlags, name: 'classes' | 'ipc'): number {
  const found = flags[name];
  if (found !== undefined) return found;
  throw new SoftpackError('INVALID_ARGUMENT', 'no labels to plan for', {
    field: `--${name}`,
    expected: 'a number, or --labels',
  });
}

/** Powers of 1024, as the paper counts. */
function binary(bytes: number): string {
  const gigabytes = bytes / 2 ** 30;
  return gigabytes >= 0.1 ? `${gigabytes.toFixed(3)} GiB` : `${(bytes / 2 ** 20).toFixed(2)} MiB`;
}

function describe(plan: LabelPlan): string {
  const { labels, full, budget, codecs, impossible, levelSet, images, teacher } = plan;
  const row = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(10) : cell.padStart(WIDTHS[i]))).join('');
  const size = (bytes: number) => [binary(bytes), `${(full / bytes).toFixed(1)}x`];
  const lines = [
    `${labels.samples} images x ${labels.epochs} epochs of ${labels.classes} classes: ${binary(full)} as float16`,
    `budget: ${binary(budget)}, ${(full / budget).toFixed(1)}x, every byte counted`,
    '',
    row([
      'codec',
      'bits/label',
      'archive',
      'ratio',
      "by the paper's formula",
      'ratio',
      '  parameters',
    ]),
    ...codecs.map(({ name, parameters, storedEpochs, bitsPerLabel, bytes, formula, problem }) =>
      row([
        name,
        bitsPerLabel.toFixed(1),
        ...size(bytes.total),
        ...(formula === undefined ? ['-', '-'] : size(formula)),
        `  ${parameters}${keptWords(storedEpochs, labels.epochs)}${problem === undefined ? '' : `  ! ${problem}`}`,
      ]),
    ),
    ...impossible.map(({ name, reason }) => row([name, '-', '-', '-', '-', '-', `  ! ${reason}`])),
    '',
    ...codecs.flatMap(({ name, storedEpochs = labels.epochs, weighed }) =>
      reuseLines({ epochs: labels.epochs, storedEpochs, weighed }).map((line, i) =>
        i === 0 ? `${name} ${line}` : line,
      ),
    ),
    ...(levelSet.length === 0
      ? []
      : ['', 'autoencoder settings of about this size (* suggested):']),
    ...levelSet.map(
      ({ dh, dc, k, bytes, suggested }) =>
        `${suggested ? '*' : ' '} dh ${String(dh).padStart(4)}  dc ${String(dc).padStart(4)}  k ${String(k).padStart(4)}  ${binary(bytes)}`,
    ),
    '',
    'besides the labels:',
    `  images as JPEG       ${binary(images)} (estimate)`,
    '  augmentation         0 B per label: derived from a seed (records of other tools: 25 to 42 B)',
    `  container, metadata  ${codecs.length === 0 ? '-' : formatBytes(codecs[0].bytes.container + codecs[0].bytes.metadata)}, in the archive sizes above`,
  ];
  if (teacher !== undefined) {
    lines.push(
      '',
      `the teacher itself: ${binary(teacher.bytes)}, and ${teacher.forwardPassesAnEpoch} forward passes per epoch, ${teacher.forwardPasses} in total`,
      `  archives are smaller than it from ${teacher.smallerFrom.toFixed(1)}x on` +
        (teacher.epochsAtBudget === undefined
          ? ''
          : `; at ${(full / budget).toFixed(1)}x they are up to ${teacher.epochsAtBudget} epochs`),
    );
    const { int8 } = teacher;
    if (int8 !== undefined) {
      lines.push(`  in int8 it is ${binary(int8.bytes)}, worth ${int8.smallerFrom.toFixed(1)}x`);
    }
  }
  return lines.join('\n');
}

function keptWords(stored: number | undefined, epochs: number): string {
  return stored === undefined ? '' : `, ${stored} of ${epochs} epochs stored`;
}

const WIDTHS = [10, 12, 14, 8, 24, 8, 0];
