import { FieldChecker } from '../core/check.js';
import type { JsonObject } from '../core/json.js';
import type { Distilled, JobResult } from './distilled.js';
import type { SynthesisResult } from './options.js';

/** What a finished job reached, for its record. @param bytes size of each image's file. */
export function recordOf(
  { images, facts }: JobResult,
  bytes: ReadonlyMap<Distilled, number>,
): object {
  return {
    ...facts,
    images: images.map((image) => {
      const { target, index, loss, correct, sources } = image;
      return {
        ...{ target, index, crossEntropy: loss, correct, bytes: bytes.get(image) ?? 0 },
        ...(sources === undefined ? {} : { sources }),
      };
    }),
  };
}

/**
 * A run as a whole.
 *
 * @param name of what holds the records, for messages.
 * @param records of finished jobs, by their number.
 */
export function summarise(
  name: string,
  records: ReadonlyMap<number, JsonObject>,
  jobs: number,
  request: JsonObject,
): { readonly result: SynthesisResult; readonly summary: object } {
  const check = new FieldChecker(name, 'INVALID_FILE');
  const made: JsonObject[] = [];
  const perJob: JsonObject[] = [];
  for (const [job, { images, ...facts }] of records) {
    const own = check.list(images, `job ${job}`).map((image) => check.object(image, 'image'));
    perJob.push({ ...facts, ...reached(own) });
    made.push(...own);
  }
  const result = { ...reached(made), jobs, jobsDone: records.size };
  return { result, summary: { request, result, jobs: perJob, images: made } };
}

/** What the teacher makes of some images, seeing them whole, and their size. */
function reached(images: readonly JsonObject[]) {
  const mean = (value: (image: JsonObject) => number) =>
    images.reduce((sum, image) => sum + value(image), 0) / Math.max(images.length, 1);
  return {
    images: images.length,
    classes: new Set(images.map(({ target }) => target)).size,
    bytes: images.reduce((sum, { bytes }) => sum + Number(bytes), 0),
    accuracy: mean(({ correct }) => Number(correct)),
    confidence: mean(({ crossEntropy }) => Math.exp(-Number(crossEntropy))),
    crossEntropy: mean(({ crossEntropy }) => Number(crossEntropy)),
  };
}
