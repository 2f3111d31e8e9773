import type { Command } from 'commander';
import type { LabelArchive } from '../archive/archive.js';
import { readManifestBytes } from '../archive/files.js';
import { trainingLabels } from '../archive/identity.js';
import type { Manifest } from '../archive/manifest.js';
import { CODECS } from '../codecs/registry.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { isJsonObject } from '../core/json.js';
import { isImagesManifest, parseImagesManifest } from '../images/packed/manifest.js';
import { openArchive } from '../pipeline/open-archive.js';
import { nameIn } from '../store/address.js';
import { openStore } from '../store/open-store.js';
import { HIDDEN_CODEC } from '../tokens/hidden/hidden-codec.js';
import { TOKEN_CODEC } from '../tokens/token-codec.js';
import { formatBytes } from './format.js';
import { type CliIo, print } from './io.js';

export function addInspect(program: Command, io: CliIo): void {
  program
    .command('inspect')
    .description('Show what an archive or packed images hold and the size of every part.')
    .argument('<dir>', 'archive, or its address')
    .option('--json', 'print as JSON')
    .action(async (dir: string, { json }: { readonly json?: boolean }) => {
      const store = await openStore(dir);
      const manifest = await readManifestBytes(store);
      if (isImagesManifest(manifest)) {
        const images = inspectImages(nameIn(store.name, MANIFEST_FILE), manifest);
        print(io, json ? JSON.stringify(images, null, 2) : describeImages(images));
        return;
      }
      const facts = await inspect(dir);
      print(io, json ? JSON.stringify(facts, null, 2) : describe(facts));
    });
}

/** From the manifest alone. */
function inspectImages(file: string, bytes: Uint8Array) {
  const { imagesId, count, encoding, size, classNames, sourceId, fingerprint, shards } =
    parseImagesManifest(file, bytes);
  return {
    imagesId,
    images: count,
    encoding,
    size,
    classNames: classNames ?? null,
    sourceId,
    fingerprint: fingerprint ?? null,
    shards: shards.map(({ file: name, samples, bytes: own }) => ({
      file: name,
      samples,
      bytes: own,
    })),
    bytes: { total: bytes.length + shards.reduce((sum, { bytes: own }) => sum + own, 0) },
  };
}

function describeImages(facts: ReturnType<typeof inspectImages>): string {
  const { images, encoding, size, classNames, shards, bytes, sourceId, imagesId } = facts;
  return [
    line('images', `${images}, ${encoding}`),
    line('size', size === null ? 'of their own' : `${size[0]} x ${size[1]}`),
    line('classes', classNames === null ? 'unknown' : String(classNames.length)),
    line('shards', listed(shards.map(({ file, bytes: own }) => `${file} (${formatBytes(own)})`))),
    line('total', formatBytes(bytes.total)),
    line('packed from', sourceId ?? 'images encoded anew'),
    line('id', imagesId),
  ].join('\n');
}

function line(name: string, value: string): string {
  return `${name.padEnd(14)}${value}`;
}

type Facts = Awaited<ReturnType<typeof inspect>>;

