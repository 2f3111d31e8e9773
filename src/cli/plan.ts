import type { Command } from 'commander';
import { SoftpackError } from '../errors.js';
import { type LabelPlan, planLabels } from '../planner/plan.js';
import { formatBytes } from './format.js';
import { type CliIo, print } from './io.js';
import { positiveInteger, positiveNumber } from './options.js';

interface PlanFlags {
  readonly classes: number;
  readonly ipc: number;
  readonly epochs: number;
  readonly ratio?: number;
  readonly megabytes?: number;
  readonly teacherBytes?: number;
  readonly imageBytes: number;
  readonly batch: number;
  readonly json?: boolean;
}

export function addPlan(program: Command, io: CliIo): void {
  program
    .command('plan')
    .description('Predict the size of soft labels for every codec, before there are any.')
    .requiredOption('-c, --classes <n>', 'classes', positiveInteger)
    .requiredOption('--ipc <n>', 'distilled images per class', positiveInteger)
    .option('-E, --epochs <n>', 'epochs, with one label per image each', positiveInteger, 300)
    .option(
      '-r, --ratio <x>',
      'compression ratio of the whole archive relative to float16 (default 40)',
      positiveNumber,
    )
    .option('-m, --megabytes <n>', 'size of the whole archive, MB of 1024^2 bytes', positiveNumber)
    .option('--teacher-bytes <n>', "size of the teacher's file", positiveInteger)
    .option('--image-bytes <n>', 'size of one image as JPEG', positiveInteger, 13_600)
    .option('-b, --batch <n>', 'labels per batch, for label pruning', positiveInteger, 64)
    .option('--json', 'print as JSON')
    .action((flags: PlanFlags) => {
      const plan = planLabels(budgetOf(flags));
      print(io, flags.json ? JSON.stringify(plan, null, 2) : describe(plan));
    });
}

function budgetOf({ ratio, megabytes, ...flags }: PlanFlags) {
  if (ratio !== undefined && megabytes !== undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'give either --ratio or --megabytes', {
      field: '--ratio',
    });
  }
  return {
    ...flags,
    ...(megabytes === undefined ? { ratio: ratio ?? 40 } : { bytes: megabytes * 2 ** 20 }),
  };
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
    ...codecs.map(({ name, parameters, bitsPerLabel, bytes, formula, problem }) =>
      row([
        name,
        bitsPerLabel.toFixed(1),
        ...size(bytes.total),
        ...(formula === undefined ? ['-', '-'] : size(formula)),
        `  ${parameters}${problem === undefined ? '' : `  ! ${problem}`}`,
      ]),
    ),
    ...impossible.map(({ name, reason }) => row([name, '-', '-', '-', '-', '-', `  ! ${reason}`])),
    '',
    'autoencoder settings of about this size (* suggested):',
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
  }
  return lines.join('\n');
}

const WIDTHS = [10, 12, 14, 8, 24, 8, 0];
