import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { TopKCodec } from '#src/codecs/top-k.js';
import { sha256 } from '#src/container/checksum.js';
import { readTensorFile, writeTensorFile } from '#src/container/tensor-file.js';
import { loadKernels } from '#src/kernels/load.js';
import { archiveSource } from '#src/pipeline/archive-source.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { forgeManifest, SMALL, writeSmall } from '../archive/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
/** Archives of every codec in format 1, written when it was new. */
const corpus = fileURLToPath(new URL('../fuzz/corpus/archives/', import.meta.url));
const names = await readdir(corpus);
let copies = 0;

async function copyOf(name: string): Promise<string> {
  const directory = temporary.path(`${name}-${copies++}`);
  await cp(join(corpus, name), directory, { recursive: true });
  return directory;
}

interface Stored {
  readonly classes: number;
  readonly tau: number;
  readonly epochs: number;
  readonly samples: number;
  readonly codec: { readonly name: string; readonly config: Record<string, unknown> };
  readonly layout:
    | { readonly kind: 'fixed'; readonly bitsPerLabel: number }
    | { readonly kind: 'blocks'; readonly labelsPerBlock: number };
}

async function manifestOf(directory: string): Promise<Stored> {
  return JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')) as Stored;
}

describe.each(names)('an archive of %s', (name) => {
  test('opens', async () => {
    await using archive = await openArchive(join(corpus, name));
    await archive.verify();
  });

  test.each([
    ['another layout', ({ layout }: Stored) => otherLayout(layout)],
    ['another codec by name', ({ codec }: Stored) => renamed(codec.name)],
    ['twice the classes', ({ classes }: Stored) => manyClasses(2 * classes)],
    ['2^29 classes', () => manyClasses(2 ** 29)],
    ['a codec without classes', () => ({ 'codec.config.classes': undefined })],
    ['a codec without a temperature', () => ({ 'codec.config.tau': undefined })],
    ['a codec of text', () => ({ 'codec.config.classes': '5' })],
  ])('is refused with %s', async (_, change) => {
    const directory = await copyOf(name);
    const manifest = await manifestOf(directory);
    const changes = change(manifest);
    const layout = 'layout.bitsPerLabel' in changes ? changes['layout.bitsPerLabel'] : undefined;
    const rowBytes = Math.ceil((Number(layout ?? 0) * manifest.samples) / 8);
    await forgeManifest(directory, {
      ...changes,
      ...(layout === undefined ? {} : { 'columns.0.rowBytes': rowBytes }),
    });
    const error = await openArchive(directory).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(directory),
    });
  });
});

/** One bit more per label, or twice the labels per block. */
function otherLayout(layout: Stored['layout']): Record<string, unknown> {
  return layout.kind === 'blocks'
    ? { 'layout.labelsPerBlock': 2 * layout.labelsPerBlock }
    : { 'layout.bitsPerLabel': layout.bitsPerLabel + 1 };
}

function renamed(from: string): Record<string, unknown> {
  return { 'codec.name': from === 'vqae' ? 'scalar' : 'vqae' };
}

function manyClasses(classes: number): Record<string, unknown> {
  return { classes, 'codec.config.classes': classes, classNames: undefined };
}

test('a tensor that is not finite is named with its file', async () => {
  const directory = await copyOf('vqae');
  const file = join(directory, 'codec.safetensors');
  const { tensors, metadata } = await readTensorFile(file);
  tensors.get('codebook')?.data.fill(0xff, 0, 4);
  await writeTensorFile(file, tensors, Object.fromEntries(metadata));
  const bytes = await readFile(file);
  await forgeManifest(directory, {
    'codecFile.bytes': bytes.length,
    'codecFile.sha256': sha256(bytes),
  });
  await expect(openArchive(directory)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${file}: codec tensor codebook`,
  });
});

test('views that no generator makes are refused, those of an unknown generator are not', async () => {
  const directory = await copyOf('cached');
  await forgeManifest(directory, { 'augmentation.flip': 2 });
  await expect(openArchive(directory)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${join(directory, 'manifest.json')}: augmentation.flip`,
  });
  await forgeManifest(directory, { 'augmentation.generator': 'another' });
  await (await openArchive(directory)).close();
});

test('an archive of an unknown codec opens', async () => {
  const directory = temporary.path('custom');
  await writeSmall(directory);
  await using archive = await openArchive(directory);
  expect(archive.codecParts.name).toBe(SMALL.codec.name);
});

test('a code that no encoder writes is named by file, epoch and sample', async () => {
  // Class ids of 3 bits below 5: all bits of sample 2 set are no class.
  const codec = new TopKCodec({ classes: 5, tau: 4, k: 1, values: 'none', rest: 'zero' });
  const directory = temporary.path('codes');
  await using writer = await createArchive(directory, {
    ...{ classes: 5, samples: 4, epochs: 2, tau: 4, codec: codec.parts() },
    ...{ layout: codec.layout, decoding: codec.decoding, augmentation: null },
  });
  await writer.writeRow(0, { codes: Uint8Array.of(0, 0) });
  await writer.writeRow(1, { codes: Uint8Array.of(0b11000000, 1) });
  await writer.finish();
  await using archive = await openArchive(directory);
  await using source = archiveSource(archive, loadKernels());
  await source.read(0, 0, 4);
  await expect(source.read(1, 1, 3)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${archive.fileOf(1)}: epoch 1, sample 2: codes`,
    found: 7,
  });
});
