import { planSafetensors } from '../container/plan.js';
import {
  type CodecShape,
  type CodeLayout,
  type ShapedTensor,
  tensorBytes,
} from '../core/codec-parts.js';
import { VERSION } from '../core/version.js';
import type { ArchiveBytes } from './archive.js';
import { packingWords } from './codec-files.js';
import type { FileRecord } from './file-record.js';
import { planGrid, rectangleAt, shardCount, storedEpochs } from './grid.js';
import { type ArchiveIdentity, CODEC_FILE, codesRowBytes, SAMPLES_FILE } from './identity.js';
import { makeManifest, manifestBytes } from './manifest.js';
import { planShard } from './shard.js';
import { SHARD_RECORD_BYTES, SHARD_TABLE_FILE, SHARD_TABLE_WORDS } from './shards.js';
import type { ArchiveSpec, DividedIdentity } from './spec.js';

/** Labels that an archive would hold, and the parts of its manifest that are known. */
export interface PlannedLabels
  extends Pick<ArchiveSpec, 'classes' | 'samples' | 'epochs'>,
    Partial<
      Pick<
        ArchiveSpec,
        | 'storedEpochs'
        | 'tauSchedule'
        | 'augmentation'
        | 'classNames'
        | 'teacher'
        | 'images'
        | 'pruning'
        | 'columns'
      >
    > {}

/** About as long as the codecs' descriptions of their decoding. */
const WORDS = 'x'.repeat(150);
const DIGEST = '0'.repeat(64);
/** About as long as the notes that `packLogits` adds to a manifest. */
const TYPICAL_NOTES = {
  provenance: {
    softpack: VERSION,
    call: 'packLogits',
    arguments: { codec: { name: 'vqae', totalRatio: 40 }, source: 'logits.npy', tau: 20 },
  },
  request: {
    codec: { name: 'vqae', totalRatio: 40 },
    eps: 1e-6,
    source: { classes: 1000, epochs: 300, samples: 10_000, sampledSha256: DIGEST },
    tau: 20,
    training: { seed: 0, steps: 1000 },
  },
  result: { divergence: { kl: Math.PI / 1e5, nmse: Math.PI / 1e3, top1: Math.PI / 4 } },
};

/**
 * Sizes of an archive before any of it exists: the files are laid out as the writer does, with no data in them.
 * What is not known yet (settings of the codec, digits of numbers) is a few hundred bytes.
 */
export function predictArchive(codec: CodecShape, labels: PlannedLabels): ArchiveBytes {
  const { classes, samples, epochs, augmentation, classNames, teacher, images, pruning } = labels;
  const { columns = [] } = labels;
  const layout = layoutOf(codec);
  const rowBytes = codesRowBytes(layout, samples);
  // Most codecs have two settings besides these.
  const config = { classes, tau: 20, values: 20, others: 20, eps: 1e-6 };
  const words = {
    ...{ format: 'softpack codec', codec: codec.name, config: JSON.stringify(config) },
    ...{ packing: packingWords(layout, samples), decoding: codec.decoding ?? WORDS },
  };
  const codecFile = fileOf(CODEC_FILE, codec.tensors, words);
  const samplesFile = fileOf(SAMPLES_FILE, codec.sampleTensors, {});
  const undivided: ArchiveIdentity = {
    ...{ classes, samples, epochs, tau: 20 },
    ...(labels.storedEpochs === undefined ? {} : { storedEpochs: labels.storedEpochs }),
    ...(labels.tauSchedule === undefined ? {} : { tauSchedule: labels.tauSchedule }),
    codec: { name: codec.name, config },
    codecFile,
    ...(codec.sampleTensors.length === 0 ? {} : { samplesFile }),
    layout,
    ...({ augmentation: augmentation ?? null, classNames, teacher, images, pruning } as Pick<
      ArchiveIdentity,
      'augmentation' | 'classNames' | 'teacher' | 'images' | 'pruning'
    >),
    columns: [{ name: 'codes', dtype: 'U8', rowBytes }, ...columns],
  };
  const identity = { ...undivided, grid: planGrid(undivided) };
  const stored = storedEpochs(identity);
  const codes =
    layout.kind === 'fixed'
      ? rowBytes * stored
      : Math.ceil((samples * stored * codec.bitsPerLabel) / 8);
  const count = shardCount(identity.grid, identity);
  const table = { bytes: tableBytes(count), file: SHARD_TABLE_FILE, sha256: DIGEST };
  const manifest = manifestBytes(makeManifest(identity, table, TYPICAL_NOTES)).length;
  const files = [codecFile, ...(codec.sampleTensors.length === 0 ? [] : [samplesFile]), table];
  const shards = shardsBytes(identity, codec.bitsPerLabel);
  const total = manifest + shards + files.reduce((sum, { bytes }) => sum + bytes, 0);
  const besides = columns.reduce((sum, column) => sum + column.rowBytes * stored, 0);
  const tensors = tensorBytes(codec.tensors) + tensorBytes(codec.sampleTensors);
  return {
    codes,
    codec: tensors,
    metadata: manifest + besides,
    container: total - codes - tensors - manifest - besides,
    total,
  };
}

function layoutOf({ bitsPerLabel, labelsPerBlock }: CodecShape): CodeLayout {
  return labelsPerBlock === undefined
    ? { kind: 'fixed', bitsPerLabel }
    : { kind: 'blocks', labelsPerBlock };
}

function shardsBytes(identity: DividedIdentity, bitsPerLabel: number): number {
  const { grid, layout } = identity;
  const sizes = new Map<string, number>();
  let bytes = 0;
  for (let i = 0; i < shardCount(grid, identity); i++) {
    const rectangle = rectangleAt(grid, identity, i);
    // Shards of as many rows and samples differ in the digits of their edges alone.
    const [rows, width] = [rectangle.epochs, rectangle.samples].map(([begin, end]) => end - begin);
    const key = `${rows} ${width} ${rectangle.epochs.join().length} ${rectangle.samples.join().length}`;
    const codes = layout.kind === 'fixed' ? 0 : Math.ceil((rows * width * bitsPerLabel) / 8);
    const known = sizes.get(key) ?? planShard(identity, DIGEST, rectangle, codes).index.fileBytes;
    sizes.set(key, known);
    bytes += known;
  }
  return bytes;
}

function tableBytes(count: number): number {
  const tensor = { name: 'shards', dtype: 'U8', shape: [count, SHARD_RECORD_BYTES] } as const;
  return planSafetensors([tensor], SHARD_TABLE_WORDS).layout.fileBytes;
}

function fileOf(
  file: string,
  tensors: readonly ShapedTensor[],
  metadata: Readonly<Record<string, string>>,
): FileRecord {
  return { file, bytes: planSafetensors(tensors, metadata).layout.fileBytes, sha256: DIGEST };
}
