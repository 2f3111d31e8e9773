import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodePixels } from '#src/images/decode.js';
import { imageFolder } from '#src/images/folder.js';
import { type MemoryImages, memoryImages } from '#src/images/memory.js';
import { openImageReader } from '#src/images/reader.js';
import type { BackendName } from '#src/nn/backend/name.js';
import { fileSha256 } from '#src/nn/teachers/fingerprint.js';
import type {
  SynthesisMethod,
  SynthesisProgress,
  SynthesisResult,
} from '#src/synthesis/options.js';
import { featureStatistics } from '#src/synthesis/statistics/statistics.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import type { EmojiImages } from './emoji.js';
import { IMAGE_SIZE } from './recipe.js';
import { trainingSamples } from './teacher.js';

const ITERATIONS = 300;
/** Images optimised together. */
const BATCH = 100;
/** Views of each of a class's three images for its statistics. */
const VIEWS = 12;

export interface DistilledOptions {
  readonly emoji: EmojiImages;
  /** Folder of training images, statistics and results. */
  readonly dir: string;
  readonly method: SynthesisMethod;
  /** File of the teacher. */
  readonly teacher: string;
  readonly ipc: number;
  readonly backend: BackendName;
  readonly seed: number;
  /** Steps from noise to an image; default 300, where the losses of 24 pixels stop falling. */
  readonly iterations?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SynthesisProgress) => void;
}

export interface Distilled {
  /** Class after class for each index: image i is of class i % classes. */
  readonly images: MemoryImages;
  readonly result: SynthesisResult;
  /** Folder of the images, with `synthesis.json`. */
  readonly folder: string;
}

/** Images distilled from the designers' sets that teachers are trained on; an interrupted run is resumed. */
export async function distil(options: DistilledOptions): Promise<Distilled> {
  const { emoji, dir, method, teacher, ipc, backend, seed, signal, onProgress } = options;
  const { iterations = ITERATIONS } = options;
  const training = await trainingFolder(emoji, dir);
  const key = `${emoji.hash.slice(0, 8)}-${(await fileSha256(teacher)).slice(0, 8)}`;
  const folder = join(dir, 'distilled', `${method}-${key}-ipc${ipc}-seed${seed}`);
  const statistics = join(dir, 'distilled', `statistics-${key}.safetensors`);
  await mkdir(join(dir, 'distilled'), { recursive: true });
  if (method === 'lpld') {
    await featureStatistics({
      ...{ teacher, backend, images: training, views: VIEWS, out: statistics, signal },
    });
  }
  const result = await synthesise({
    ...{ method, teacher, backend, ipc, out: folder, seed, signal, onProgress },
    ...(method === 'rded' ? { images: training } : { batch: BATCH, iterations }),
    ...(method === 'lpld' ? { statistics } : {}),
  });
  return { images: await distilledPixels(folder, emoji.classes.length, ipc), result, folder };
}

/** A folder per class with its image of each set but the last, numbered in the order of the classes. */
async function trainingFolder(emoji: EmojiImages, dir: string): Promise<string> {
  const out = join(dir, `training-${emoji.hash.slice(0, 12)}`);
  if (existsSync(out)) return out;
  const unfinished = `${out}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  const { classes, sets, size } = emoji;
  const samples = trainingSamples(emoji);
  for (let sample = 0; sample < samples.count; sample++) {
    const target = sample % classes.length;
    const folder = join(unfinished, String(target).padStart(5, '0'));
    await mkdir(folder, { recursive: true });
    const image = { pixels: samples.pixels(sample).slice(), height: size, width: size };
    const name = `${sets[Math.floor(sample / classes.length)]}.png`;
    await writeFile(join(folder, name), await encodePixels(image, 'png'));
  }
  await rename(unfinished, out);
  return out;
}

/** The folder lists the images of a class together; samples take one of each class in turn. */
export async function distilledPixels(
  folder: string,
  classes: number,
  ipc: number,
): Promise<MemoryImages> {
  const source = await imageFolder(folder);
  using reader = await openImageReader(source.description);
  const stride = IMAGE_SIZE * IMAGE_SIZE * 3;
  const data = new Uint8Array(classes * ipc * stride);
  for (let at = 0; at < source.count; at++) {
    const sample = (at % ipc) * classes + Math.floor(at / ipc);
    const image = (await reader.read(Uint32Array.of(at))).pixels(at);
    data.set(image, sample * stride);
  }
  return memoryImages(data, IMAGE_SIZE, IMAGE_SIZE);
}

/** Batch-norm term of the whole images of all jobs: of noise, and of what it became. */
export async function wholeTerms(
  folder: string,
): Promise<{ readonly noise: number; readonly made: number } | undefined> {
  const { jobs } = JSON.parse(await readFile(join(folder, 'synthesis.json'), 'utf8'));
  const terms: { bnOfNoise: number; bn: number }[] = jobs.flatMap(
    (job: { whole?: unknown }) => job.whole ?? [],
  );
  if (terms.length === 0) return undefined;
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  return {
    noise: mean(terms.map(({ bnOfNoise }) => bnOfNoise)),
    made: mean(terms.map(({ bn }) => bn)),
  };
}
