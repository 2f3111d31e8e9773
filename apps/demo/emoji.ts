import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Region } from 'sharp';
import type { PixelSource } from '#src/augment/replay.js';
import { readTensorFile, writeTensorFile } from '#src/container/tensor-file.js';
import { childEnvironment } from '#src/core/child-environment.js';
import { SoftpackError, throwIfAborted } from '#src/errors.js';

/** One designer's drawings of all emoji, from npm. */
interface EmojiSet {
  readonly name: string;
  readonly package: string;
  readonly version: string;
  readonly licence: string;
  /** Folder of the images inside the package, and the images' file extension. */
  readonly folder: string;
  readonly extension: string;
}

/** The sets in the order of the packed array. The last one is held out: no network ever trains on it. */
export const EMOJI_SETS: readonly EmojiSet[] = [
  {
    name: 'google',
    package: 'emoji-datasource-google',
    version: '16.0.0',
    licence: 'Apache-2.0',
    folder: 'img/google/64',
    extension: '.png',
  },
  {
    name: 'openmoji',
    package: 'openmoji',
    version: '17.0.0',
    licence: 'CC-BY-SA-4.0',
    folder: 'color/svg',
    extension: '.svg',
  },
  {
    name: 'fluent',
    package: '@lobehub/fluent-emoji-3d',
    version: '1.1.0',
    licence: 'MIT',
    folder: 'assets',
    extension: '.webp',
  },
  {
    name: 'twemoji',
    package: '@twemoji/svg',
    version: '15.0.0',
    licence: 'CC-BY-4.0',
    folder: '.',
    extension: '.svg',
  },
];

/**
 * Classes of the demo: every emoji of these Unicode categories that all sets draw. They are things with their
 * own look; faces, people, signs and flags differ between designers by convention, or not at all within one set.
 */
export const EMOJI_CATEGORIES: readonly string[] = ['Animals & Nature', 'Food & Drink', 'Objects'];

/** Grey, so that neither the white nor the black parts of a drawing vanish into the background. */
const BACKGROUND = { r: 128, g: 128, b: 128 };
const DECODES_AT_ONCE = 4;
/** Height and width, pixels, at which a drawing's extent is found: about that of the smallest source images. */
const CANVAS = 72;
/** Alpha (0 to 255) above which a pixel belongs to the drawing and not to its antialiased rim. */
const VISIBLE = 16;
const CHANNELS = 3;

export interface EmojiClass {
  /** Code points in lower-case hex, joined by `-`, without variation selectors. */
  readonly code: string;
  readonly name: string;
  readonly category: string;
}

export interface EmojiImages {
  /** Names of the sets, in the order of the first axis; the last is held out. */
  readonly sets: readonly string[];
  readonly classes: readonly EmojiClass[];
  /** Height and width of every image, pixels. */
  readonly size: number;
  /** [sets, classes, size, size, 3]. */
  readonly pixels: Uint8Array;
  /** SHA-256 of `pixels`, hex. */
  readonly hash: string;
}

export interface EmojiOptions {
  /** Folder for packages and the packed file. */
  readonly dir: string;
  /** Height and width to decode to, pixels. */
  readonly size: number;
  /** Unicode categories to take; default `EMOJI_CATEGORIES`. */
  readonly categories?: readonly string[];
  readonly onProgress?: (progress: EmojiProgress) => void;
  readonly signal?: AbortSignal;
}

export type EmojiProgress =
  | { readonly phase: 'install' }
  | { readonly phase: 'decode'; readonly done: number; readonly total: number };

/** The images, from the packed file if there is one, else installed and decoded (10 s on two cores). */
export async function loadEmoji(options: EmojiOptions): Promise<EmojiImages> {
  const packed = join(options.dir, `emoji-${packKey(options)}.safetensors`);
  if (existsSync(packed)) return readPacked(packed);
  const root = await installSets(options);
  const images = await decodeSets(root, options);
  await writePacked(packed, images);
  return images;
}

