import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { formatBytes } from '#src/core/format.js';
import { SYNTHESIS_METHODS } from '#src/synthesis/options.js';
import { distil } from '../demo/distilled.js';
import { EMOJI_SETS, emojiSamples } from '../demo/emoji.js';
import { IMAGE_SIZE } from '../demo/recipe.js';
import { TEACHER_FILE } from '../demo/teacher.js';
import { markdownTable } from '../report/markdown-table.js';
import { deviationOf, meanOf } from '../report/statistics.js';
import type { Setting } from './labels.js';
import { CODED_METHODS, type SynthesisRow } from './synthesis.js';

export interface SynthesisRun {
  readonly command: string;
  readonly machine: string;
  readonly backend: string;
}

/** Classes of the sheet, evenly spaced, and its enlargement of every pixel. */
const [SHEET_CLASSES, ENLARGED, GAP] = [10, 4, 8];

/** Writes table, results and picture sheet; returns the table's path. */
export async function writeSynthesis(
  out: string,
  setting: Setting,
  run: SynthesisRun,
  rows: readonly SynthesisRow[],
): Promise<string> {
  await mkdir(out, { recursive: true });
  const { names, png } = await sheet(setting, rows);
  await writeFile(join(out, 'sheet.png'), png);
  await writeFile(join(out, 'results.json'), `${JSON.stringify({ ...run, rows }, null, 2)}\n`);
  const file = join(out, 'results.md');
  await writeFile(file, markdown(run, rows, names, setting));
  return file;
}

const HEADINGS = [
  ...['images', 'teacher top-1', 'confidence', 'batch-norm term, batches of 91', 'student, %'],
  ...['in the making: of noise, at the end', 'files', 'wall, s', 'processor, s'],
];

function cellsOf(row: SynthesisRow): readonly string[] {
  const { accuracy, confidence, bn, own, seconds, cpuSeconds, bytes, full } = row;
  return [
    row.images,
    `${(100 * accuracy).toFixed(1)} %`,
    confidence.toFixed(2),
    bn.toFixed(0),
    spread(full),
    own === undefined ? '-' : `${own.noise.toFixed(0)}, ${own.made.toFixed(0)}`,
    bytes === undefined ? '-' : formatBytes(bytes),
    seconds === undefined ? '-' : seconds.toFixed(0),
    cpuSeconds === undefined ? '-' : cpuSeconds.toFixed(0),
  ];
}

function spread(top1: readonly number[] | undefined): string {
  if (top1 === undefined || top1.length === 0) return '-';
  const mean = (100 * meanOf(top1)).toFixed(1);
  return top1.length > 1 ? `${mean} ± ${(100 * deviationOf(top1)).toFixed(1)}` : mean;
}

function markdown(
  { command, machine, backend }: SynthesisRun,
  rows: readonly SynthesisRow[],
  names: readonly string[],
  { emoji, scale }: Setting,
): string {
  const credits = EMOJI_SETS.slice(0, -1)
    .map((set) => `${set.package} (${set.licence})`)
    .join(', ');
  return `${[
    '# Distilled images',
    [
      `- Command: \`${command}\``,
      `- Machine: ${machine}; TensorFlow.js on ${backend}; wall times contain waiting for other work on the same processors`,
      `- ${emoji.classes.length} classes, the committed teacher; students learn ${scale.epochs} epochs of labels at temperature 20, are seeded 0, 1, ... and tested on the designer whom no network has seen`,
    ].join('\n'),
    ...[...new Set(rows.map(({ ipc }) => ipc))].flatMap((ipc) => section(ipc, rows)),
    '## What the columns mean',
    'The batch-norm term is the mean over batches of 91 random whole images, against the statistics in the teacher. "In the making" are the batches and statistics that images were optimised for: all images of SRe2L and CDA, single classes of LPLD. Times of LPLD contain its statistics at the first number of images per class, which the others share.',
    'Compressed labels: student top-1 in %, mean and deviation over seeds; ratios are in total, every byte of an archive counted.',
    ...(rows.some(withTransform)
      ? ['`transform` stores labels of fewer epochs where bytes are few, and these serve all.']
      : []),
    '## Ten classes',
    `![ten classes](sheet.png)`,
    `Columns: ${names.join(', ')}. Rows: a designer's image (google), ${methodsOf(rows).join(', ')}.`,
    `The images, and those that crops are of: ${credits}.`,
  ].join('\n\n')}\n`;
}

function withTransform({ coded }: SynthesisRow): boolean {
  return coded.some(({ method }) => method.startsWith('transform'));
}

/** The tables of one number of images per class: the images, and their labels compressed. */
function section(ipc: number, rows: readonly SynthesisRow[]): readonly string[] {
  const here = rows.filter((row) => row.ipc === ipc);
  return [
    `## IPC ${ipc}`,
    markdownTable(HEADINGS, here.map(cellsOf)),
    ...(here.every(({ coded }) => coded.length === 0) ? [] : [codedTable(here)]),
  ];
}

