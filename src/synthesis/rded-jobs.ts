import { argument } from '../core/check.js';
import { imagesFingerprint } from '../images/fingerprint.js';
import type { ImageReader } from '../images/image-reader.js';
import type { ImageSource } from '../images/source.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { imagesByClass, requireEnough } from './candidates.js';
import type { Synthesiser } from './distilled.js';
import type { SynthesisRequest } from './options.js';
import { type ClassImages, distilClasses, type RdedSettings } from './rded.js';

/** Side up to which an image is one patch: halves of such an image are too small to be recognised. */
const SMALL_SIDE = 64;

export interface RdedInputs {
  readonly teacher: Teacher;
  readonly images: ImageSource;
  readonly targets: Uint32Array;
  readonly range: readonly [number, number];
}

/** RDED as jobs of some classes each. @throws `INVALID_ARGUMENT` with the numbers if classes have too few images. */
export async function rdedSynthesiser(
  { teacher, images, targets, range }: RdedInputs,
  options: SynthesisRequest,
  openReader: () => Promise<ImageReader>,
): Promise<Synthesiser> {
  const settings = settingsOf(teacher, options);
  const { signal } = options;
  const byClass = imagesByClass(targets, range);
  requireEnough(byClass, range[0], settings, settings);
  const jobs = jobsOf(byClass, range[0], settings);
  let reader: Promise<ImageReader> | undefined;
  return {
    jobs: jobs.map((classes) => classes.length * settings.ipc),
    settings: {
      ...settings,
      images: { id: images.id, content: await imagesFingerprint(images, signal) },
    },
    async make(job) {
      reader ??= openReader();
      const context = { teacher, reader: await reader, settings, signal };
      return { images: await distilClasses(context, jobs[job]) };
    },
  };
}

function settingsOf(teacher: Teacher, options: SynthesisRequest): RdedSettings {
  const side = Math.min(...teacher.size);
  const { factor = Math.max(...teacher.size) > SMALL_SIDE ? 2 : 1, seed = 0 } = options;
  const { ipc, candidates = 300, draws = 1, crops = 5, batch = 128 } = options;
  argument.count(ipc, 'ipc', 1, 99_999);
  argument.count(seed, 'seed', 0);
  argument.count(factor, 'factor', 1, side);
  argument.count(candidates, 'candidates', 1);
  argument.count(draws, 'draws', 1, 2 ** 16);
  argument.count(crops, 'crops', 1, 2 ** 15);
  argument.count(batch, 'batch', 1, 2 ** 16);
  return { ipc, seed, factor, candidates, draws, crops, batch };
}

/** Consecutive classes, as many as fill a batch of the teacher, one at least. */
function jobsOf(
  byClass: readonly (readonly number[])[],
  first: number,
  { candidates, draws, crops, batch }: RdedSettings,
): readonly (readonly ClassImages[])[] {
  const jobs: ClassImages[][] = [];
  let room = 0;
  byClass.forEach((images, i) => {
    const views = Math.min(images.length, candidates) * draws * crops;
    if (jobs.length === 0 || views > room) {
      jobs.push([]);
      room = batch;
    }
    room -= views;
    jobs[jobs.length - 1].push({ target: first + i, images });
  });
  return jobs;
}
