import { createRequire } from 'node:module';
import { join } from 'node:path';
import { openJobStores } from '../../dist/pipeline/job/stores.js';

// A process that works at a job of any kind, or finalizes it, and kills itself at a moment: before or after a call of its
// stores, or when it has done so much of its share.
const { kind, address, s3, share, queue, moment } = JSON.parse(process.argv[2]);
const {
  store: where,
  call,
  begins,
  when,
  time,
  done: enough = Number.POSITIVE_INFINITY,
} = moment ?? {};
const KINDS = {
  labels: async () => (await import('../../dist/pipeline/job/label-jobs.js')).LABEL_JOBS,
  async synthesis() {
    return [(await import('../../dist/synthesis/synthesis-jobs.js')).SYNTHESIS_JOBS];
  },
  async tokens() {
    const { stub } = await import('../interop/tokens/stub-llama.mjs');
    return [(await import('../../dist/interop/token-jobs.js')).tokenJobs(async () => stub())];
  },
};

function die() {
  process.kill(process.pid, 'SIGKILL');
  // The signal need not have come when the call returns.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
}

let times = 0;
const mortal = (name, store) =>
  new Proxy(store, {
    get(_, key) {
      const value = store[key];
      if (typeof value !== 'function') return value;
      return async (...args) => {
        const last =
          name === where && key === call && args[0].startsWith(begins) && times++ === time;
        if (last && when === 'before') die();
        const result = await value.apply(store, args);
        if (last) die();
        return result;
      };
    },
  });

const { archive, job, receipts } = await openJobStores(address, { s3 });
const stores = {
  address,
  archive: mortal('archive', archive),
  job: mortal('job', job),
  receipts: mortal('receipts', receipts),
};
const kinds = await KINDS[kind]();
if (share === undefined && queue === undefined) {
  const { finalizeJob } = await import('../../dist/pipeline/job/finalize.js');
  await finalizeJob(stores, { kinds });
} else {
  const { runJob } = await import('../../dist/pipeline/job/run.js');
  const workers = kind === 'labels' ? 1 : undefined;
  const onProgress = (done) => {
    if (done >= enough) die();
  };
  const runner = queue && (await runnerOf(queue));
  await runJob(stores, { kinds, workers, share, runner, onProgress });
}

async function runnerOf({ bull, address: at, lockMs }) {
  const { queueServer } = await import('../../dist/pipeline/job/bull-queue.js');
  const { bullRunner } = await import('../../dist/pipeline/job/bull-runner.js');
  const load = async (name) => createRequire(join(bull, 'package.json'))(name);
  return bullRunner(await queueServer(at, { lockMs, load }));
}
