// Labels of an ImageNet classifier for collages of photographs: made once, and kept in a folder.
import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { writeCollages } from './collages.mjs';
import { fetchPackages } from './packages.mjs';
import { writeTeacher } from './teacher.mjs';

/** Side of the teacher's images. */
export const SIDE = 224;
export const TAU = 20;
const SEED = 1;
const HELD_OUT_SEED = 2;
const description = { preprocessing: 'tf', layout: 'nchw', output: 'logits' };

/** The folder of the labels of every view, beside that of the images. */
export async function makeLabels({ dir, python, collages, epochs }) {
  const at = (name) => path.join(dir, name);
  await mkdir(dir, { recursive: true });
  const out = at('labels');
  if (existsSync(path.join(out, 'manifest.json'))) return out;
  await makeImages(at('images'), { dir, python, collages, seed: SEED });
  await cacheLabels({
    ...{ teacher: at('teacher.onnx'), description, images: at('images') },
    ...{ out, epochs, tau: TAU, workers: 1 },
  });
  return out;
}

/** The folder of the teacher's labels of other collages, each seen whole. */
export async function makeHeldOutLabels({ dir, python, collages }) {
  const at = (name) => path.join(dir, name);
  const out = at('held-out-labels');
  if (existsSync(path.join(out, 'manifest.json'))) return out;
  await makeImages(at('held-out'), { dir, python, collages, seed: HELD_OUT_SEED });
  const augmentation = { crop: { scale: [1, 1], ratio: [1, 1] }, flip: 0, mix: { kind: 'none' } };
  await cacheLabels({
    ...{ teacher: at('teacher.onnx'), description, images: at('held-out'), augmentation },
    ...{ out, epochs: 1, tau: TAU, workers: 1 },
  });
  return out;
}

async function makeImages(folder, { dir, python, collages, seed }) {
  const { weights, photographs } = await fetchPackages(dir, python);
  const teacher = path.join(dir, 'teacher.onnx');
  if (!existsSync(teacher)) await writeTeacher(weights, SIDE, teacher);
  if (existsSync(folder)) return;
  await writeCollages(photographs, collages, seed, `${folder}.partial`);
  await rename(`${folder}.partial`, folder);
}
