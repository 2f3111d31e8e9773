import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { childEnvironment } from '#src/core/child-environment.js';
import { SoftpackError, throwIfAborted } from '#src/errors.js';

/** Environment variable of a process that is one of several: it measures, and another writes the report. */
const JOB = 'SOFTPACK_EXPERIMENTS_JOB';

export const isJob = process.env[JOB] !== undefined;
/** Whether this process writes down what is known so far, which one of them does. */
export const reports = !isJob || process.env[JOB] === '0';

/**
 * Runs the same program `jobs` times over the same folder, each with its share of the CPUs: small students leave
 * a second thread of TensorFlow idle half of the time. Ends when all have; the first failure stops the others.
 */
export async function runJobs(jobs: number, signal: AbortSignal): Promise<void> {
  const [, script = '', ...args] = process.argv;
  const threads = String(Math.max(1, Math.floor(availableParallelism() / jobs)));
  const children = Array.from({ length: jobs }, (_, job) =>
    fork(script, args, {
      env: { TF_NUM_INTRAOP_THREADS: threads, ...childEnvironment(), [JOB]: String(job) },
    }),
  );
  const stop = () => {
    for (const child of children) if (child.connected) child.disconnect();
  };
  signal.addEventListener('abort', stop);
  const ends = children.map(async (child) => {
    const [code, killedBy] = await once(child, 'exit');
    if (code !== 0) stop();
    return code ?? killedBy;
  });
  const failed = (await Promise.all(ends)).find((end) => end !== 0);
  signal.removeEventListener('abort', stop);
  throwIfAborted(signal);
  if (failed === undefined) return;
  throw new SoftpackError('WORKER_FAILED', 'a process of the experiments stopped early', {
    found: failed,
  });
}

/** Calls `stop` when the process that started this job is gone, or wants it to end. */
export function onEndOfParent(stop: () => void): void {
  process.once('disconnect', stop);
  // Waiting for that must not keep the process alive.
  process.channel?.unref();
}
