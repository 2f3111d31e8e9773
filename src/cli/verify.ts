import type { Command } from 'commander';
import type { DamagedLabels } from '../archive/damaged-labels.js';
import { SoftpackError } from '../errors.js';
import { type VerifyReport, verifyArchive } from '../pipeline/verify.js';
import { formatBytes } from './format.js';
import { type CliIo, print } from './io.js';
import { createProgress } from './progress.js';

interface VerifyFlags {
  readonly json?: boolean;
}

export function addVerify(program: Command, io: CliIo): void {
  program
    .command('verify')
    .description(
      'Read every byte of an archive, finished or not, or of packed images, and name all damage.',
    )
    .argument('<dir>', 'folder or address')
    .option('--json', 'print the report as JSON')
    .action((dir: string, flags: VerifyFlags) => verify(dir, flags, io));
}

async function verify(dir: string, { json }: VerifyFlags, io: CliIo): Promise<void> {
  const step = createProgress(io.stderr);
  let bar: ReturnType<typeof step.step> | undefined;
  const report = await verifyArchive(dir, {
    signal: io.signal,
    onProgress(done, total) {
      bar ??= step.step('Verifying', total);
      bar.update(done);
    },
  });
  bar?.finish();
  print(io, json ? JSON.stringify(report, null, 2) : describe(report));
  const { length } = report.damage;
  if (length === 0) return;
  throw new SoftpackError(
    'CORRUPT_DATA',
    `${length} ${length === 1 ? 'place is' : 'places are'} damaged`,
    {
      field: dir,
    },
  );
}

function describe(report: VerifyReport): string {
  const { damage } = report;
  return [...damage.map(describeDamage), summary(report)].join('\n');
}

type Damage = VerifyReport['damage'][number];

function describeDamage(damage: Damage): string {
  const { file, block, bytes, problem, expected, found } = damage;
  const place = block === undefined ? file : `${file}: block ${block} (bytes ${range(bytes)})`;
  const values =
    expected === undefined ? '' : ` (expected ${expected}, found ${found ?? 'nothing'})`;
  return [`${place}: ${problem}${values}`, ...hits(damage).map((hit) => `  hits ${hit}`)].join(
    '\n',
  );
}

function hits(damage: Damage): readonly string[] {
  if ('labels' in damage) return damage.labels.map(describeLabels);
  return 'samples' in damage && damage.samples !== undefined
    ? [`images ${range(damage.samples)}`]
    : [];
}

function describeLabels({ column, epochs, samples }: DamagedLabels): string {
  const of = column === 'codes' ? '' : ` of ${column}`;
  return `epochs ${range(epochs)}, samples ${range(samples)}${of}`;
}

/** `3` or `3 to 7`, both included. */
function range([from, to]: readonly [number, number]): string {
  return to - from <= 1 ? String(from) : `${from} to ${to - 1}`;
}

function summary(report: VerifyReport): string {
  const { damage, files, bytes, kind } = report;
  const state = damage.length === 0 ? 'no damage' : `damaged in ${damage.length} places`;
  const read = `${kind}: ${files} files, ${formatBytes(bytes)} verified, ${state}`;
  if (report.kind !== 'unfinished archive') return read;
  const { labels, shards } = report;
  return `${read}; ${labels.present} of ${labels.total} labels, ${shards.sealed} of ${shards.total} shards whole, ${shards.begun} begun`;
}
