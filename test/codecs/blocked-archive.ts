import { fileURLToPath } from 'node:url';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { decodeMatrix } from '#src/codecs/transform/coded-matrix.js';
import type { TransformConfig } from '#src/codecs/transform/config.js';
import { encodeVectors } from '#src/codecs/transform/vector-blocks.js';
import type { CodecParts } from '#src/core/codec-parts.js';
import { openArchive } from '#src/index.js';
import { loadKernels } from '#src/kernels/load.js';

const goldenOf = (name: string) =>
  fileURLToPath(new URL(`../golden/archives/${name}`, import.meta.url));

/** A golden archive whose labels are predicted from base vectors in one stream. */
export const UNBLOCKED = goldenOf('transform');
/** Another one, whose base vectors are predicted from classes. */
export const UNBLOCKED_LIKENESS = goldenOf('transform-likeness');

/** A golden archive with its base vectors in blocks of 7. */
export async function blockedArchive(out: string, golden = UNBLOCKED): Promise<void> {
  const kernels = loadKernels();
  await using archive = await openArchive(golden);
  const { manifest, codecParts } = archive;
  const own = codecParts.config as unknown as TransformConfig;
  const stream = codecParts.tensors.get('bases')?.data ?? new Uint8Array();
  const { components, bases, sideStates: states = 1 } = own;
  const matrix = decodeMatrix('bases', stream, components, bases, kernels, states);
  const tensors = new Map(codecParts.tensors);
  const likeness = tensors.has('base_classes') && { likeness: true };
  const blocked = { ...own, basesPerBlock: 7, ...likeness };
  const coded = encodeVectors({ values: matrix, states }, blocked, kernels);
  tensors.delete('bases');
  const { bytes } = coded.tables;
  tensors.set('base_tables', { dtype: 'U8', shape: [bytes.length], data: bytes });
  const codec: CodecParts = {
    ...codecParts,
    config: { ...blocked },
    tensors,
    sampleBlocks: coded.blocks,
  };
  const columns = manifest.columns.slice(1);
  const spec: ArchiveSpec = {
    ...manifest,
    codec,
    columns,
    decoding: 'as before',
    samplesPerFile: 14,
  };
  await using writer = await createArchive(out, spec);
  for (let epoch = 0; epoch < archive.epochs; epoch++) {
    const row: Record<string, Uint8Array> = { codes: await archive.readRow(epoch) };
    for (const { name } of columns) row[name] = await archive.readRow(epoch, name);
    await writer.writeRow(epoch, { ...row, codes: row.codes });
  }
  await writer.finish();
}
