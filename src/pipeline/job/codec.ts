import { type JobKind, kindOf, type PrepareOptions } from './kind.js';
import { LABEL_JOBS } from './label-jobs.js';
import { readJob } from './record.js';
import type { JobStores } from './stores.js';

export interface TrainJobOptions extends PrepareOptions {
  /** Kinds of jobs that it may be; default: labels of images. */
  readonly kinds?: readonly JobKind[];
}

/**
 * Trains the codec of a job on a draw of its labels, which the teacher makes here and now. Does nothing if there is one,
 * or none is needed.
 *
 * @returns Whether this call trained the codec that is there now.
 */
export async function trainJobCodec(
  stores: JobStores,
  { kinds = LABEL_JOBS, ...options }: TrainJobOptions = {},
): Promise<boolean> {
  const job = await readJob(stores, { signal: options.signal });
  return (await kindOf(job, kinds).prepare?.(stores, job, options)) ?? false;
}