/** Samples of the given sets, set after set: sample s is class s % classes of the set at s / classes. */
export function emojiSamples(images: EmojiImages, sets: readonly number[]): PixelSource {
  const { size, pixels } = images;
  const classes = images.classes.length;
  const stride = size * size * CHANNELS;
  return {
    count: sets.length * classes,
    sizeOf: () => [size, size],
    pixels(sample) {
      const image = sets[Math.floor(sample / classes)] * classes + (sample % classes);
      return pixels.subarray(image * stride, (image + 1) * stride);
    },
  };
}

/** Changes whenever the packed pixels would: with the versions, the categories or the size. */
function packKey({ size, categories = EMOJI_CATEGORIES }: EmojiOptions): string {
  const sources = EMOJI_SETS.map((set) => `${set.package}@${set.version}`);
  const key = JSON.stringify({ sources, categories, BACKGROUND, CANVAS, VISIBLE, size });
  return createHash('sha256').update(key).digest('hex').slice(0, 12);
}

/** Installs the pinned packages into their own project under `dir`; returns its node_modules. */
async function installSets({ dir, onProgress, signal }: EmojiOptions): Promise<string> {
  const project = join(dir, 'emoji');
  const root = join(project, 'node_modules');
  const present = await Promise.all(EMOJI_SETS.map((set) => isInstalled(root, set)));
  if (present.every(Boolean)) return root;
  onProgress?.({ phase: 'install' });
  await mkdir(project, { recursive: true });
  // A package.json here keeps npm from climbing to the caller's project.
  await writeFile(join(project, 'package.json'), '{ "private": true }\n');
  const packages = EMOJI_SETS.map((set) => `${set.package}@${set.version}`);
  await npm(
    ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', ...packages],
    project,
    signal,
  );
  return root;
}

async function isInstalled(root: string, set: EmojiSet): Promise<boolean> {
  const file = join(root, set.package, 'package.json');
  if (!existsSync(file)) return false;
  return JSON.parse(await readFile(file, 'utf8')).version === set.version;
}

function npm(args: readonly string[], cwd: string, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('npm', args, {
      cwd,
      env: childEnvironment(),
      signal,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    child.on('error', (cause) => {
      const code = signal?.aborted ? 'ABORTED' : 'NOT_FOUND';
      reject(new SoftpackError(code, 'npm could not be run', { cause }));
    });
    child.on('close', (code) => {
      if (code === 0) return resolve();
      const message = `the emoji packages could not be installed: ${errors.trim().slice(-400)}`;
      reject(new SoftpackError('NOT_FOUND', message, { field: 'npm' }));
    });
  });
}

interface CataloguedEmoji {
  readonly unified: string;
  readonly name: string;
  readonly short_name: string;
  readonly category: string;
  readonly sort_order: number;
}

/** Emoji of the chosen categories that every set has, in Unicode's order, with the file of each set. */
async function commonClasses(
  root: string,
  categories: readonly string[],
): Promise<{ readonly classes: EmojiClass[]; readonly files: string[][] }> {
  const catalogue: CataloguedEmoji[] = JSON.parse(
    await readFile(join(root, 'emoji-datasource-google', 'emoji.json'), 'utf8'),
  );
  const folders = await Promise.all(EMOJI_SETS.map((set) => filesByCode(root, set)));
  const chosen = catalogue
    .filter((emoji) => categories.includes(emoji.category))
    .sort((a, b) => a.sort_order - b.sort_order);
  const classes: EmojiClass[] = [];
  const files: string[][] = EMOJI_SETS.map(() => []);
  for (const emoji of chosen) {
    const code = normaliseCode(emoji.unified);
    const found = folders.flatMap((folder) => folder.get(code) ?? []);
    if (found.length !== EMOJI_SETS.length) continue;
    classes.push({ code, name: emoji.short_name, category: emoji.category });
    found.forEach((file, set) => {
      files[set].push(file);
    });
  }
  return { classes, files };
}

async function filesByCode(root: string, set: EmojiSet): Promise<Map<string, string>> {
  const folder = join(root, set.package, set.folder);
  const names = (await readdir(folder)).filter((name) => name.endsWith(set.extension));
  return new Map(
    names.map((name) => [normaliseCode(name.slice(0, -set.extension.length)), join(folder, name)]),
  );
}

