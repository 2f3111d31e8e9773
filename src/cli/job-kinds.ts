import type { JobKind } from '../pipeline/job/kind.js';

/** All kinds of jobs, loaded when a step needs them. */
export async function jobKinds(): Promise<readonly JobKind[]> {
  const { LABEL_JOBS } = await import('../pipeline/job/label-jobs.js');
  const { tokenJobs } = await import('../interop/token-jobs.js');
  const { SYNTHESIS_JOBS } = await import('../synthesis/synthesis-jobs.js');
  return [...LABEL_JOBS, tokenJobs(), SYNTHESIS_JOBS];
}
