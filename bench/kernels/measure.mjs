// Times contenders against each other: all of them in turn, round after round, so that what else the machine does
// falls on all alike.
//
// A contender is an implementation of one operation on one workload:
//   impl      its name
//   side      'softpack', 'rival' or 'reference'
//   batches   labels a call that it may like best
//   like      another contender whose batch it takes instead of trying its own (compiling takes seconds a batch)
//   time(batch, calls)  runs on labels it has not just seen; resolves to { seconds, cpuSeconds } by its own clocks
//   output(batch)       its results for the first labels, for the comparison with float64
//   rounds    most rounds, of those too slow for more
import { setTimeout as sleep } from 'node:timers/promises';
import { median, quantile } from './statistics.mjs';

/** Pause after each sample: threads that spin for more work go to sleep. */
const PAUSE_MS = 2;
/** Of a contender whose single call takes longer, only so much is measured. */
const PATIENCE_SECONDS = 8;

/** One result a contender, in their order; one that fails is left out and reported to `onFailure`. */
export async function measure(contenders, { pool, rounds, sampleSeconds, onFailure }) {
  const running = [];
  for (const contender of contenders) {
    try {
      const like = running.find(({ contender: { impl } }) => impl === contender.like);
      const batches = contender.batches.filter((batch) => batch <= pool);
      const plan = await calibrate(contender, like ? [like.batch] : batches, sampleSeconds);
      running.push({ contender, ...plan, samples: [] });
    } catch (error) {
      onFailure(contender, error);
    }
  }
  for (let round = 0; round < rounds; round++) {
    // Forward and back: nobody always follows the same neighbour.
    const order = round % 2 === 0 ? running : [...running].reverse();
    for (const entry of order) {
      if (entry.samples.length >= entry.rounds) continue;
      await sleep(PAUSE_MS);
      entry.samples.push(await entry.contender.time(entry.batch, entry.calls));
    }
  }
  return running.map(({ contender, batch, calls, samples }) => ({
    contender,
    batch,
    ...summary(samples, batch * calls),
  }));
}

/** The batch that runs fastest, after a warm-up, and the calls that fill a sample. */
async function calibrate(contender, batches, sampleSeconds) {
  let best;
  for (const batch of batches) {
    await contender.time(batch, 1);
    let { seconds } = await contender.time(batch, 1);
    if (seconds < sampleSeconds) {
      const calls = Math.ceil(sampleSeconds / Math.max(seconds, 1e-7) / 2);
      seconds = (await contender.time(batch, calls)).seconds / calls;
    }
    if (best === undefined || batch / seconds > best.batch / best.seconds)
      best = { batch, seconds };
    // Larger batches of something this slow would only take longer.
    if (seconds > PATIENCE_SECONDS / 8) break;
  }
  const calls = Math.max(1, Math.round(sampleSeconds / best.seconds));
  const affordable = Math.max(3, Math.floor(PATIENCE_SECONDS / (calls * best.seconds)));
  return { batch: best.batch, calls, rounds: Math.min(contender.rounds ?? Infinity, affordable) };
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
