import { stat } from 'node:fs/promises';
import { type LabelArchive, openArchive } from '../archive/archive.js';
import type { ArchiveSpec } from '../archive/spec.js';
import { SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import { type LabelSource, openLabelSource } from '../labels/source.js';
import { archiveSource, keepsLogits } from './archive-source.js';

/** Labels to pack, and what is known of them. */
export interface PackSource extends AsyncDisposable {
  readonly labels: LabelSource;
  /** Of the archive that the labels come from: what a new one takes over. */
  readonly origin: Partial<Pick<ArchiveSpec, 'augmentation' | 'classNames' | 'teacher' | 'images'>>;
  /** Temperature of the labels, where they have one already. */
  readonly tau?: number;
}

/**
 * Opens a .npy or .safetensors file of logits, or an archive, whose labels are decoded.
 *
 * @param tau asked for; `INVALID_ARGUMENT` if the archive keeps labels at another one instead of logits.
 */
export async function openPackSource(
  path: string,
  kernels: Kernels,
  tau: number | undefined,
): Promise<PackSource> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) {
    const labels = await openLabelSource(path);
    return { labels, origin: {}, [Symbol.asyncDispose]: () => labels.close() };
  }
  const archive = await openArchive(path);
  try {
    requireTau(path, archive, tau);
    const labels = archiveSource(archive, kernels);
    const { augmentation, classNames, teacher, images, tau: own } = archive.manifest;
    return {
      labels,
      origin: { augmentation, classNames, teacher, images },
      tau: own,
      async [Symbol.asyncDispose]() {
        await labels.close();
        await archive.close();
      },
    };
  } catch (error) {
    await archive.close();
    throw error;
  }
}

function requireTau(path: string, archive: LabelArchive, tau: number | undefined): void {
  const { manifest } = archive;
  if (tau === undefined || tau === manifest.tau || keepsLogits(archive)) return;
  throw new SoftpackError('INVALID_ARGUMENT', `${path} keeps labels, not logits`, {
    field: 'tau',
    expected: `its temperature, ${manifest.tau}`,
    found: tau,
  });
}
