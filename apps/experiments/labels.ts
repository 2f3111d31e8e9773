import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { MANIFEST_FILE } from '#src/container/shard-file.js';
import { type MemoryImages, memoryImages } from '#src/images/memory.js';
import type { BackendName } from '#src/nn/backend/name.js';
import { labelViews } from '#src/pipeline/label-views.js';
import { evaluateTop1 } from '#src/training/evaluate.js';
import type { EmojiImages } from '../demo/emoji.js';
import { demoAugmentation, TAU } from '../demo/recipe.js';
import {
  heldOutImages,
  loadDemoTeacher,
  saveTeacher,
  TEACHER_FILE,
  trainTeacher,
} from '../demo/teacher.js';
import { type Family, type Scale, teacherRecipe } from './recipe.js';
import type { Workspace } from './workspace.js';

export interface Setting {
  readonly workspace: Workspace;
  readonly scale: Scale;
  readonly emoji: EmojiImages;
  readonly backend: BackendName;
  readonly signal: AbortSignal;
  /** Receives short progress lines of a step. */
  readonly onProgress: (note: string) => void;
}

/** Seed of augmentations and teachers, the same for all methods. */
const DATA_SEED = 1;

export interface TeacherStep {
  readonly file: string;
  readonly top1: number;
}

/** A teacher of one family, trained here; the quick scale takes the committed one for the residual family. */
export async function teacher(family: Family, setting: Setting): Promise<TeacherStep> {
  const { workspace, scale, emoji, backend, signal, onProgress } = setting;
  const recipe = teacherRecipe(family, scale);
  const committed = scale.name === 'quick' && family === 'residual';
  const parameters = { images: emoji.hash, recipe: committed ? 'committed' : recipe };
  const file = committed
    ? TEACHER_FILE
    : join(workspace.dir, `${workspace.key('teacher', parameters)}.safetensors`);
  const { top1 } = await workspace.step('teacher', parameters, async () => {
    if (committed) return { top1: await demoTeacherTop1(emoji) };
    const model = await trainTeacher({
      images: emoji,
      recipe,
      signal,
      onProgress: ({ step, steps, loss }) =>
        onProgress(`teacher ${family}: step ${step} of ${steps}, loss ${loss.toFixed(2)}`),
    });
    try {
      const command = 'npm run experiments';
      return { top1: await saveTeacher(model, emoji, file, backend, { command, recipe }) };
    } finally {
      model.dispose();
    }
  });
  return { file, top1 };
}

async function demoTeacherTop1(emoji: EmojiImages): Promise<number> {
  using model = await loadDemoTeacher(emoji, TEACHER_FILE);
  return await evaluateTop1(model, heldOutImages(emoji));
}

/** Identity of a set of full labels. */
export interface LabelSet {
  readonly family: Family;
  readonly ipc: number;
  /** Instead of the scale's. */
  readonly epochs?: number;
  /** Smallest share of an image that a view shows, instead of the demo's half. */
  readonly smallestCrop?: number;
  /** Other images than the designers' own. */
  readonly made?: MadeImages;
}

export interface MadeImages {
  readonly images: MemoryImages;
  /** SHA-256 of their pixels. */
  readonly hash: string;
}

/** The images that labels are made for: one per class from each of the first `ipc` sets. */
export function imagesOf({ emoji }: Setting, { ipc, made }: LabelSet): MemoryImages {
  if (made !== undefined) return made.images;
  const { classes, size, pixels } = emoji;
  return memoryImages(pixels.subarray(0, ipc * classes.length * size * size * 3), size, size);
}

/** The archive of a teacher's full labels, made if it is not there. */
export async function fullLabels(set: LabelSet, setting: Setting): Promise<string> {
  const { workspace, scale, emoji, backend, signal, onProgress } = setting;
  const { file } = await teacher(set.family, setting);
  const parameters = labelParameters(set, setting);
  const key = workspace.key('labels', parameters);
  const out = join(workspace.dir, 'archives', key);
  // The archive itself is the step's result; an unfinished one is resumed.
  const made = () => existsSync(join(out, MANIFEST_FILE));
  if (made()) return out;
  return workspace.exclusive(key, async () => {
    if (made()) return out;
    await labelViews({
      teacher: file,
      fingerprint: { family: set.family },
      backend,
      images: imagesOf(setting, set),
      augmentation: augmentationOf(set),
      epochs: epochsOf(set, scale),
      classes: emoji.classes.length,
      tau: TAU,
      out,
      workers: 1,
      signal,
      onProgress: (done, total) => onProgress(`labels ${set.family}: ${done} of ${total}`),
    });
    return out;
  });
}

export function labelParameters(set: LabelSet, { scale, emoji }: Setting) {
  const { family, ipc, made, smallestCrop } = set;
  const recipe = teacherRecipe(family, scale);
  const images = made?.hash ?? emoji.hash;
  const epochs = epochsOf(set, scale);
  return { images, scale: scale.name, recipe, ipc, epochs, tau: TAU, smallestCrop };
}

/** Epochs of a set's labels, and of its students. */
export function epochsOf({ epochs }: LabelSet, scale: Scale): number {
  return epochs ?? scale.epochs;
}

/** The views that a set's labels belong to. */
export function augmentationOf({ smallestCrop }: LabelSet): AugmentationSpec {
  return demoAugmentation(DATA_SEED, smallestCrop);
}
