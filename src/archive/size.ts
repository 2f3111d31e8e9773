import { planSafetensors } from '../container/plan.js';
import {
  type CodecShape,
  type CodeLayout,
  type ShapedTensor,
  tensorBytes,
} from '../core/codec-parts.js';
import type { ArchiveBytes } from './archive.js';
import { packingWords } from './codec-files.js';
import {
  type ArchiveIdentity,
  CODEC_FILE,
  codesRowBytes,
  type FileRecord,
  SAMPLES_FILE,
} from './identity.js';
import { makeManifest, manifestBytes } from './manifest.js';
import { planRectangles, planShard, type Rectangle } from './shard.js';
import type { ArchiveSpec } from './spec.js';

/** Labels that an archive would hold, and the parts of its manifest that are known. */
export interface PlannedLabels
  extends Pick<ArchiveSpec, 'classes' | 'samples' | 'epochs'>,
    Partial<
      Pick<
        ArchiveSpec,
        'augmentation' | 'classNames' | 'teacher' | 'images' | 'pruning' | 'columns'
      >
    > {}

/** About as long as the codecs' descriptions of their decoding; files are padded to whole pages anyway. */
const WORDS = 'x'.repeat(200);
const DIGEST = '0'.repeat(64);
/** About as long as the notes that `packLogits` adds to a manifest. */
const TYPICAL_NOTES = {
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
  const layout: CodeLayout = { kind: 'fixed', bitsPerLabel: codec.bitsPerLabel };
  const rowBytes = codesRowBytes(layout, samples);
  const words = { packing: packingWords(layout, samples), decoding: WORDS };
  const codecFile = fileOf(CODEC_FILE, codec.tensors, words);
  const samplesFile = fileOf(SAMPLES_FILE, codec.sampleTensors, {});
  const identity: ArchiveIdentity = {
    classes,
    samples,
    epochs,
    tau: 20,
    codec: { name: codec.name, config: { classes, tau: 20, eps: 1e-6 } },
    codecFile,
    ...(codec.sampleTensors.length === 0 ? {} : { samplesFile }),
    layout,
    ...({ augmentation: augmentation ?? null, classNames, teacher, images, pruning } as Pick<
      ArchiveIdentity,
      'augmentation' | 'classNames' | 'teacher' | 'images' | 'pruning'
    >),
    columns: [{ name: 'codes', dtype: 'U8', rowBytes }, ...columns],
  };
  const rectangles = planRectangles(identity);
  const sizes = new Map<string, number>();
  const bytesOf = (rectangle: Rectangle) => {
    // Shards of as many rows differ in the digits of their epochs alone.
    const [begin, end] = rectangle.epochs;
    const key = `${end - begin} ${rectangle.epochs.join(':').length}`;
    const known = sizes.get(key) ?? planShard(identity, DIGEST, rectangle).index.fileBytes;
    sizes.set(key, known);
    return known;
  };
  const shards = rectangles.map((rectangle) => ({
    ...rectangle,
    bytes: bytesOf(rectangle),
    sha256: DIGEST,
    indexSha256: DIGEST,
  }));
  const manifest = manifestBytes(makeManifest(identity, shards, TYPICAL_NOTES)).length;
  const files = [codecFile, ...(codec.sampleTensors.length === 0 ? [] : [samplesFile]), ...shards];
  const total = manifest + files.reduce((sum, { bytes }) => sum + bytes, 0);
  const codes = rowBytes * epochs;
  const besides = columns.reduce((sum, column) => sum + column.rowBytes * epochs, 0);
  const tensors = tensorBytes(codec.tensors) + tensorBytes(codec.sampleTensors);
  return {
    codes,
    codec: tensors,
    metadata: manifest + besides,
    container: total - codes - tensors - manifest - besides,
    total,
  };
}

function fileOf(
  file: string,
  tensors: readonly ShapedTensor[],
  metadata: Readonly<Record<string, string>>,
): FileRecord {
  return { file, bytes: planSafetensors(tensors, metadata).layout.fileBytes, sha256: DIGEST };
}
