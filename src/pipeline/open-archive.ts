import {
  type LabelArchive,
  type OpenArchiveOptions,
  openArchive as openStored,
} from '../archive/archive.js';
import { CODECS } from '../codecs/registry.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { ByteStore } from '../store/byte-store.js';

/**
 * Opens an archive; reads manifest and codec, no codes.
 *
 * @throws `NOT_FOUND` if there is no such directory, `INCOMPLETE` if it holds no manifest, `UNSUPPORTED` if
 *   the archive needs a newer reader, `INVALID_FILE` or `CORRUPT_DATA` if its files are not what was written or
 *   contradict each other.
 */
export async function openArchive(
  from: string | ByteStore,
  options: OpenArchiveOptions = {},
): Promise<LabelArchive> {
  const archive = await openStored(from, options);
  try {
    requireCodec(archive);
    return archive;
  } catch (error) {
    await archive.close();
    throw error;
  }
}

/** `INVALID_FILE` if the codec's own settings and tensors contradict those of the archive. */
function requireCodec({ codecParts, manifest }: LabelArchive): void {
  // What a newer version wrote can be looked at, if not decoded.
  if (CODECS.find(codecParts.name) === undefined) return;
  using codec = CODECS.load(codecParts, loadKernels());
  const { classes, tau, layout } = manifest;
  const rules = [
    ['classes', classes, codec.classes],
    ['tau', tau, codec.tau],
    ['layout', JSON.stringify(layout), JSON.stringify(codec.layout)],
  ] as const;
  for (const [field, found, expected] of rules) {
    if (found === expected) continue;
    throw new SoftpackError('INVALID_FILE', `the manifest contradicts its codec ${codec.name}`, {
      field: `manifest ${field}`,
      expected,
      found,
    });
  }
}
