import { type Command, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import type { ImportOptions, ImportResult } from '../interop/import.js';
import { CROPS, importLabels } from '../interop/import.js';
import { LAYOUT_NAMES, LAYOUTS } from '../interop/layouts/label-set.js';
import { type CliIo, print } from './io.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  resampleOption,
  roundOption,
} from './options.js';
import { size } from './pack-images.js';
import { reportedStep } from './progress.js';

interface ImportFlags
  extends Omit<ImportOptions, 'source' | 'onProgress' | 'signal' | 'views' | 'orderSeed'> {
  readonly views: boolean;
  readonly orderSeed: number;
  readonly json?: boolean;
}

export function addImport(program: Command, io: CliIo): void {
  program
    .command('import')
    .description('Import soft labels of SRe2L, CDA, LPLD, LPQLD, FKD, FerKD, HALD or TinyViT.')
    .argument('<dir>', 'folder of their label files')
    .requiredOption('-i, --images <path>', 'images that the labels belong to, one folder per class')
    .requiredOption('-o, --out <dir>', 'archive to write; an interrupted import is resumed')
    .addOption(
      new Option('--from <layout>', 'default: detected by the names of the files').choices(LAYOUTS),
    )
    .option('--size <HxW>', 'of the views, pixels; default: 224x224', size)
    .option('-c, --classes <n>', 'default: from the files, or the class folders', positiveInteger)
    .option(
      '-t, --tau <t>',
      'temperature of the labels; default: 20, or 1 for FKD and TinyViT',
      positiveNumber,
    )
    .addOption(
      new Option('--values <kind>', 'what LPQLD files store').choices(['logits', 'probabilities']),
    )
    .addOption(
      new Option('--rest <kind>', 'FKD: of classes not stored; zero for marginal_renorm')
        .choices(['uniform', 'zero'])
        .default('uniform'),
    )
    .option(
      '-E, --epochs <n>',
      'LPLD, LPQLD with pruning: epochs that students train for; default: those the batches make up',
      positiveInteger,
    )
    .option('--order-seed <n>', "SRe2L, CDA: of the sampler's order", nonNegativeInteger, 42)
    .addOption(
      new Option(
        '--crops <kind>',
        'how crops are kept: shares of the image, as in the files, or pixels, which take half the bytes; every image is decoded once',
      )
        .choices(CROPS)
        .default('shares'),
    )
    .addOption(resampleOption('how crops are resized; default: antialias, as PIL does'))
    .addOption(roundOption('rounding of resized pixels; default: u8, as PIL does'))
    .option('--split <name>', 'part of an ImageNet-style tree, e.g. train')
    .option('--no-views', 'import labels without their views')
    .option('--json', 'print the result as JSON')
    .action(async (source: string, flags: ImportFlags) => {
      const { json, ...options } = flags;
      const bar = reportedStep('importing labels', io.stderr);
      const result = await importLabels({
        ...options,
        source,
        onProgress: bar.report,
        signal: io.signal,
      });
      bar.finish();
      print(io, json ? JSON.stringify(result) : describe(result, flags.out));
    });
}

function describe(result: ImportResult, out: string): string {
  const { layout, labels, epochs, images, classes, views, drawsPerEpoch, agreement } = result;
  const { batches } = result;
  const rows =
    batches === undefined
      ? `${epochs} epochs x ${images} images`
      : `${batches.count} batches of ${batches.size}, for ${epochs} epochs of ${images} images`;
  const lines = [
    `layout: ${LAYOUT_NAMES[layout]}`,
    `${labels} labels (${rows}) of ${classes} classes in ${out}`,
    `views: ${views}; ${formatBytes(result.bytes.total)} on disk`,
  ];
  if (drawsPerEpoch !== undefined) {
    lines.push(
      `order of the images, proved: torch's sampler with ${drawsPerEpoch} permutations per epoch`,
    );
  }
  if (agreement !== undefined) {
    const [share, chance] = [agreement.share, agreement.chance].map((x) => (100 * x).toFixed(1));
    lines.push(
      `top class is the folder of the image in ${share} % of ${agreement.labels} labels (${chance} % by chance)`,
    );
  }
  lines.push(...result.notes.map((note) => `note: ${note}`));
  lines.push(`compress them by: softpack pack ${out} --ratio 40 --out <dir>`);
  return lines.join('\n');
}
