import {
  type LabelArchive,
  type OpenArchiveOptions,
  openArchive as openStored,
} from '../archive/archive.js';
import type { Manifest } from '../archive/manifest.js';
import { findRecordedColumns } from '../augment/recorded.js';
import { parseAnyAugmentationSpec } from '../augment/spec.js';
import type { Codec } from '../codecs/codec.js';
import type { CodecDescriptor } from '../codecs/descriptor.js';
import { CODECS, loadCodec } from '../codecs/registry.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { FieldChecker } from '../core/check.js';
import { errorAt, errorCode, isSoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { referenceKernels } from '../kernels/reference/kernels.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { openStore } from '../store/open-store.js';

/**
 * Opens an archive: a folder, an address like `https://host/archive`, or a store (see `openStore`). Reads manifest and
 * codec, no codes. Codecs and generators of views that this version does not know are reported when they are used.
 *
 * @throws `NOT_FOUND` if there is no such directory, `INCOMPLETE` if it holds no manifest, `UNSUPPORTED` if the archive
 *   needs a newer reader, `INVALID_FILE` or `CORRUPT_DATA` if its files are not what was written or contradict each other.
 */
export async function openArchive(
  from: string | ByteStore,
  options: OpenArchiveOptions = {},
): Promise<LabelArchive> {
  const store = typeof from === 'string' ? await openStore(from) : from;
  const decoderOf = ({ codecParts }: LabelArchive) => loadCodec(codecParts, loadKernels());
  const archive = await openStored(store, { ...options, decoderOf });
  try {
    for (const [i, part] of archive.parts.entries()) {
      const listed = archive.manifest.parts?.[i - 1];
      const folder = listed === undefined ? store.name : nameIn(store.name, listed.folder);
      requireCodec(folder, part);
      requireViews(nameIn(folder, MANIFEST_FILE), part.manifest);
    }
    return archive;
  } catch (error) {
    await archive.close();
    throw error;
  }
}

/** The codec must be what manifest and tensors say it is. */
function requireCodec(folder: string, archive: LabelArchive): void {
  const { manifest } = archive;
  const descriptor = CODECS.find(manifest.codec.name);
  if (descriptor === undefined) return;
  const check = new FieldChecker(nameIn(folder, MANIFEST_FILE), 'INVALID_FILE', 'contradiction');
  using codec = loadFrom(folder, archive, descriptor);
  for (const field of ['classes', 'tau'] as const) {
    const words = `${codec[field]}, the ${field} of the codec`;
    check.that(codec[field] === manifest[field], manifest[field], field, words);
  }
  const [own, found] = [codec.layout, manifest.layout].map((layout) => JSON.stringify(layout));
  check.that(own === found, found, 'layout', `${own} of the codec`);
  const isOne = codec.anyTau || manifest.tauSchedule === undefined;
  check.that(isOne, 'tauSchedule', 'tauSchedule', 'none: the codec has labels of one temperature');
  if (descriptor.perSample !== true) return;
  check.that(manifest.pruning === undefined, 'pruning', 'pruning', 'none: labels are per sample');
}

/** Loads the codec; an error names the file that is wrong. */
function loadFrom(
  folder: string,
  { manifest, codecParts }: LabelArchive,
  descriptor: CodecDescriptor,
): Codec {
  try {
    return descriptor.load(codecParts, referenceKernels, {});
  } catch (error) {
    const field = isSoftpackError(error) ? error.field : undefined;
    const [, tensor] = /^codec tensor (.+)$/s.exec(field ?? '') ?? [];
    if (tensor === undefined) {
      throw errorAt(`${nameIn(folder, MANIFEST_FILE)}: codec.config`, error);
    }
    const { codecFile, samplesFile = codecFile } = manifest;
    const { file } = codecParts.sampleTensors.has(tensor) ? samplesFile : codecFile;
    throw errorAt(nameIn(folder, file), error);
  }
}

function requireViews(file: string, { augmentation, columns, samples }: Manifest): void {
  if (augmentation === null) return;
  try {
    const { generator } = parseAnyAugmentationSpec(augmentation, `${file}: augmentation`);
    if (generator === 'recorded') findRecordedColumns(columns, samples);
  } catch (error) {
    if (errorCode(error) !== 'UNSUPPORTED') throw error;
  }
}
