import { basename } from 'node:path';
import type { Command } from 'commander';
import { replaceFile } from '../container/durable.js';
import { formatBytes } from '../core/format.js';
import { reportPage } from '../report/page.js';
import { archiveReport, openReport, type ReportOptions } from '../report/report.js';
import { readVocabulary } from '../report/vocabulary.js';
import { onFile } from '../store/file-error.js';
import { type CliIo, print } from './io.js';
import { addLogitsOptions, type LogitsFlags, labelsOf } from './logits-options.js';
import { nonNegativeInteger, positiveInteger } from './options.js';

export interface ReportFlags extends Omit<ReportOptions, 'signal' | 'fullFile'>, LogitsFlags {
  readonly vocabulary?: string;
}

interface PageFlags extends ReportFlags {
  readonly out?: string;
}

export function addReport(program: Command, io: CliIo): void {
  const command = program
    .command('report')
    .description(
      'Write one page about an archive: sizes, views with their labels, divergence, codeword use.',
    )
    .argument('<dir>', 'archive, or its address');
  addReportOptions(command)
    .option('-o, --out <file>', 'page to write; - for standard output (default: NAME.html)')
    .action((dir: string, { out, ...flags }: PageFlags) => report(dir, out, flags, io));
}

/** What a page about an archive is made of. */
export function addReportOptions(command: Command): Command {
  const all = command
    .option('-i, --images <paths...>', 'images of the labels; of every append, in order')
    .option('--split <name>', 'split of the images, if they have several')
    .option('--full <path>', 'what this archive was packed from: a file of logits, or an archive')
    .option('--labels <n>', 'labels compared with the full ones (default: 2048)', positiveInteger)
    .option('--examples <n>', 'labels shown (default: 24)', nonNegativeInteger)
    .option('--seed <n>', 'seed of the draws (default: 0)', nonNegativeInteger)
    .option('--vocabulary <file>', 'tokenizer.json or vocab.json, for archives of token labels');
  return addLogitsOptions(all);
}

/** Options as `openReport` takes them: one folder of images is no list. */
export function reportOptions({ vocabulary: _, ...all }: ReportFlags): ReportOptions {
  const { tensor, probabilities, logits, ...flags } = all;
  const { images } = flags;
  const one = typeof images !== 'string' && images?.length === 1 ? images[0] : images;
  const kind = labelsOf({ probabilities, logits });
  return { ...flags, images: one, fullFile: { tensor, kind } };
}

/** Texts of token ids, if there is a file of them. */
export async function vocabularyOf({ vocabulary: file }: ReportFlags) {
  return file === undefined ? undefined : readVocabulary(file);
}

async function report(dir: string, out: string | undefined, flags: ReportFlags, io: CliIo) {
  const options = { ...reportOptions(flags), signal: io.signal };
  const vocabulary = await vocabularyOf(flags);
  await using open = await openReport(dir, options);
  const page = await reportPage(await archiveReport(open, options), { vocabulary });
  const bytes = Buffer.from(page);
  if (out === '-') {
    io.stdout.write(bytes);
    return;
  }
  const file = out ?? `${basename(open.name).replace(/\.softpack$/, '')}.html`;
  await onFile(file, () => replaceFile(file, bytes));
  print(io, `${file}, ${formatBytes(bytes.length)}`);
}
