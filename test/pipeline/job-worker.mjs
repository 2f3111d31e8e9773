import { finalizeJob } from '../../dist/pipeline/job/finalize.js';
import { runJob } from '../../dist/pipeline/job/run.js';
import { openJobStores } from '../../dist/pipeline/job/stores.js';

// A process that makes a share of a job, or finalizes it, and kills itself before or after a call of its stores.
const { folder, share, scratch, moment } = JSON.parse(process.argv[2]);
const { store: where, call, begins, when, time } = moment ?? {};
let times = 0;
const mortal = (name, store) =>
  Object.fromEntries(
    Object.entries(store).map(([key, value]) => {
      if (name !== where || key !== call) return [key, value];
      const dying = async (file, ...others) => {
        const last = file.startsWith(begins) && times++ === time;
        if (last && when === 'before') process.kill(process.pid, 'SIGKILL');
        const result = await value(file, ...others);
        if (last) process.kill(process.pid, 'SIGKILL');
        return result;
      };
      return [key, dying];
    }),
  );
const { address, archive, job, receipts } = await openJobStores(folder);
const stores = {
  address,
  archive: mortal('archive', archive),
  job: mortal('job', job),
  receipts: mortal('receipts', receipts),
};
if (share === undefined) await finalizeJob(stores);
else await runJob(stores, { workers: 1, share, scratch });
