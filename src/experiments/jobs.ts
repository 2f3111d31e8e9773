import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { SoftpackError } from '../errors.js';

/** Tells a process that it is one of several: it measures, and another writes the report. */
export const JOB = 'SOFTPACK_EXPERIMENTS_JOB';

/**
 * The same program `jobs` times over the same folder, each with its share of the processors: small students leave
 * a second thread of TensorFlow idle half of the time. Ends when all have; the first failure stops the others.
 */
export async function runJobs(jobs: number, signal: AbortSignal): Promise<void> {
  const [, script = '', ...args] = process.argv;
  const threads = String(Math.max(1, Math.floor(availableParallelism() / jobs)));
  const stop = new AbortController();
  const running = Array.from({ length: jobs }, async (_, job) => {
    const child = fork(script, args, {
      signal: AbortSignal.any([signal, stop.signal]),
      killSignal: 'SIGINT',
      env: { TF_NUM_INTRAOP_THREADS: threads, ...process.env, [JOB]: String(job) },
    });
    const [code, killedBy] = await once(child, 'exit');
    if (code === 0) return;
    stop.abort();
    throw new SoftpackError('WORKER_FAILED', 'a process of the experiments stopped early', {
      found: killedBy ?? `exit code ${code}`,
    });
  });
  const ends = await Promise.allSettled(running);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
}