function codedTable(rows: readonly SynthesisRow[]): string {
  const all = rows.flatMap(({ coded }) => coded);
  const ratios = [...new Set(all.map(({ ratio }) => ratio))].toSorted((a, b) => a - b);
  const methods = CODED_METHODS.filter((name) => all.some(({ method }) => method === name));
  const cells = rows
    .filter(({ coded }) => coded.length > 0)
    .flatMap(({ images, full, coded }) =>
      methods.map((name, i) => [
        ...(i === 0 ? [images, spread(full)] : ['', '']),
        name.split(',')[0],
        ...ratios.map((ratio) =>
          spread(coded.find((at) => at.method === name && at.ratio === ratio)?.top1),
        ),
      ]),
    );
  return markdownTable(['images', 'full', 'labels', ...ratios.map((ratio) => `${ratio}x`)], cells);
}

/** Of the rows that are there. */
function methodsOf(rows: readonly SynthesisRow[]) {
  return SYNTHESIS_METHODS.filter((method) => rows.some(({ images }) => images === method));
}

async function sheet(setting: Setting, rows: readonly SynthesisRow[]) {
  const { emoji, workspace, backend, signal } = setting;
  const [{ ipc }] = rows;
  const classes = emoji.classes.length;
  const chosen = Array.from({ length: SHEET_CLASSES }, (_, i) =>
    Math.floor(((i + 0.5) * classes) / SHEET_CLASSES),
  );
  const cell = IMAGE_SIZE * ENLARGED;
  const enlarge = (pixels: Uint8Array, size: number) =>
    sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
      .resize(cell, cell, { kernel: 'nearest' })
      .png()
      .toBuffer();
  const google = emojiSamples(emoji, [0]);
  const tiles = [await Promise.all(chosen.map((k) => enlarge(google.pixels(k), emoji.size)))];
  for (const method of methodsOf(rows)) {
    const common = { emoji, dir: workspace.dir, method, teacher: TEACHER_FILE, ipc, seed: 0 };
    const { images } = await distil({ ...common, backend, signal });
    tiles.push(await Promise.all(chosen.map((k) => enlarge(images.pixels(k), IMAGE_SIZE))));
  }
  const at = (i: number) => GAP + i * (cell + GAP);
  const white = { r: 255, g: 255, b: 255 };
  const canvas = { width: at(SHEET_CLASSES), height: at(tiles.length), channels: 3 } as const;
  const png = await sharp({ create: { ...canvas, background: white } })
    .composite(
      tiles.flatMap((row, y) => row.map((input, x) => ({ input, left: at(x), top: at(y) }))),
    )
    .png({ palette: true, compressionLevel: 9 })
    .toBuffer();
  return { names: chosen.map((k) => emoji.classes[k].name), png };
}
