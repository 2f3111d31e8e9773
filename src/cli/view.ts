import { once } from 'node:events';
import type { Command } from 'commander';
import { reportPage } from '../report/page.js';
import { archiveReport, openReport } from '../report/report.js';
import { serveReport } from '../report/server.js';
import { type CliIo, print } from './io.js';
import { nonNegativeInteger } from './options.js';
import { addReportOptions, type ReportFlags, reportOptions, vocabularyOf } from './report.js';

interface ViewFlags extends ReportFlags {
  readonly port: number;
}

export function addView(program: Command, io: CliIo): void {
  const command = program
    .command('view')
    .description('Serve the page of `report` on this machine, with all labels of the archive.')
    .argument('<dir>', 'archive, or its address');
  addReportOptions(command)
    .option('--port <n>', 'port of 127.0.0.1; 0 for any that is free', nonNegativeInteger, 0)
    .action((dir: string, flags: ViewFlags) => view(dir, flags, io));
}

/** Serves until it is stopped. */
async function view(dir: string, { port, ...flags }: ViewFlags, io: CliIo): Promise<void> {
  const options = { ...reportOptions(flags), signal: io.signal };
  const vocabulary = await vocabularyOf(flags);
  await using open = await openReport(dir, options);
  const report = await archiveReport(open, options);
  const page = await reportPage(report, { live: true, vocabulary });
  await using server = await serveReport(open, page, port);
  print(io, `${server.url} (Ctrl-C stops)`);
  if (!io.signal.aborted) await once(io.signal, 'abort');
}