/** Sets disagree on letter case, on leading zeros and on the variation selector FE0F. */
function normaliseCode(code: string): string {
  return code
    .toLowerCase()
    .split('-')
    .map((point) => point.replace(/^0+/, ''))
    .filter((point) => point !== 'fe0f')
    .join('-');
}

async function decodeSets(
  root: string,
  { size, categories = EMOJI_CATEGORIES, onProgress, signal }: EmojiOptions,
): Promise<EmojiImages> {
  const { classes, files } = await commonClasses(root, categories);
  const all = files.flat();
  const stride = size * size * CHANNELS;
  const pixels = new Uint8Array(all.length * stride);
  // The library lets sharp load photographs only.
  sharp.unblock({ operation: ['VipsForeignLoadSvg'] });
  let next = 0;
  let done = 0;
  const decodeNext = async (): Promise<void> => {
    for (let index = next++; index < all.length; index = next++) {
      throwIfAborted(signal);
      pixels.set(await decodeImage(all[index], size), index * stride);
      done += 1;
      onProgress?.({ phase: 'decode', done, total: all.length });
    }
  };
  await Promise.all(Array.from({ length: DECODES_AT_ONCE }, decodeNext));
  const sets = EMOJI_SETS.map((set) => set.name);
  return { sets, classes, size, pixels, hash: sha256(pixels) };
}

/**
 * The drawing cut to its own extent, centred in a square: sets have margins of different widths, by which networks would
 * most easily tell them apart.
 */
async function decodeImage(file: string, size: number): Promise<Buffer> {
  const { data, info } = await sharp(file)
    .ensureAlpha()
    .resize(CANVAS, CANVAS, { fit: 'contain', background: { r: 0, g: 0, b: 0, alpha: 0 } })
    .raw()
    .toBuffer({ resolveWithObject: true });
  return sharp(data, { raw: info })
    .extract(drawnExtent(data, CANVAS))
    .flatten({ background: BACKGROUND })
    .resize(size, size, { fit: 'contain', background: BACKGROUND })
    .raw()
    .toBuffer();
}

/** The smallest rectangle holding every visible pixel of a square RGBA image; all of it if none is visible. */
function drawnExtent(rgba: Uint8Array, size: number): Region {
  let [top, left, bottom, right] = [size, size, -1, -1];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (rgba[(y * size + x) * 4 + 3] <= VISIBLE) continue;
      top = Math.min(top, y);
      bottom = y;
      left = Math.min(left, x);
      right = Math.max(right, x);
    }
  }
  if (bottom < 0) return { top: 0, left: 0, width: size, height: size };
  return { top, left, width: right - left + 1, height: bottom - top + 1 };
}

async function writePacked(file: string, images: EmojiImages): Promise<void> {
  const { sets, classes, size, pixels, hash } = images;
  const shape = [sets.length, classes.length, size, size, CHANNELS];
  await writeTensorFile(file, new Map([['pixels', { dtype: 'U8', shape, data: pixels }]]), {
    sets: JSON.stringify(sets),
    classes: JSON.stringify(classes),
    licences: EMOJI_SETS.map((set) => `${set.package}@${set.version} ${set.licence}`).join('; '),
    hash,
  });
}

async function readPacked(file: string): Promise<EmojiImages> {
  const { tensors, metadata } = await readTensorFile(file);
  const packed = tensors.get('pixels');
  const hash = packed === undefined ? 'no tensor `pixels`' : sha256(packed.data);
  if (packed === undefined || hash !== metadata.get('hash')) {
    throw new SoftpackError('CORRUPT_DATA', 'damaged image cache; delete it to make it again', {
      field: file,
      expected: metadata.get('hash'),
      found: hash,
    });
  }
  return {
    sets: JSON.parse(metadata.get('sets') ?? ''),
    classes: JSON.parse(metadata.get('classes') ?? ''),
    size: packed.shape[2],
    pixels: packed.data,
    hash,
  };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
