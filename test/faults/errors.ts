import { constants } from 'node:os';
import { expect } from 'vitest';
import { differences, type Left, lossesOfResumed } from './kills.js';
import { type FaultWorkplace, type Outcome, treeOf, type Writer } from './writers.js';

const { EACCES, EIO, EMFILE, ENOSPC } = constants.errno;
const ERRORS = { EACCES, EIO, EMFILE, ENOSPC } as const;

/** An error of the system at one operation. */
interface Failure {
  readonly error: keyof typeof ERRORS;
  /** Counted from 1, over all operations. */
  readonly at: number;
  readonly operation: string;
}

/** Error codes that a command may report for each cause. */
const CODES: Readonly<Record<keyof typeof ERRORS, string>> = {
  EACCES: 'PERMISSION_DENIED',
  EIO: 'IO_FAILED',
  EMFILE: 'IO_FAILED',
  ENOSPC: 'NO_SPACE',
};

/**
 * Losses that no program can avoid: a lock that cannot be unlinked stays, and the next writer takes it over; recursive mkdir
 * of Node.js reports any failure as a missing folder.
 */
const ALLOWED = /unlink \S*writer\.lock: out\/writer\.lock is left|mkdir .*\[NOT_FOUND\]/;

/**
 * Lets the operations that `choose` leaves fail, runs the writer again, and returns what fell short. The failed run must
 * end with exit code 1 and one typed error that names a path and the cause, or succeed without the operation; the second
 * run must end with the bytes of a run that nothing disturbed.
 */
export async function findUntoldErrors(
  place: FaultWorkplace,
  writer: Writer,
  choose: (failures: readonly Failure[]) => readonly Failure[],
): Promise<{ readonly tried: number; readonly faults: readonly string[] }> {
  const undisturbed = place.freshOut();
  const { code, operations } = await place.run(writer, undisturbed, { ops: 'all' });
  expect(code).toBe(0);
  expect(operations.length).toBeGreaterThan(5);
  const wanted = treeOf(undisturbed);
  const faults: string[] = [];
  const failures = choose(failuresOf(operations));
  const failed: Left[] = [];
  let unreached = 0;
  for (const { error, at, operation } of failures) {
    const out = place.freshOut();
    const outcome = await place.run(writer, out, { ops: 'all', fault: `${ERRORS[error]}`, at });
    // Threads make operations differ a little between runs: the one that failed is in this run's list, or there were fewer.
    const hit = outcome.operations[at - 1];
    const named = `${error} at ${at}, ${(hit ?? operation).replace(place.path(''), '')}`;
    if (hit === undefined) unreached += 1;
    // Once its hash is known, onnxruntime reads the model by itself and reports what it likes.
    const codes = outcome.err.includes('onnxruntime cannot load it')
      ? [CODES[error], 'INVALID_FILE']
      : [CODES[error]];
    if (outcome.code === 0) {
      faults.push(...differences(treeOf(out), wanted).map((found) => `${named}: ${found}`));
      place.discard(out);
      continue;
    }
    faults.push(
      ...wrongReport(outcome, codes, place.path('')).map((found) => `${named}: ${found}`),
    );
    failed.push({ named: `${named}, run again`, out });
  }
  if (unreached > failures.length / 20) faults.push(`${unreached} operations were never reached`);
  faults.push(...(await lossesOfResumed(place, writer, failed, wanted)));
  place.discard(undisturbed);
  return { tried: failures.length, faults: faults.filter((fault) => !ALLOWED.test(fault)) };
}

/** EIO for every operation, and a second error that suits it. */
function failuresOf(operations: readonly string[]): Failure[] {
  return operations.flatMap((operation, i) => {
    const failure = { at: i + 1, operation };
    const opens = /^(open|scandir) /.test(operation);
    if (/^read /.test(operation)) return [{ ...failure, error: 'EIO' }] as const;
    const second = opens ? (i % 2 === 0 ? 'EACCES' : 'EMFILE') : 'ENOSPC';
    return [
      { ...failure, error: 'EIO' },
      { ...failure, error: second },
    ] as const;
  });
}

function wrongReport(
  { code, signal, err }: Outcome,
  expected: readonly string[],
  root: string,
): string[] {
  const lines = err.split('\n').filter((line) => line.startsWith('softpack: '));
  const wrong: string[] = [];
  if (code !== 1) wrong.push(`exit ${code ?? signal}`);
  if (lines.length !== 1) wrong.push(`${lines.length} error lines`);
  if (!expected.some((found) => err.includes(`[${found}]`))) wrong.push(`no ${expected[0]}`);
  if (!err.includes(root)) wrong.push('no path');
  if (/^ {4}at /m.test(err)) wrong.push('a stack');
  return wrong.length === 0 ? [] : [`${wrong.join(', ')}: ${err.trim().split('\n').at(-1)}`];
}
