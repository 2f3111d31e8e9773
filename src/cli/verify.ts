import type { Command } from 'commander';
import type { DamagedLabels } from '../archive/damaged-labels.js';
import { MAX_KEY_BYTES, verifySignature } from '../container/signature.js';
import { formatBytes } from '../core/format.js';
import { SoftpackError } from '../errors.js';
import type { LabelDivergence } from '../labels/divergence.js';
import type { LabelsReport } from '../loader/verify-labels.js';
import { type VerifyReport, verifyArchive } from '../pipeline/verify.js';
import { readLocalFile } from '../store/local.js';
import { type CliIo, print } from './io.js';
import { nonNegativeInteger, positiveInteger, positiveNumber } from './options.js';
import { reportedStep } from './progress.js';
import { addTeacherOptions, descriptionOf, type TeacherFlags } from './teacher-options.js';

interface VerifyFlags extends TeacherFlags {
  readonly json?: boolean;
  readonly key?: string;
  readonly teacher?: string;
  readonly images?: string;
  readonly split?: string;
  readonly labels?: number;
  readonly seed?: number;
  readonly maxKl?: number;
  readonly otherTeacher?: boolean;
  readonly otherImages?: boolean;
  readonly workers?: number;
}

export function addVerify(program: Command, io: CliIo): void {
  const command = program
    .command('verify')
    .description(
      'Read every byte of an archive, finished or not, or of packed images, and name all damage.',
    )
    .argument('<dir>', 'folder or address')
    .option('--key <file>', 'public Ed25519 key (PEM) that must have signed it')
    .option('--teacher <path>', 'make a draw of the labels again with this teacher')
    .option('-i, --images <path>', 'images that the teacher is shown')
    .option('--split <name>', 'dataset split of the folder, e.g. train')
    .option('--labels <n>', 'labels that are made again (default: 256)', positiveInteger)
    .option('--seed <n>', 'seed of their draw (default: 0)', nonNegativeInteger)
    .option('--max-kl <nats>', 'exit code 1 if their mean divergence is larger', positiveNumber)
    .option('--other-teacher', 'take a teacher that is not the one named by the archive')
    .option('--other-images', 'take images that are not those named by the archive')
    .option('-w, --workers <n>', 'teacher workers (default: one per CPU)', positiveInteger);
  addTeacherOptions(command)
    .option('--json', 'print the report as JSON')
    .action((dir: string, flags: VerifyFlags) => verify(dir, flags, io));
}

async function verify(dir: string, flags: VerifyFlags, io: CliIo): Promise<void> {
  const { json, key, maxKl } = flags;
  if ((flags.teacher === undefined) !== (flags.images === undefined)) {
    const details = { field: '--teacher', expected: 'both --teacher and --images, or none' };
    throw new SoftpackError('INVALID_ARGUMENT', 'one goes with the other', details);
  }
  if (key !== undefined) await verifySignature(dir, await readLocalFile(key, MAX_KEY_BYTES));
  const report = await verifyBytes(dir, io);
  const isSound = report.damage.length === 0;
  const labels = isSound ? await verifyTeacher(dir, flags, io) : undefined;
  const facts = { ...(key && { signed: true }), ...report, ...(labels && { teacher: labels }) };
  const lines = [
    ...report.damage.map(describeDamage),
    ...(key === undefined ? [] : ['signature: good']),
    summary(report),
    ...(labels === undefined ? [] : describeTeacher(labels)),
  ];
  print(io, json ? JSON.stringify(facts, null, 2) : lines.join('\n'));
  if (!isSound) throw damaged(dir, report.damage.length);
  if (labels === undefined || maxKl === undefined || labels.archive.kl <= maxKl) return;
  throw new SoftpackError('CORRUPT_DATA', "labels are too far from the teacher's", {
    field: dir,
    expected: `KL up to ${maxKl}`,
    found: labels.archive.kl,
  });
}

function damaged(dir: string, places: number): SoftpackError {
  const message = places === 1 ? '1 place is damaged' : `${places} places are damaged`;
  return new SoftpackError('CORRUPT_DATA', message, { field: dir });
}

async function verifyBytes(dir: string, io: CliIo): Promise<VerifyReport> {
  const bar = reportedStep('Verifying', io.stderr);
  const report = await verifyArchive(dir, {
    signal: io.signal,
    onProgress: bar.report,
  });
  bar.finish();
  return report;
}

async function verifyTeacher(
  dir: string,
  flags: VerifyFlags,
  io: CliIo,
): Promise<LabelsReport | undefined> {
  const { teacher, images, split, backend, labels, seed, workers } = flags;
  if (teacher === undefined || images === undefined) return undefined;
  // Loading TensorFlow.js takes a second that other commands need not spend.
  const { verifyLabels } = await import('../loader/verify-labels.js');
  return verifyLabels(dir, {
    ...{ teacher, images, split, backend, labels, seed, workers, signal: io.signal },
    description: await descriptionOf(flags),
    accept: [
      ...(flags.otherTeacher ? (['teacher'] as const) : []),
      ...(flags.otherImages ? (['images'] as const) : []),
    ],
  });
}

function describeTeacher(report: LabelsReport): readonly string[] {
  const line = (name: string, { kl, top1 }: LabelDivergence) =>
    `${name.padEnd(28)} KL ${kl.toPrecision(3).padStart(9)}, same top class ${(100 * top1).toFixed(2)} %`;
  return [
    `${report.labels} labels made again by the teacher:`,
    line('  the archive', report.archive),
    line('  the teacher itself', report.control),
    line('  labels of other views', report.unrelated),
    ...(report.recorded === undefined
      ? []
      : [`  recorded by the archive      ${JSON.stringify(report.recorded)}`]),
  ];
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
  if (report.kind !== 'unfinished archive') {
    return report.id === undefined ? read : `${read}\nid: ${report.id}`;
  }
  const { labels, shards } = report;
  return `${read}; ${labels.present} of ${labels.total} labels, ${shards.sealed} of ${shards.total} shards whole, ${shards.begun} begun`;
}
