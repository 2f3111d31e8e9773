import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '#src/core/child-environment.js';
import { SoftpackError, type SoftpackErrorCode } from '#src/errors.js';
import type { LoaderMetrics } from '#src/loader/metrics.js';
import type { BackendName } from '#src/nn/backend/name.js';

export interface StudentJob {
  /** Archive of the labels it learns from. */
  readonly archive: string;
  /** Folder of the demo's images, and their height and width, pixels. */
  readonly dir: string;
  readonly size: number;
  /** Folder of distilled images, to learn from these instead. */
  readonly distilled?: string;
  readonly backend: BackendName;
  readonly seed: number;
}

export interface StudentResult {
  /** Share of the held-out images classified correctly. */
  readonly top1: number;
  /** KL of each step's batch. */
  readonly losses: readonly number[];
  readonly backend: BackendName;
  readonly metrics: LoaderMetrics;
}

export type StudentMessage =
  | {
      readonly kind: 'progress';
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
    }
  | ({ readonly kind: 'result' } & StudentResult)
  | { readonly kind: 'failed'; readonly message: string; readonly code: SoftpackErrorCode };

export interface StudentHooks {
  readonly onProgress?: (step: number, steps: number, loss: number) => void;
  readonly signal?: AbortSignal;
}

/** Trains and tests one student in its own process. */
export function runStudent(
  job: StudentJob,
  { onProgress, signal }: StudentHooks,
): Promise<StudentResult> {
  const script = fileURLToPath(new URL('./student-process.js', import.meta.url));
  const child = fork(script, [], {
    env: childEnvironment(),
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  // Disconnecting tells the student to stop after its step; nothing is killed.
  const stop = () => child.connected && child.disconnect();
  signal?.addEventListener('abort', stop, { once: true });
  return new Promise<StudentResult>((resolve, reject) => {
    child.on('message', (message: StudentMessage) => {
      if (message.kind === 'progress')
        return onProgress?.(message.step, message.steps, message.loss);
      if (message.kind === 'result') return resolve(message);
      reject(new SoftpackError(message.code, `student: ${message.message}`));
    });
    child.on('exit', (code, killedBy) => {
      if (signal?.aborted)
        return reject(new SoftpackError('ABORTED', 'aborted', { cause: signal.reason }));
      const found = killedBy ?? `exit code ${code}`;
      reject(new SoftpackError('WORKER_FAILED', 'a student ended without a result', { found }));
    });
    child.on('error', (cause) => {
      reject(new SoftpackError('WORKER_FAILED', 'a student could not be started', { cause }));
    });
    child.send(job);
  }).finally(() => signal?.removeEventListener('abort', stop));
}
