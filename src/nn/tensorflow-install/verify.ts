import { fork } from 'node:child_process';
import { childEnvironment } from '../../core/child-environment.js';
import { moduleFile } from '../../core/package-files.js';
import { SoftpackError } from '../../errors.js';
import type { OperationsState } from '../backend/operations.js';
import type { VerifyMessage } from './verify-process.js';

export interface VerifiedTensorflow {
  readonly version: string;
  readonly devices: readonly string[];
  /** Whether it decodes labels itself; everything else works without that. */
  readonly operations: OperationsState;
}

const PROCESS = moduleFile('nn/tensorflow-install/verify-process.js');

/**
 * Loads an installation in a separate process, multiplies matrices and takes two training steps; throws
 * `BACKEND_UNAVAILABLE` with what went wrong, a crash included.
 */
export function verifyTensorflow(dir: string, signal?: AbortSignal): Promise<VerifiedTensorflow> {
  return new Promise((done, fail) => {
    const env = childEnvironment();
    const child = fork(PROCESS, [dir], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], signal });
    let output = '';
    let answer: VerifyMessage | undefined;
    child.stderr?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(-2000);
    });
    child.stdout?.resume();
    child.once('message', (message: VerifyMessage) => {
      answer = message;
    });
    child.once('error', (error) => {
      fail(signal?.aborted ? new SoftpackError('ABORTED', 'aborted', { cause: error }) : error);
    });
    child.once('close', (status, killed) => {
      if (answer !== undefined && 'version' in answer) return done(answer);
      const problem = answer?.problem ?? `its process ended with ${killed ?? status}: ${output}`;
      fail(
        new SoftpackError('BACKEND_UNAVAILABLE', `TensorFlow was built but fails: ${problem}`, {
          field: dir,
        }),
      );
    });
  });
}
