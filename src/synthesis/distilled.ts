import type { JsonObject } from '../core/json.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import type { SynthesisStep } from './options.js';
import { normalisePixels } from './patches.js';
import { scoreImages } from './score.js';

/** An image before the teacher is asked. */
export interface Drawn {
  readonly target: number;
  /** Within its class. */
  readonly index: number;
  /** [height, width, 3] of the teacher's size. */
  readonly pixels: Uint8Array;
  /** RDED: images that its patches come from, row by row. */
  readonly sources?: readonly number[];
}

/** A finished image and what the teacher says of it. */
export interface Distilled extends Drawn {
  readonly loss: number;
  readonly correct: boolean;
}

/** One method with all that its images follow from. */
export interface Synthesiser {
  /** Images of each job. */
  readonly jobs: readonly number[];
  /** Options that decide the images, as recorded. */
  readonly settings: JsonObject;
  make(job: number, onStep: (step: SynthesisStep) => void): Promise<JobResult>;
}

export interface JobResult {
  readonly images: readonly Distilled[];
  /** Further facts for the job's record. */
  readonly facts?: JsonObject;
}

/** Shows the teacher the whole images, as they are before any loss of their file's format. */
export async function judge(
  teacher: Teacher,
  batch: number,
  drawn: readonly Drawn[],
): Promise<readonly Distilled[]> {
  const stride = teacher.size[0] * teacher.size[1] * 3;
  const judged: Distilled[] = [];
  for (let at = 0; at < drawn.length; at += batch) {
    const some = drawn.slice(at, at + batch);
    const images = new Float32Array(some.length * stride);
    some.forEach(({ pixels }, i) => {
      const image = images.subarray(i * stride, (i + 1) * stride);
      normalisePixels(pixels, teacher.normalisation, image);
    });
    const targets = some.map(({ target }) => target);
    const scores = await scoreImages(teacher, images, targets);
    some.forEach((image, i) => {
      judged.push({ ...image, ...scores[i] });
    });
  }
  return judged;
}
