import { type Command, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import {
  EXPORT_LAYOUTS,
  type ExportOptions,
  type ExportResult,
  exportLabels,
} from '../interop/export.js';
import { LAYOUT_NAMES } from '../interop/layouts/label-set.js';
import type { DrawsPerEpoch } from '../interop/random-sampler.js';
import { type CliIo, print } from './io.js';
import { nonNegativeInteger, positiveInteger, positiveNumber } from './options.js';
import { reportedStep } from './progress.js';

interface ExportFlags
  extends Omit<ExportOptions, 'source' | 'onProgress' | 'signal' | 'drawsPerEpoch'> {
  readonly drawsPerEpoch?: string;
  readonly json?: boolean;
}

export function addExport(program: Command, io: CliIo): void {
  program
    .command('export')
    .description("Write an archive's labels as the training scripts of other projects read them.")
    .argument('<dir>', 'archive, or its address')
    .addOption(
      new Option('--to <layout>', 'SRe2L and CDA, FKD, or TinyViT')
        .choices(EXPORT_LAYOUTS)
        .makeOptionMandatory(),
    )
    .requiredOption('-o, --out <dir>', 'folder to write; must not exist, or be empty')
    .option('-i, --images <path>', 'the labelled images: their names, and their sizes where needed')
    .option('--split <name>', 'part of an ImageNet-style tree, e.g. train')
    .option(
      '-b, --batch <n>',
      "SRe2L: labels per file, the batch size of its training; default: the import's, else 1024",
      positiveInteger,
    )
    .option('--order-seed <n>', "SRe2L: of the sampler's order; default: 42", nonNegativeInteger)
    .addOption(
      new Option(
        '--draws-per-epoch <n>',
        "SRe2L: permutations that the student's torch draws; default: the import's, else 2",
      ).choices(['1', '2']),
    )
    .option(
      '-k, --top <n>',
      "FKD, TinyViT: classes kept; default: the import's, else 5 and 100",
      positiveInteger,
    )
    .option(
      '-t, --tau <t>',
      'FKD, TinyViT: temperature of the probabilities; default: 1',
      positiveNumber,
    )
    .option('--json', 'print the result as JSON')
    .action(async (source: string, { json, drawsPerEpoch, ...flags }: ExportFlags) => {
      const bar = reportedStep('exporting labels', io.stderr);
      const result = await exportLabels({
        ...flags,
        source,
        ...(drawsPerEpoch === undefined
          ? {}
          : { drawsPerEpoch: Number(drawsPerEpoch) as DrawsPerEpoch }),
        onProgress: bar.report,
        signal: io.signal,
      });
      bar.finish();
      print(io, json ? JSON.stringify(result) : describe(result, flags.out));
    });
}

function describe(result: ExportResult, out: string): string {
  const { to, labels, epochs, images, classes, files, bytes, batch, top, notes } = result;
  const form = batch === undefined ? `${top} of ${classes} classes` : `batches of ${batch}`;
  return [
    `layout: ${LAYOUT_NAMES[to]}, ${form}`,
    `${labels} labels (${epochs} epochs x ${images} images) in ${out}: ${files} files, ${formatBytes(bytes)}`,
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}
