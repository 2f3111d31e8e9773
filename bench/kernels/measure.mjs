// Times contenders against each other, interleaved in every round, so that other load on the machine affects all alike.
//
// A contender is an implementation of one operation on one workload:
//   impl      its name
//   side      'softpack', 'rival' or 'reference'
//   batches   candidates for labels per call, the most promising first
//   like      another contender whose batch it uses instead of trying its own (compiling takes seconds per batch)
//   time(batch, calls)  runs on labels it has not just seen; resolves to { seconds, cpuSeconds } by its own clocks
//   output(batch)       its results for the first labels, for the comparison with float64
//   rounds    most rounds, for contenders too slow for more
import { setTimeout as sleep } from 'node:timers/promises';
import { median, quantile } from './statistics.mjs';

/** Pause after each sample: threads that spin for more work go to sleep. */
const PAUSE_MS = 2;
/** If a batch takes longer, no larger one is tried. */
const SLOW_SECONDS = 0.5;
/** Fewest rounds of a case, even if its contenders are slow. */
const LEAST_ROUNDS = 5;

/**
 * One result per contender, in their order; one that fails is left out and reported to `onFailure`. Ends after `rounds`
 * rounds, or after `caseSeconds` with a few.
 */
export async function measure(contenders, options) {
  let running = await calibrateAll(contenders, options);
  const begin = performance.now();
  for (let round = 0; round < options.rounds; round++) {
    // Alternating order: no contender always follows the same one.
    const order = round % 2 === 0 ? running : [...running].reverse();
    for (const entry of order) {
      const { contender, batch, calls, samples } = entry;
      if (samples.length >= (contender.rounds ?? Infinity)) continue;
      await sleep(PAUSE_MS);
      try {
        samples.push(await contender.time(batch, calls));
      } catch (error) {
        options.onFailure(contender, error);
        running = running.filter((other) => other !== entry);
      }
    }
    const seconds = (performance.now() - begin) / 1000;
    if (round + 1 >= LEAST_ROUNDS && seconds > options.caseSeconds) break;
  }
  return running.map(({ contender, batch, calls, samples }) => ({
    contender,
    batch,
    ...summary(samples, batch * calls),
  }));
}

async function calibrateAll(contenders, { pool, sampleSeconds, tries, onFailure }) {
  const running = [];
  for (const contender of contenders) {
    try {
      const like = running.find(({ contender: { impl } }) => impl === contender.like);
      const fitting = contender.batches.filter((batch) => batch <= pool);
      const batches = like ? [like.batch] : fitting.slice(0, tries);
      running.push({
        contender,
        ...(await calibrate(contender, batches, sampleSeconds)),
        samples: [],
      });
    } catch (error) {
      onFailure(contender, error);
    }
  }
  return running;
}

/** The batch that runs fastest, after a warm-up, and the calls that fill a sample. */
async function calibrate(contender, batches, sampleSeconds) {
  let best;
  let slow = Infinity;
  for (const batch of batches) {
    if (batch > slow) continue;
    await contender.time(batch, 1);
    let { seconds } = await contender.time(batch, 1);
    const calls = Math.ceil(sampleSeconds / Math.max(seconds, 1e-7) / 2);
    // The least of a few: something else may be running.
    for (let i = 0; i < 3 && seconds < SLOW_SECONDS; i++) {
      seconds = Math.min(seconds, (await contender.time(batch, calls)).seconds / calls);
    }
    if (best === undefined || batch / seconds > best.batch / best.seconds)
      best = { batch, seconds };
    if (seconds > SLOW_SECONDS) slow = batch;
  }
  return { batch: best.batch, calls: Math.max(1, Math.round(sampleSeconds / best.seconds)) };
}

function summary(samples, labels) {
  const rates = samples.map(({ seconds }) => labels / seconds);
  return {
    labelsPerSecond: median(rates),
    spread: [quantile(rates, 0.1), quantile(rates, 0.9)],
    labelsPerCpuSecond: median(samples.map(({ cpuSeconds }) => labels / cpuSeconds)),
    samples: samples.length,
  };
}

/**
 * A contender of this process. `call(start, count)` handles these labels of the workload, at once or as a promise;
 * `collect(count)` gives the results for the first `count` labels.
 */
export function local({ call, collect, pool, checked, ...rest }) {
  let next = 0;
  const start = (batch) => {
    if (next + batch > pool) next = 0;
    next += batch;
    return next - batch;
  };
  return {
    ...rest,
    async time(batch, calls) {
      const cpu = process.cpuUsage();
      const begin = performance.now();
      for (let i = 0; i < calls; i++) {
        const done = call(start(batch), batch);
        if (done !== undefined) await done;
      }
      const seconds = (performance.now() - begin) / 1000;
      const { user, system } = process.cpuUsage(cpu);
      return { seconds, cpuSeconds: (user + system) / 1e6 };
    },
    async output(batch) {
      for (let at = 0; at < checked; at += batch) await call(at, Math.min(batch, checked));
      return collect(checked);
    },
  };
}
