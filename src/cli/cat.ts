import { type Command, InvalidArgumentError, Option } from 'commander';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { openArchive } from '../pipeline/open-archive.js';
import type { CliIo } from './io.js';
import { LABEL_FORMATS, type LabelFormat, labelOutput } from './label-output.js';
import { positiveNumber, type Slice, slice } from './options.js';

interface CatFlags {
  readonly epoch: number | Slice;
  readonly samples: Slice;
  readonly tau?: number;
  readonly format: LabelFormat;
  readonly out: string;
}

/** Labels decoded at a time. */
const CHUNK = 4096;

export function addCat(program: Command, io: CliIo): void {
  program
    .command('cat')
    .description(
      'Decode labels of an archive: probabilities [samples, classes] of one epoch or several.',
    )
    .argument('<dir>', 'archive, or its address')
    .requiredOption('-e, --epoch <n>', 'epoch, from 0, or a range as in Python: 0:3', epochs)
    .addOption(
      new Option('-s, --samples <range>', 'samples, as in Python: 0:100')
        .argParser(slice)
        .default({ from: 0, to: 'end' }, 'all'),
    )
    .option(
      '-t, --tau <t>',
      "temperature of the labels, if the codec stores logits; default: each epoch's",
      positiveNumber,
    )
    .addOption(
      new Option('-f, --format <name>', 'file format').choices(LABEL_FORMATS).default('npy'),
    )
    .requiredOption('-o, --out <file>', 'file to write; - for standard output')
    .action((dir: string, flags: CatFlags) => cat(dir, flags, io));
}

/** One epoch, or a range of them. */
function epochs(text: string): number | Slice {
  if (text.includes(':')) return slice(text);
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Must be an integer of 0 or more, or a range like 0:3.');
}

async function cat(dir: string, { epoch, samples, tau, out, format }: CatFlags, io: CliIo) {
  await using archive = await openArchive(dir);
  const { classes } = archive;
  const isOne = typeof epoch === 'number';
  const rows = isOne ? ([epoch, epoch + 1] as const) : ends(epoch, archive.epochs);
  const [from, to] = ends(samples, archive.samples);
  if (isOne) within('--epoch', epoch, archive.epochs - 1);
  within('--epoch', rows[1], archive.epochs);
  within('--epoch', rows[0], rows[1]);
  within('--samples', to, archive.samples);
  within('--samples', from, to);
  const shape = [to - from, classes];
  const whole = isOne ? shape : [rows[1] - rows[0], ...shape];
  await using output = await labelOutput(out, format, whole, io);
  for (let row = rows[0]; row < rows[1]; row++) {
    for (let start = from; start < to; start += CHUNK) {
      throwIfAborted(io.signal);
      const count = Math.min(CHUNK, to - start);
      const values = await archive.labels(row, { start, count }, { tau });
      await output.write({ epoch: row, start, values });
    }
  }
  await output.finish();
}

function ends({ from, to }: Slice, end: number): readonly [number, number] {
  return [from, to === 'end' ? end : to];
}

function within(field: string, value: number, high: number): void {
  if (value <= high) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'not in this archive', {
    field,
    expected: `at most ${high}`,
    found: value,
  });
}
