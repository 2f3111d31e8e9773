import type { Command } from 'commander';
import type { DamagedLabels } from '../archive/damaged-labels.js';
import { MAX_KEY_BYTES, verifySignature } from '../container/signature.js';
import { SoftpackError } from '../errors.js';
import { type VerifyReport, verifyArchive } from '../pipeline/verify.js';
import { readLocalFile } from '../store/local.js';
import { formatBytes } from './format.js';
import { type CliIo, print } from './io.js';
import { createProgress } from './progress.js';

interface VerifyFlags {
  readonly json?: boolean;
  readonly key?: string;
}

export function addVerify(program: Command, io: CliIo): void {
  program
    .command('verify')
    .description(
      'Read every byte of an archive, finished or not, or of packed images, and name all damage.',
    )
    .argument('<dir>', 'folder or address')
    .option('--key <file>', 'public Ed25519 key (PEM) that must have signed it')
    .option('--json', 'print the report as JSON')
    .action((dir: string, flags: VerifyFlags) => verify(dir, flags, io));
}

async function verify(dir: string, { json, key }: VerifyFlags, io: CliIo): Promise<void> {
  if (key !== undefined) await verifySignature(dir, await readLocalFile(key, MAX_KEY_BYTES));
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
  const signed = key !== undefined;
  const facts = signed ? { signed, ...report } : report;
  print(io, json ? JSON.stringify(facts, null, 2) : describe(report, signed));
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

function describe(report: VerifyReport, signed: boolean): string {
  const { damage } = report;
  const signature = signed ? ['signature: good'] : [];
  return [...damage.map(describeDamage), ...signature, summary(report)].join('\n');
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
export function range([from, to]: readonly [number, number]): string {
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
