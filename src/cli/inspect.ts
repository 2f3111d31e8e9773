import type { Command } from 'commander';
import { readManifestBytes } from '../archive/files.js';
import { CODECS } from '../codecs/registry.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { formatBytes } from '../core/format.js';
import { isImagesManifest, parseImagesManifest } from '../images/packed/manifest.js';
import { openArchive } from '../pipeline/open-archive.js';
import {
  type ArchiveFacts,
  archiveFacts,
  labelsInWords,
  listed,
  madeBy,
  temperaturesInWords,
} from '../report/facts.js';
import { nameIn } from '../store/address.js';
import { openStore } from '../store/open-store.js';
import { type CliIo, print } from './io.js';
import { ratioWords } from './ratio-words.js';

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
      await using archive = await openArchive(dir);
      const facts = archiveFacts(archive);
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

function partLine(part: ArchiveFacts['parts'][number]): string {
  const { folder, epochs, samples, codec, bytes } = part;
  const range = (name: string, [first, end]: readonly [number, number]) =>
    end - first === 1 ? `${name} ${first}` : `${name}s ${first} to ${end - 1}`;
  const columns = samples === null ? [] : [range('sample', samples)];
  const words = [
    range('epoch', epochs),
    ...columns,
    CODECS.words(codec),
    `temperature ${temperaturesInWords(part)}`,
  ];
  return line(folder, [...words, formatBytes(bytes.total)].join(', '));
}

function describe(facts: ArchiveFacts): string {
  const { bytes, ratio, codec, shards } = facts;
  const perLabel = (size: number) => Number((size / facts.labels).toPrecision(3));
  return [
    line('labels', labelsInWords(facts)),
    line(facts.tokens === null ? 'classes' : 'vocabulary', String(facts.classes)),
    line('temperature', temperaturesInWords(facts)),
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
    line('ratio', ratioWords(ratio)),
    line('made by', madeBy(facts.provenance)),
    line('id', facts.id),
  ].join('\n');
}
