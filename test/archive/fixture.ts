import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createArchive } from '#src/archive/create.js';
import { type ArchiveIdentity, archiveIdOf } from '#src/archive/identity.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks } from '#src/core/blocks.js';
import type { SampleBlocks, Tensor } from '#src/core/codec-parts.js';

export function tensor(values: readonly number[], shape: readonly number[]): Tensor {
  return { dtype: 'F32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** 11 samples of 13 bits, 5 epochs, a column beside the codes, side data per sample: nothing is round. */
export const SMALL: ArchiveSpec = {
  classes: 3,
  samples: 11,
  epochs: 5,
  tau: 20,
  codec: {
    name: 'test',
    config: { sizes: [1, 2], head: { kind: 'clamp', eps: 1e-8 } },
    tensors: new Map([
      ['codebook', tensor([1, 2, 3, 4, 5, 6], [3, 2])],
      ['decoder', tensor([7], [1, 1])],
    ]),
    sampleTensors: new Map([['bases', tensor(Array(11).fill(0.5), [11, 1])]]),
  },
  layout: { kind: 'fixed', bitsPerLabel: 13 },
  decoding: 'a label is the sum of its codewords',
  augmentation: { generator: 'test', seed: 7, mix: { kind: 'none' } },
  classNames: ['a', 'b', 'c'],
  teacher: { name: 'teacher', sha256: 'ab' },
  columns: [{ name: 'weight', dtype: 'F16', rowBytes: 22 }],
  shardBytes: 100,
};

/** Side data of samples in blocks of any bytes. */
export function sideBlocks(
  samples: number,
  samplesPerBlock: number,
  bytesOf: (block: number) => Uint8Array,
): SampleBlocks {
  const count = Math.ceil(samples / samplesPerBlock);
  const row = joinBlocks(Array.from({ length: count }, (_, i) => bytesOf(i)));
  return { samples, samplesPerBlock, row };
}

/** 143 bits of codes in 18 bytes, the last bit clear; different in every epoch. */
export function smallRow(epoch: number): { codes: Uint8Array; weight: Uint8Array } {
  const codes = Uint8Array.from({ length: 18 }, (_, i) => (epoch * 31 + i * 7 + 1) & 0xff);
  codes[17] &= 0x7f;
  const weight = Uint8Array.from({ length: 22 }, (_, i) => (epoch * 17 + i) & 0xff);
  return { codes, weight };
}

/** Writes an archive of small rows, from wherever an earlier writer stopped. */
export async function writeSmall(
  directory: string,
  spec: ArchiveSpec = SMALL,
  options: { resume?: boolean; until?: number } = {},
): Promise<void> {
  await using writer = await createArchive(directory, spec, { resume: options.resume ?? false });
  const end = options.until ?? spec.epochs;
  for (let epoch = writer.nextEpoch; epoch < end; ++epoch) {
    await writer.writeRow(epoch, smallRow(epoch));
  }
  if (end === spec.epochs) await writer.finish();
}

/** Every file of a directory and its folders, by name; bytes as Latin-1 text, which compares quickly and prints shortly. */
export async function readTree(directory: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const name of (await readdir(directory, { recursive: true })).sort()) {
    const path = join(directory, name);
    if ((await stat(path)).isFile()) files.set(name, await readFile(path, 'latin1'));
  }
  return files;
}

/** The same files, whatever call made them: provenance, and the checksum that covers it, are left out. */
export function withoutProvenance(files: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  const { provenance: _, checksum: __, ...rest } = JSON.parse(String(files.get('manifest.json')));
  return new Map(files).set('manifest.json', Buffer.from(JSON.stringify(rest)));
}

/** Replaces values of a manifest by path, and makes its id that of the changed content: what checksums cannot find. */
export async function forgeManifest(
  directory: string,
  changes: Readonly<Record<string, unknown>>,
): Promise<void> {
  const path = join(directory, 'manifest.json');
  const manifest = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  for (const [field, value] of Object.entries(changes)) {
    const keys = field.split('.');
    const last = keys.pop() ?? '';
    let parent = manifest;
    for (const key of keys) parent = parent[key] as Record<string, unknown>;
    if (value === undefined) delete parent[last];
    else parent[last] = value;
  }
  const { format, version, minReader, features, archiveId: _, ...rest } = manifest;
  const {
    shards,
    shardTable,
    request,
    result,
    provenance,
    parts,
    checksum: __,
    ...identity
  } = rest;
  const archiveId = archiveIdOf(identity as unknown as ArchiveIdentity);
  const head = { format, version, minReader, features, archiveId };
  await writeFile(
    path,
    JSON.stringify({
      ...head,
      ...identity,
      provenance,
      request,
      result,
      shards,
      shardTable,
      parts,
    }),
  );
}

/** Where the data of a safetensors file begin. */
export function dataOffset(file: Buffer): number {
  return 8 + Number(file.readBigUInt64LE(0));
}
