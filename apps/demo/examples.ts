import sharp from 'sharp';
import { Augmenter } from '#src/augment/augmenter.js';
import { AS_PIXELS, type PixelSource, renderViews } from '#src/augment/replay.js';
import { parseAugmentationSpec } from '#src/augment/spec.js';
import { retemper } from '#src/labels/temperature.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import type { LabelExample } from '../report/demo-page.js';
import type { EmojiImages } from './emoji.js';

/** Views shown, spread over epochs and samples; classes listed for each. */
const EXAMPLES = 12;
const ROWS = 5;
/** Labels are shown sharper than students learn from them: at 20 all classes look alike. */
export const SHOWN_TEMPERATURE = 2;

/** Some labelled views, each with its label before and after compression. */
export async function labelExamples(
  emoji: EmojiImages,
  images: PixelSource,
  paths: { readonly full: string; readonly archive: string },
): Promise<LabelExample[]> {
  await using full = await openArchive(paths.full);
  await using packed = await openArchive(paths.archive);
  const spec = parseAugmentationSpec(full.manifest.augmentation);
  const augmenter = new Augmenter(spec, images);
  const examples: LabelExample[] = [];
  for (let i = 0; i < EXAMPLES; i++) {
    const epoch = Math.floor(((i + 0.5) * full.epochs) / EXAMPLES);
    // A step that shares no factor with the number of samples visits all sets and categories.
    const sample = (i * 997 + 101) % full.samples;
    const one = { start: sample, count: 1 };
    const [before, after] = [await full.labels(epoch, one), await packed.labels(epoch, one)];
    for (const label of [before, after]) {
      retemper(label, full.classes, full.manifest.tau, SHOWN_TEMPERATURE);
    }
    const likeliest = [...before.keys()].sort((a, b) => before[b] - before[a]).slice(0, ROWS);
    examples.push({
      name: emoji.classes[sample % emoji.classes.length].name,
      png: await viewPng(augmenter, images, epoch, sample),
      rows: likeliest.map((j) => ({
        name: emoji.classes[j].name,
        full: before[j],
        decoded: after[j],
      })),
    });
  }
  return examples;
}

async function viewPng(
  augmenter: Augmenter,
  images: PixelSource,
  epoch: number,
  sample: number,
): Promise<Uint8Array> {
  const [height, width] = augmenter.spec.size;
  const view = new Float32Array(height * width * 3);
  renderViews(augmenter, images, epoch, Uint32Array.of(sample), AS_PIXELS, view);
  const bytes = Uint8Array.from(view, (value) => Math.round(255 * value));
  return sharp(bytes, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
