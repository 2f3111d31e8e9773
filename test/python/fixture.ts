import { writeFile } from 'node:fs/promises';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import type { CodecChoice } from '#src/codecs/registry.js';
import { loadCodec } from '#src/codecs/registry.js';
import { joinBlocks } from '#src/core/blocks.js';
import { float32ToFloat16 } from '#src/core/half.js';
import { memoryImages } from '#src/images/memory.js';
import { loadKernels } from '#src/kernels/load.js';
import { packLogits } from '#src/pipeline/pack.js';

const CLASSES = 9;
export const SAMPLES = 40;
export const EPOCHS = 3;
export const SIDE = 20;
export const NORMALISATION = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

/** Numbers in [0, 1) that look random. */
const noise = (i: number) => (Math.imul(i + 12345, 2654435761) >>> 8) / 2 ** 24;

/** An archive of uncompressed logits. */
export async function logitArchive(
  out: string,
  change: Partial<ArchiveSpec> = {},
): Promise<string> {
  const codec = new NoneCodec({ classes: CLASSES, tau: 4, store: 'logits' });
  const spec: ArchiveSpec = {
    ...{ classes: CLASSES, samples: SAMPLES, epochs: EPOCHS, tau: 4, codec: codec.parts() },
    ...{ layout: codec.layout, decoding: codec.decoding, augmentation: null },
    ...{ teacher: { name: 'Lehrer 1e-7 \u{1f600}', numbers: [1e-7, 1e21, 123456.789, -0.5] } },
    ...change,
  };
  await using writer = await createArchive(out, spec);
  for (let epoch = 0; epoch < (spec.storedEpochs ?? spec.epochs); epoch++) {
    const count = SAMPLES * CLASSES;
    const logits = Float32Array.from({ length: count }, (_, i) => 12 * noise(epoch * count + i));
    const halves = new Uint16Array(count);
    float32ToFloat16(logits, halves);
    await writer.writeRow(epoch, { codes: new Uint8Array(halves.buffer) });
  }
  await writer.finish();
  return out;
}

/** Labels of a codec that nobody knows, in blocks of 3, two shards across: 2 + 2 blocks per row of 10 samples. */
export async function blockArchive(out: string): Promise<string> {
  const layout = { kind: 'blocks', labelsPerBlock: 3 } as const;
  const codec = { name: 'lettered', config: {}, tensors: new Map(), sampleTensors: new Map() };
  await using writer = await createArchive(out, {
    ...{ classes: CLASSES, samples: 10, epochs: 5, storedEpochs: 3, tau: 4, codec, layout },
    ...{ decoding: 'by letters', augmentation: null, grid: { epochs: 2, samples: 6 } },
  });
  for (let epoch = 0; epoch < 3; epoch++) {
    const blocks = [2, 0, 70, 1].map((length, i) => new Uint8Array(length).fill(10 * epoch + i));
    await writer.writeRow(epoch, { codes: joinBlocks(blocks) });
  }
  await writer.finish();
  return out;
}

export const CODECS: readonly CodecChoice[] = [
  { name: 'vqae', dh: 4, dc: 2, k: 8 },
  { name: 'topk', k: 3 },
  { name: 'topk', k: 2, values: 'logits', rest: 'zero' },
  { name: 'topk', k: 1, values: 'none', rest: 'zero' },
  { name: 'pca', k: 3 },
  { name: 'rpca', k: 3 },
  { name: 'vq', dc: 4, k: 8 },
  { name: 'scalar', levels: 8 },
  { name: 'none', store: 'probabilities' },
  { name: 'mean', groups: Uint32Array.from({ length: SAMPLES }, (_, i) => i % 4) } as never,
];

export async function packed(source: string, out: string, codec: CodecChoice): Promise<string> {
  await packLogits({ source, out, codec, training: { steps: 20 } });
  return out;
}

/** The decoder's labels of all epochs. */
export async function labelsOf(path: string, samples?: Uint32Array): Promise<Float32Array[]> {
  await using archive = await openArchive(path);
  using codec = loadCodec(archive.codecParts, loadKernels());
  const labels = samples ?? { start: 0, count: archive.samples };
  const count = samples?.length ?? archive.samples;
  const found: Float32Array[] = [];
  for (let epoch = 0; epoch < archive.epochs; epoch++) {
    const out = new Float32Array(count * archive.classes);
    const row = await archive.readRow(epoch);
    codec.decode({ row, labels, context: { epoch, samples: labels }, out, threads: 1 });
    found.push(out);
  }
  return found;
}

const pixels = Uint8Array.from({ length: SAMPLES * SIDE * SIDE * 3 }, (_, i) => 256 * noise(i));
export const images = memoryImages(pixels, SIDE, SIDE);

export async function writeImages(path: string): Promise<string> {
  await writeFile(path, pixels);
  return path;
}

export function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}
