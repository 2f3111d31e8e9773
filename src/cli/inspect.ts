import type { Command } from 'commander';
import { trainingLabels } from '../archive/identity.js';
import { openArchive } from '../pipeline/open-archive.js';
import { formatBytes } from './format.js';
import { type CliIo, print } from './io.js';

export function addInspect(program: Command, io: CliIo): void {
  program
    .command('inspect')
    .description('Show what an archive holds and the size of every part.')
    .argument('<dir>', 'archive, or its address')
    .option('--json', 'print as JSON')
    .action(async (dir: string, { json }: { readonly json?: boolean }) => {
      const facts = await inspect(dir);
      print(io, json ? JSON.stringify(facts, null, 2) : describe(facts));
    });
}

type Facts = Awaited<ReturnType<typeof inspect>>;

async function inspect(dir: string) {
  await using archive = await openArchive(dir);
  const { manifest, classes, samples, epochs } = archive;
  const bytes = archive.bytes();
  const labels = trainingLabels(manifest);
  return {
    archiveId: manifest.archiveId,
    epochs,
    storedEpochs: manifest.storedEpochs ?? epochs,
    samples,
    classes,
    labels,
    tau: manifest.tau,
    codec: manifest.codec,
    layout: manifest.layout,
    augmentation: manifest.augmentation,
    pruning: manifest.pruning ?? null,
    teacher: manifest.teacher ?? null,
    images: manifest.images ?? null,
    shards: Array.from({ length: archive.shards.count }, (_, i) => {
      const { file, epochs: rows, samples: columns, bytes: size } = archive.shards.at(i);
      return { file, epochs: rows, samples: columns, bytes: size };
    }),
    bytes,
    ratio: {
      codes: (2 * labels * classes) / bytes.codes,
      total: (2 * labels * classes) / bytes.total,
    },
  };
}

function labelsOf({ epochs, storedEpochs: stored, samples, labels, pruning }: Facts): string {
  if (pruning === null) {
    const text = `${epochs} epochs x ${samples} samples = ${labels}`;
    return stored === epochs ? text : `${text}; ${stored} epochs stored, used in turn`;
  }
  const kept = `${epochs} batches of ${samples} kept`;
  return `${pruning.epochs} epochs x ${pruning.samples} samples = ${labels}, ${kept}`;
}

/** Names of the first few of many. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ');
  return names.length <= 8 ? shown : `${shown} and ${names.length - 8} more`;
}

function describe(facts: Facts): string {
  const { bytes, ratio, codec, shards } = facts;
  const line = (name: string, value: string) => `${name.padEnd(14)}${value}`;
  return [
    line('labels', labelsOf(facts)),
    line('classes', String(facts.classes)),
    line('temperature', String(facts.tau)),
    line('codec', `${codec.name} ${JSON.stringify(codec.config)}`),
    line('augmentation', facts.augmentation === null ? 'none' : JSON.stringify(facts.augmentation)),
    line('shards', listed(shards.map(({ file, bytes: size }) => `${file} (${formatBytes(size)})`))),
    line('codes', formatBytes(bytes.codes)),
    line('codec', formatBytes(bytes.codec)),
    line('metadata', formatBytes(bytes.metadata)),
    line('container', formatBytes(bytes.container)),
    line('total', formatBytes(bytes.total)),
    line('ratio', `${ratio.codes.toFixed(1)} by codes, ${ratio.total.toFixed(1)} in total`),
    line('id', facts.archiveId),
  ].join('\n');
}
