// In-process mutation fuzzing of every parser. An input fails if it makes a parser throw anything but a SoftpackError,
// take more than 10 s, or take more than 1 GB of memory.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

const MOST_SECONDS = 10;
const MOST_BYTES = 1e9;
const MOST_INPUT = 1 << 20;
const POLL = 100;

/**
 * Fuzzes for a while and returns counts and failures. The inputs that failed are written to `keep`, if given.
 *
 * @param options.only substring of the names of targets
 */
export async function fuzz({ seconds, seed, only, keep, onProgress = () => {} }) {
  const work = mkdtempSync(path.join(tmpdir(), 'softpack-fuzz-'));
  const result = { seed, executions: 0, seconds: 0, targets: [], failures: [] };
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  try {
    // A worker that hangs or takes too much memory is ended; another goes on with other mutants.
    for (let round = 0; elapsed() < seconds; round++) {
      const left = seconds - elapsed();
      const data = { work, seed: seed + 7919 * round, only };
      await runWorker(data, left, result, (executions) =>
        onProgress({ ...result, executions: result.executions + executions, seconds: elapsed() }),
      );
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  result.seconds = elapsed();
  for (const [i, { target, bytes }] of result.failures.entries()) {
    if (keep === undefined) break;
    writeFileSync(path.join(keep, `${i}-${target.replace(/\W+/g, '-')}`), bytes);
  }
  return result;
}

function runWorker(data, seconds, result, onProgress) {
  const control = new SharedArrayBuffer(12);
  const input = new SharedArrayBuffer(MOST_INPUT);
  const state = new Int32Array(control);
  const worker = new Worker(new URL('worker.mjs', import.meta.url), {
    workerData: { ...data, control, input },
  });
  const current = () => ({
    target: result.targets[state[0]],
    bytes: Buffer.from(new Uint8Array(input).slice(0, state[1])),
  });
  let baseline = 0;
  let [seen, since, started] = [0, performance.now(), 0];
  return new Promise((resolve, reject) => {
    const end = (reason) => {
      clearInterval(timer);
      if (reason !== undefined) result.failures.push({ ...current(), reason });
      result.executions += state[2];
      worker.terminate().then(() => resolve(), reject);
    };
    const timer = setInterval(() => {
      if (started === 0) return;
      const now = performance.now();
      if (state[2] !== seen) [seen, since] = [state[2], now];
      if (now - since > 1000 * MOST_SECONDS) return end(`more than ${MOST_SECONDS} s`);
      const grown = process.memoryUsage.rss() - baseline;
      if (grown > MOST_BYTES) return end(`${(grown / 1e9).toFixed(1)} GB of memory`);
      onProgress(state[2]);
      if (now - started > 1000 * seconds) end();
    }, POLL);
    worker.on('message', ({ ready, failure }) => {
      if (failure !== undefined) result.failures.push(failure);
      if (ready === undefined) return;
      result.targets = ready;
      baseline = process.memoryUsage.rss();
      started = performance.now();
      since = started;
    });
    worker.on('error', (error) => {
      clearInterval(timer);
      if (started === 0) return reject(error);
      end(`worker ended: ${error.stack ?? error}`);
    });
  });
}
