import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import { show } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { openImages } from '../images/open.js';
import { requireOutside } from '../images/outside.js';
import type { ImageEncoding } from '../images/packed/manifest.js';
import { packImages } from '../images/packed/pack.js';
import type { ImageSource } from '../images/source.js';
import { type CliIo, print } from './io.js';
import { positiveInteger } from './options.js';
import { createProgress } from './progress.js';

interface PackImagesFlags extends FitFlags {
  readonly out: string;
  readonly encoding: ImageEncoding;
  readonly quality: number;
  readonly split?: string;
  readonly skipDamaged?: boolean;
  readonly json?: boolean;
}

export interface FitFlags {
  readonly shortSide?: number;
  readonly size?: readonly [number, number];
}

export function addPackImages(program: Command, io: CliIo): void {
  program
    .command('pack-images')
    .description('Pack image files into a few large ones that the loader reads many times faster.')
    .argument('<images>', 'folder with one folder per class, or a text file that lists images')
    .requiredOption('-o, --out <dir>', 'directory to write; an interrupted run is resumed')
    .addOption(
      new Option('--encoding <name>', 'raw pixels, or JPEG: smaller, but decoded at every use')
        .choices(['raw', 'jpeg'])
        .default('raw'),
    )
    .option(
      '--quality <n>',
      'quality of images that are encoded as JPEG (JPEG files are copied unless resized)',
      positiveInteger,
      95,
    )
    .option('--skip-damaged', 'leave out images that cannot be decoded, and list them')
    .option('--split <name>', 'dataset split of the folder, e.g. train')
    .option('--short-side <n>', 'shrink the shorter side to this many pixels', positiveInteger)
    .option('--size <HxW>', 'resize and crop every image to this size', size)
    .option('--json', 'print the result as JSON')
    .action(async (path: string, flags: PackImagesFlags) => {
      const { split, out, encoding, quality } = flags;
      await requireOutside(out, path, '--out');
      const images = await openImages(path, { split, fit: fitOf(flags) });
      reportSkipped(io, images.skipped);
      const bar = createProgress(io.stderr).step('packing images', images.count);
      const onProgress = (done: number) => bar.update(done);
      const result = await packImages({
        images,
        out,
        encoding,
        quality,
        acceptFinished: true,
        damaged: flags.skipDamaged ? 'skip' : 'refuse',
        onProgress,
        signal: io.signal,
      });
      bar.finish();
      const { count, bytes, shards, damaged = [] } = result;
      if (damaged.length > 0) {
        const lines = damaged.map(({ reason }) => `  ${reason}\n`).join('');
        io.stderr.write(`left out ${damaged.length} images that cannot be decoded:\n${lines}`);
      }
      const text = `${count} images in ${out}: ${formatBytes(bytes)} in ${shards} shards`;
      print(io, flags.json ? JSON.stringify(result) : text);
    });
}

/** Files that look like images and were not taken must not go unnoticed. */
export function reportSkipped(io: CliIo, skipped: ImageSource['skipped']): void {
  if (skipped === undefined) return;
  const { count, examples } = skipped;
  const names = examples.map((path) => show(path)).join(', ');
  const more = count > examples.length ? ', ...' : '';
  io.stderr.write(`not read, ${count} files that look like images: ${names}${more}\n`);
}

/** The fit that the size options ask for. */
export function fitOf({ shortSide, size }: FitFlags): ImageFit | undefined {
  if (size !== undefined) return { kind: 'exact', size };
  return shortSide === undefined ? undefined : { kind: 'short-side', pixels: shortSide };
}

export function size(text: string): readonly [number, number] {
  const match = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/.exec(text);
  if (match === null) throw new InvalidArgumentError('Must be a height and width like 224x224.');
  return [Number(match[1]), Number(match[2])];
}
