import { stat } from 'node:fs/promises';
import type { LabelArchive } from '../archive/archive.js';
import type { Column, ViewEpochs } from '../archive/identity.js';
import { commonAugmentation, commonImages, wholeColumns } from '../archive/parted-archive.js';
import type { Provenance } from '../archive/provenance.js';
import type { Pruning } from '../archive/pruning.js';
import type { ArchiveSpec } from '../archive/spec.js';
import type { TauSchedule } from '../archive/tau-schedule.js';
import { excerpt, SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import type { LabelKind } from '../labels/inspection.js';
import { type LabelSource, openLabelSource } from '../labels/source.js';
import { archiveSource, keepsLogits } from './archive-source.js';
import { asOne, viewsRepeat } from './as-one.js';
import { openArchive } from './open-archive.js';

/** Rows of an archive besides its labels, e.g. recorded views: whatever codec packs the labels, they stay as they are. */
export interface SideRows {
  readonly columns: readonly Column[];
  read(epoch: number): Promise<Readonly<Record<string, Uint8Array>>>;
}

/** Labels to pack, and what is known of them. */
export interface PackSource extends AsyncDisposable {
  readonly labels: LabelSource;
  /** Parts of the source archive that the new one keeps. */
  readonly origin: Partial<Pick<ArchiveSpec, 'augmentation' | 'classNames' | 'teacher' | 'images'>>;
  /** Of a source whose rows are batches. */
  readonly pruning?: Pruning;
  /** How the source archive was made. */
  readonly provenance?: Provenance;
  readonly sides?: SideRows;
  /** Views of the stored epochs, if not those of the same numbers. */
  readonly views?: ViewEpochs;
  /** Temperature of the labels, if they have one already. */
  readonly tau?: number;
  readonly tauSchedule?: TauSchedule;
  /** Epochs that the source archive stores, if it serves more. */
  readonly keep?: number;
  /** Whether the labels are known to be logits. */
  readonly settled: boolean;
}

export interface PackSourceOptions {
  /** Asked for; `INVALID_ARGUMENT` if the archive keeps labels at another one instead of logits. */
  readonly tau?: number;
  /** Name of the array, if the file holds several. */
  readonly tensor?: string;
  /** Kind of the values in the file. */
  readonly labels?: LabelKind;
}

/** Opens a .npy, .npz or .safetensors file of logits, or an archive, whose labels are decoded. */
export async function openPackSource(
  path: string,
  kernels: Kernels,
  { tau, tensor, labels: kind }: PackSourceOptions,
): Promise<PackSource> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) {
    const labels = await openLabelSource(path, { tensor });
    const close = () => labels.close();
    return { labels, origin: {}, settled: false, [Symbol.asyncDispose]: close };
  }
  requireNoFileOptions(path, { tensor, labels: kind });
  const archive = await openArchive(path);
  try {
    requireTau(path, archive, tau);
    const augmentation = commonAugmentation(archive);
    requireOneKind(path, archive);
    const labels = archiveSource(archive, kernels);
    const { classNames, teacher } = archive.manifest;
    const images = commonImages(archive);
    const { tau: own, pruning } = archive.manifest;
    const { tauSchedule, storedEpochs: keep } = asOne(archive);
    return {
      labels,
      ...(keep === undefined ? {} : { keep }),
      ...(archive.parts.length > 1 ? {} : { views: archive.manifest.views }),
      ...(pruning === undefined ? {} : { pruning }),
      origin: { augmentation, classNames, teacher, images },
      provenance: archive.manifest.provenance,
      ...sidesOf(archive),
      tau: own,
      tauSchedule,
      settled: true,
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

/** `UNSUPPORTED` for parts whose views or columns an archive without parts cannot have. */
function requireOneKind(path: string, archive: LabelArchive): void {
  const columnsOf = ({ manifest: { columns, samples } }: LabelArchive) =>
    JSON.stringify(columns.slice(1).map((one) => ({ ...one, rowBytes: one.rowBytes / samples })));
  const [first, ...others] = archive.parts.map(columnsOf);
  const other = others.find((columns) => columns !== first);
  if (other === undefined && (archive.parts.length === 1 || viewsRepeat(archive) !== undefined))
    return;
  throw new SoftpackError('UNSUPPORTED', `${path} has parts with views of their own`, {
    field: 'source',
    expected: 'parts whose views follow each other: pack each part alone',
    found: other === undefined ? 'views that begin again' : `columns ${excerpt(other)}`,
  });
}

function sidesOf(archive: LabelArchive): { readonly sides?: SideRows } {
  const columns = wholeColumns(archive).filter(({ name }) => name !== 'codes');
  if (columns.length === 0) return {};
  const read = async (epoch: number) => {
    const rows = columns.map(async ({ name }) => [name, await archive.readRow(epoch, name)]);
    return Object.fromEntries(await Promise.all(rows));
  };
  return { sides: { columns, read } };
}

function requireNoFileOptions(path: string, options: Omit<PackSourceOptions, 'tau'>): void {
  for (const [field, found] of Object.entries(options)) {
    if (found === undefined) continue;
    throw new SoftpackError('INVALID_ARGUMENT', 'only for files of labels', {
      field,
      expected: `nothing: ${path} is an archive`,
      found,
    });
  }
}

function requireTau(path: string, archive: LabelArchive, tau: number | undefined): void {
  const { manifest } = archive;
  const own = asOne(archive).tauSchedule === undefined && tau === manifest.tau;
  if (tau === undefined || own || keepsLogits(archive)) return;
  throw new SoftpackError('INVALID_ARGUMENT', `${path} keeps labels, not logits`, {
    field: 'tau',
    expected: `its temperature, ${manifest.tau}`,
    found: tau,
  });
}
