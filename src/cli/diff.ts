import type { Command } from 'commander';
import { type ArchiveDiff, diffArchives, type LabelComparison } from '../pipeline/diff.js';
import { type CliIo, ExitWith, print } from './io.js';
import { nonNegativeInteger, positiveInteger } from './options.js';
import { range } from './verify.js';

interface DiffFlags {
  readonly labels?: number;
  readonly seed?: number;
  readonly json?: boolean;
}

export function addDiff(program: Command, io: CliIo): void {
  program
    .command('diff')
    .description('Compare two archives and their labels; exit code 1 if they differ.')
    .argument('<a>', 'folder or address')
    .argument('<b>', 'folder or address')
    .option('--labels <n>', 'labels decoded where codecs differ (default: 4096)', positiveInteger)
    .option('--seed <n>', 'seed of their draw (default: 0)', nonNegativeInteger)
    .option('--json', 'print as JSON')
    .action(async (a: string, b: string, { json, ...options }: DiffFlags) => {
      const found = await diffArchives(a, b, { ...options, signal: io.signal });
      print(io, json ? JSON.stringify(found, null, 2) : describe(found));
      if (!found.equal) throw new ExitWith(1);
    });
}

function describe({ fields, labels }: ArchiveDiff): string {
  const show = (value: unknown) => JSON.stringify(value) ?? 'nothing';
  return [
    ...fields.map(({ field, a, b }) => `${field}: ${show(a)} and ${show(b)}`),
    ...describeLabels(labels),
  ].join('\n');
}

function describeLabels(labels: LabelComparison): readonly string[] {
  switch (labels.kind) {
    case 'same':
      return ['labels: the same'];
    case 'incomparable':
      return [`labels: not comparable: ${labels.reason}`];
    case 'decoded': {
      const { kl, top1 } = labels.divergence;
      const agreement = `KL ${kl.toPrecision(3)}, same top class ${(100 * top1).toFixed(2)} %`;
      return [`labels: other codecs; ${agreement} of ${labels.compared} labels`];
    }
    case 'codes':
      return [
        `labels: ${labels.differing} of ${labels.compared} differ`,
        ...labels.runs.map(({ epoch, samples }) => `  epoch ${epoch}, samples ${range(samples)}`),
      ];
  }
}
