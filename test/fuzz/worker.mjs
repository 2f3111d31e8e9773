// Runs mutants until it is stopped, and says before each which one it is.
import { parentPort, workerData } from 'node:worker_threads';
import { SoftpackError } from '#src/errors.js';
import { Mutator, randomStream } from './mutate.mjs';
import { makeTargets } from './targets.mjs';

// Long stacks of the errors that are expected take half of the time.
Error.stackTraceLimit = 4;

const { work, seed, only, control, input } = workerData;
const state = new Int32Array(control);
const shown = new Uint8Array(input);
const targets = makeTargets(work);
const chosen = [...targets].filter(([name]) => only === undefined || name.includes(only));
if (chosen.length === 0)
  throw new Error(`no target named ${only}: ${[...targets.keys()].join(', ')}`);
const total = chosen.reduce((sum, [, { weight }]) => sum + weight, 0);
const random = randomStream(seed);
const mutator = new Mutator(random);
parentPort.postMessage({ ready: chosen.map(([name]) => name) });

/** Distinct failures only: the same error from the same place is one. */
const told = new Set();
for (;;) {
  const index = choose();
  const [name, { kind, seeds, run }] = chosen[index];
  const bytes = mutator.mutate(seeds, kind);
  shown.set(bytes);
  Atomics.store(state, 0, index);
  Atomics.store(state, 1, bytes.length);
  Atomics.add(state, 2, 1);
  try {
    await run(bytes);
  } catch (error) {
    if (!(error instanceof SoftpackError)) tell(name, error, bytes);
  }
  // Lets the memory of finished promises and finalisers go.
  if (state[2] % 256 === 0) await new Promise((resolve) => setImmediate(resolve));
}

function choose() {
  let at = random() * total;
  for (const [index, [, { weight }]] of chosen.entries()) {
    at -= weight;
    if (at < 0) return index;
  }
  return chosen.length - 1;
}

function tell(target, error, bytes) {
  const stack = error instanceof Error ? String(error.stack) : String(error);
  const place = stack.split('\n').slice(1, 3).join();
  const key = `${target} ${place}`;
  if (told.has(key)) return;
  told.add(key);
  parentPort.postMessage({ failure: { target, reason: stack.slice(0, 2000), bytes } });
}