async function inspect(dir: string) {
  await using archive = await openArchive(dir);
  const { manifest, classes, samples, epochs } = archive;
  const bytes = archive.bytes();
  const tokens = textsOf(manifest);
  const labels = tokens?.labels ?? trainingLabels({ ...manifest, epochs, samples });
  return {
    archiveId: manifest.archiveId,
    epochs,
    storedEpochs: manifest.storedEpochs ?? epochs,
    samples,
    classes,
    labels,
    tokens,
    tau: manifest.tau,
    tauSchedule: manifest.tauSchedule ?? null,
    codec: manifest.codec,
    layout: manifest.layout,
    augmentation: manifest.augmentation,
    pruning: manifest.pruning ?? null,
    parts: partsOf(archive),
    teacher: manifest.teacher ?? null,
    images: manifest.images ?? null,
    provenance: manifest.provenance ?? null,
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

/** Labels and tokens of an archive of texts; null for other archives. */
function textsOf({ codec, request }: Manifest) {
  if (codec.name !== TOKEN_CODEC && codec.name !== HIDDEN_CODEC) return null;
  const counted = isJsonObject(request?.tokens) ? request.tokens : {};
  return { labels: Number(counted.labels), tokens: Number(counted.tokens) };
}

/** Further epochs and samples, in folders. */
function partsOf({ manifest, parts }: LabelArchive) {
  return (manifest.parts ?? []).map(({ folder, epochs, samples = null }, i) => {
    const { manifest: own } = parts[i + 1];
    return {
      ...{ folder, epochs, samples, storedEpochs: own.storedEpochs ?? own.epochs, tau: own.tau },
      ...{ tauSchedule: own.tauSchedule ?? null, codec: own.codec, bytes: parts[i + 1].bytes() },
    };
  });
}

function labelsOf(facts: Facts): string {
  const { epochs, storedEpochs: stored, samples, labels, pruning, tokens } = facts;
  if (tokens !== null) return `${labels} of ${samples} texts, ${tokens.tokens} tokens`;
  if (pruning === null) {
    const text = `${epochs} epochs x ${samples} samples = ${labels}`;
    return stored === epochs ? text : `${text}; ${stored} epochs stored, used in turn`;
  }
  const kept = `${epochs} batches of ${samples} kept`;
  return `${pruning.epochs} epochs x ${pruning.samples} samples = ${labels}, ${kept}`;
}

function temperaturesOf({ tau, tauSchedule }: Pick<Facts, 'tau' | 'tauSchedule'>): string {
  if (tauSchedule === null) return String(tau);
  return listed(
    tauSchedule.map(([epoch, value]) => `${Number(value.toPrecision(4))} from epoch ${epoch}`),
  );
}

/** Names of the first few of many. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ');
  return names.length <= 8 ? shown : `${shown} and ${names.length - 8} more`;
}

/** Arguments as JSON: they may be anything. */
function madeBy(provenance: Facts['provenance']): string {
  if (provenance === null) return 'not recorded';
  const { softpack, call, arguments: args, ...rest } = provenance;
  const also = Object.keys(rest).length === 0 ? [] : [JSON.stringify(rest)];
  const called = typeof call === 'string' ? [call, JSON.stringify(args ?? {})] : [];
  return [`softpack ${softpack}`, ...called, ...also].join(' ');
}

function partLine(part: Facts['parts'][number]): string {
  const { folder, epochs, samples, codec, bytes } = part;
  const range = (name: string, [first, end]: readonly [number, number]) =>
    end - first === 1 ? `${name} ${first}` : `${name}s ${first} to ${end - 1}`;
  const columns = samples === null ? [] : [range('sample', samples)];
  const words = [
    range('epoch', epochs),
    ...columns,
    CODECS.words(codec),
    `temperature ${temperaturesOf(part)}`,
  ];
  return line(folder, [...words, formatBytes(bytes.total)].join(', '));
}

function describe(facts: Facts): string {
  const { bytes, ratio, codec, shards } = facts;
  const perLabel = (size: number) => Number((size / facts.labels).toPrecision(3));
  return [
    line('labels', labelsOf(facts)),
    line(facts.tokens === null ? 'classes' : 'vocabulary', String(facts.classes)),
    line('temperature', temperaturesOf(facts)),
    line('codec', `${codec.name} ${JSON.stringify(codec.config)}`),
    line('augmentation', facts.augmentation === null ? 'none' : JSON.stringify(facts.augmentation)),
    line('shards', listed(shards.map(({ file, bytes: size }) => `${file} (${formatBytes(size)})`))),
    ...facts.parts.map(partLine),
    line('codes', formatBytes(bytes.codes)),
    line('codec', formatBytes(bytes.codec)),
    line('metadata', formatBytes(bytes.metadata)),
    line('container', formatBytes(bytes.container)),
    line('total', formatBytes(bytes.total)),
    line('per label', `${perLabel(bytes.codes)} B by codes, ${perLabel(bytes.total)} B in total`),
    line('ratio', `${ratio.codes.toFixed(1)} by codes, ${ratio.total.toFixed(1)} in total`),
    line('made by', madeBy(facts.provenance)),
    line('id', facts.archiveId),
  ].join('\n');
}
