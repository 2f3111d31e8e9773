import { planTokenJob, type TokenJobOptions, tokenJobs } from '#src/interop/token-jobs.js';
import { trainJobCodec } from '#src/pipeline/job/codec.js';
import type { JobStores } from '#src/pipeline/job/stores.js';
import type { TemporaryDirectory } from '../../temporary.js';
import { stub } from './stub-llama.mjs';

/** A job of labels of texts by a stub: 7 texts in shards of 3, 3 and 1. */

export const load = async () => stub();
export const kinds = [tokenJobs(load)];
export const [TEXTS, SHARDS] = [7, 3];
const LINES = [
  'the first text of all',
  '{"text": "a second one"}',
  '{"prompt": "why? ", "answer": "so it is"}',
  'and a fourth',
  'x',
  'the sixth and second to last',
  'the end',
];

export async function tokenJob(temporary: TemporaryDirectory) {
  const source = await temporary.file('texts.jsonl', LINES.join('\n'));
  const model = await temporary.file('model.gguf', 'weights');
  const options: TokenJobOptions = { source, model, codec: 'head-tail', seed: 3, shardTexts: 3 };
  return {
    options,
    /** Plans the job, and trains its codec. */
    async planned(stores: JobStores): Promise<JobStores> {
      await planTokenJob(stores, options, undefined, load);
      await trainJobCodec(stores, { kinds });
      return stores;
    },
  };
}
