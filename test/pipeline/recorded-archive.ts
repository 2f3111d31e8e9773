import { createArchive } from '#src/archive/create.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import { float32ToFloat16 } from '#src/core/half.js';
import { type MemoryImages, memoryImages } from '#src/images/memory.js';
import { syntheticLogits } from '../codecs/labels.js';

const CLASSES = 5;
export const RECORDED_SIDE = 8;
const size = [6, 5] as const;

interface RecordedOptions {
  readonly samples: number;
  readonly seed: number;
  /** What the manifest says of the images. */
  readonly images?: ArchiveSpec['images'];
}

/** An archive of 2 epochs of recorded crops, flips and CutMix, and its images. */
export async function recordedArchive(
  path: string,
  { samples, seed, images }: RecordedOptions,
): Promise<{ readonly path: string; readonly images: MemoryImages }> {
  const codec = new NoneCodec({ classes: CLASSES, tau: 4, store: 'logits' });
  const column = (name: string, dtype: 'U16' | 'U8' | 'U32', each: number) => ({
    ...{ name, dtype, rowBytes: each * samples },
  });
  const spec: ArchiveSpec = {
    ...{ classes: CLASSES, samples, epochs: 2, tau: 4, codec: codec.parts(), images },
    ...{ layout: codec.layout, decoding: codec.decoding },
    augmentation: { generator: 'recorded', size },
    columns: [
      column('crop', 'U16', 8),
      column('flip', 'U8', 1),
      column('partner', 'U32', 4),
      column('box', 'U16', 8),
    ],
  };
  await using writer = await createArchive(path, spec);
  for (let epoch = 0; epoch < 2; epoch++) {
    const at = (i: number) => epoch + seed + i;
    const halves = new Uint16Array(samples * CLASSES);
    float32ToFloat16(syntheticLogits(samples, CLASSES), halves);
    const each = (make: (i: number) => readonly number[]) =>
      Array.from({ length: samples }, (_, i) => make(i)).flat();
    await writer.writeRow(epoch, {
      codes: new Uint8Array(halves.buffer),
      crop: new Uint8Array(Uint16Array.from(each((i) => [at(i) % 3, at(i) % 2, 4, 5])).buffer),
      flip: Uint8Array.from(each((i) => [at(i) % 2])),
      partner: new Uint8Array(Uint32Array.from(each((i) => [(i + 1 + epoch) % samples])).buffer),
      box: new Uint8Array(Uint16Array.from(each((i) => [1, 1, at(i) % 4, 3])).buffer),
    });
  }
  await writer.finish();
  const bytes = samples * RECORDED_SIDE * RECORDED_SIDE * 3;
  const pixels = Uint8Array.from({ length: bytes }, (_, i) => ((i + seed) * 7919) % 251);
  return { path, images: memoryImages(pixels, RECORDED_SIDE, RECORDED_SIDE) };
}
