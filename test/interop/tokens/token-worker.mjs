import { tokenJobs } from '../../../dist/interop/token-jobs.js';
import { runJob } from '../../../dist/pipeline/job/run.js';
import { openJobStores } from '../../../dist/pipeline/job/stores.js';
import { stub } from './stub-llama.mjs';

// A worker of a job of labels of texts that says when so many are labelled, and stands still to be killed.
const [, , address, texts] = process.argv;
const kinds = [tokenJobs(async () => stub())];
const onProgress = (done) => {
  if (done < Number(texts)) return;
  process.stdout.write('here\n');
  // Until its parent has surely ended.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
};
await runJob(await openJobStores(address), { kinds, onProgress });
