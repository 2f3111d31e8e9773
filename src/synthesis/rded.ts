import { Augmenter } from '../augment/augmenter.js';
import { renderViews } from '../augment/replay.js';
import { throwIfAborted } from '../errors.js';
import type { ImageReader } from '../images/image-reader.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { type Candidate, type CandidateSettings, candidatesOf } from './candidates.js';
import { type Distilled, type Drawn, judge } from './distilled.js';
import { padPatch, stitch, toPixels } from './patches.js';
import { scoreImages } from './score.js';

/** Share of the image that a crop takes, as published; crops are square. */
const CROP = { scale: [0.08, 1], ratio: [1, 1] } as const;

export interface RdedSettings extends CandidateSettings {
  readonly ipc: number;
  readonly crops: number;
  readonly factor: number;
  readonly batch: number;
}

/** Everything that the images of a class follow from. */
export interface RdedContext {
  readonly teacher: Teacher;
  readonly reader: ImageReader;
  readonly settings: RdedSettings;
  readonly signal?: AbortSignal;
}

/** A class of the teacher and the images that show it. */
export interface ClassImages {
  readonly target: number;
  readonly images: readonly number[];
}

interface Patch extends Candidate {
  readonly pixels: Uint8Array;
  readonly loss: number;
}

/** The images of some classes: a pure function of context and classes. */
export async function distilClasses(
  context: RdedContext,
  classes: readonly ClassImages[],
): Promise<readonly Distilled[]> {
  const { settings } = context;
  const tries = classes.flatMap(({ target, images }) =>
    candidatesOf(images, target, settings).map((candidate) => ({ ...candidate, target })),
  );
  const patches = new Map<number, Patch[]>(classes.map(({ target }) => [target, []]));
  const step = Math.max(1, Math.floor(settings.batch / settings.crops));
  for (let at = 0; at < tries.length; at += step) {
    throwIfAborted(context.signal);
    const some = tries.slice(at, at + step);
    const best = await bestCrops(context, some);
    for (const [i, { target }] of some.entries()) patches.get(target)?.push(best[i]);
  }
  const drawn = classes.flatMap(({ target }) =>
    assemble(context, target, patches.get(target) ?? []),
  );
  return judge(context.teacher, settings.batch, drawn);
}

/** Of each candidate the crop that the teacher is surest of. */
async function bestCrops(
  { teacher, reader, settings: { crops, factor, seed } }: RdedContext,
  tries: readonly (Candidate & { readonly target: number })[],
): Promise<readonly Patch[]> {
  const images = await reader.read(Uint32Array.from(tries, ({ image }) => image));
  const size = patchSize(teacher, factor);
  const augmenter = new Augmenter(
    {
      ...{ generator: 'philox4x32-10', seed, size, crop: CROP, flip: 0 },
      ...{ mix: { kind: 'none' }, resample: 'antialias' },
    },
    images,
  );
  const { normalisation } = teacher;
  const views = tries.flatMap(({ image, draw }) =>
    Array.from({ length: crops }, (_, crop) => {
      const view = new Float32Array(size[0] * size[1] * 3);
      const sample = Uint32Array.of(image);
      renderViews(augmenter, images, draw * crops + crop, sample, normalisation, view);
      return view;
    }),
  );
  const stride = teacher.size[0] * teacher.size[1] * 3;
  const batch = new Float32Array(views.length * stride);
  views.forEach((view, i) => {
    batch.set(padPatch(view, size, teacher.size), i * stride);
  });
  const targets = views.map((_, i) => tries[Math.floor(i / crops)].target);
  const scores = await scoreImages(teacher, batch, targets);
  return tries.map((candidate, i) => {
    let best = i * crops;
    for (let k = best + 1; k < (i + 1) * crops; k++) {
      if (scores[k].loss < scores[best].loss) best = k;
    }
    return { ...candidate, pixels: toPixels(views[best], normalisation), loss: scores[best].loss };
  });
}

/** Images from the best patches: the k-th cell of all of them is filled before the next, best first. */
function assemble(
  { teacher, settings: { ipc, factor } }: RdedContext,
  target: number,
  patches: readonly Patch[],
): readonly Drawn[] {
  // The order of equal losses is that of the candidates, as sorting is stable.
  const ranked = [...patches].sort((a, b) => a.loss - b.loss);
  const size = patchSize(teacher, factor);
  return Array.from({ length: ipc }, (_, index) => {
    const cells = Array.from({ length: factor ** 2 }, (_, k) => ranked[index + k * ipc]);
    return {
      target,
      index,
      pixels: stitch(
        cells.map(({ pixels }) => pixels),
        size,
        factor,
        teacher.size,
      ),
      sources: cells.map(({ image }) => image),
    };
  });
}

function patchSize({ size: [height, width] }: Teacher, factor: number): readonly [number, number] {
  return [Math.floor(height / factor), Math.floor(width / factor)];
}
