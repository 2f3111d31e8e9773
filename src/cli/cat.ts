import { type Command, Option } from 'commander';
import { labelsOfRow } from '../archive/pruning.js';
import { errorInRow } from '../archive/read-labels.js';
import { loadCodec } from '../codecs/registry.js';
import { allocate } from '../core/allocate.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { NpyWriter } from '../labels/npy.js';
import { openArchive } from '../pipeline/open-archive.js';
import type { CliIo } from './io.js';
import { nonNegativeInteger, type Slice, slice } from './options.js';

interface CatFlags {
  readonly epoch: number;
  readonly samples: Slice;
  readonly format: 'npy';
  readonly out: string;
}

/** Labels decoded at a time. */
const CHUNK = 4096;

export function addCat(program: Command, { signal }: CliIo): void {
  program
    .command('cat')
    .description('Decode one epoch of an archive into a file of probabilities [samples, classes].')
    .argument('<dir>', 'archive, or its address')
    .requiredOption('-e, --epoch <n>', 'epoch, from 0', nonNegativeInteger)
    .option('-s, --samples <range>', 'samples, as in Python: 0:100', slice, { from: 0, to: 'end' })
    .addOption(new Option('-f, --format <name>', 'file format').choices(['npy']).default('npy'))
    .requiredOption('-o, --out <file>', 'float32 .npy file to write')
    .action((dir: string, flags: CatFlags) => cat(dir, flags, signal));
}

async function cat(dir: string, { epoch, samples, out }: CatFlags, signal: AbortSignal) {
  await using archive = await openArchive(dir);
  const { from } = samples;
  const to = samples.to === 'end' ? archive.samples : samples.to;
  within('--epoch', epoch, archive.epochs - 1);
  within('--samples', to, archive.samples);
  within('--samples', from, to);
  using codec = loadCodec(archive.codecParts, loadKernels());
  await using writer = await NpyWriter.create(out, [to - from, archive.classes]);
  for (let start = from; start < to; start += CHUNK) {
    throwIfAborted(signal);
    const count = Math.min(CHUNK, to - start);
    const { row, first } = await archive.readCodes(epoch, { start, count });
    const labels = { start: start - first, count };
    const bytes = 4 * count * archive.classes;
    const probabilities = new Float32Array(allocate(bytes, `${dir}: ${count} labels`));
    const context = labelsOfRow(archive.manifest, archive.storedEpoch(epoch), start, count);
    const args = { row, labels, context, out: probabilities };
    await codec.decodeAsync(args).catch((error: unknown) => {
      throw errorInRow(archive, epoch, error);
    });
    await writer.write(probabilities);
  }
  await writer.finish();
}

function within(field: string, value: number, high: number): void {
  if (value <= high) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'not in this archive', {
    field,
    expected: `at most ${high}`,
    found: value,
  });
}
