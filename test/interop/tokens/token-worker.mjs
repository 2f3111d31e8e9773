import { setTimeout } from 'node:timers/promises';
import { tokenJobs } from '../../../dist/interop/token-jobs.js';
import { runJob } from '../../../dist/pipeline/job/run.js';
import { openJobStores } from '../../../dist/pipeline/job/stores.js';
import { stub } from './stub-llama.mjs';

// A worker of a job of labels of texts, slow enough to be killed between two of them; it says how far it is.
const [, , address, ms] = process.argv;
const { getLlama } = stub();
const slow = async () => {
  const llama = await getLlama();
  const model = await llama.loadModel();
  const context = await model.createContext();
  const sequence = context.getSequence();
  const controlledEvaluate = async (input) => {
    await setTimeout(Number(ms));
    return sequence.controlledEvaluate(input);
  };
  const createContext = async () => ({
    ...context,
    getSequence: () => ({ ...sequence, controlledEvaluate }),
  });
  return { ...llama, loadModel: async () => ({ ...model, createContext }) };
};
const kinds = [tokenJobs(async () => ({ getLlama: slow }))];
const onProgress = (done) => process.stdout.write(`${done}\n`);
await runJob(await openJobStores(address), { kinds, onProgress });
