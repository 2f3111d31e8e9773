import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { labelTexts } from '#src/interop/label-texts.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { runJob } from '#src/pipeline/job/run.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { filesIn } from '../../pipeline/job.js';
import { temporaryDirectory } from '../../temporary.js';
import { kinds, load, tokenJob } from './token-job.js';

const temporary = await temporaryDirectory();
const { options, planned } = await tokenJob(temporary);

test('labels of texts that a process was killed at are those of one machine', async () => {
  const folder = temporary.path('killed');
  const stores = await planned(await openJobStores(folder));
  const script = fileURLToPath(new URL('token-worker.mjs', import.meta.url));
  // In the second shard.
  const child = spawn(process.execPath, [script, folder, '4'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const _ of child.stdout) child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  expect(child.signalCode).toBe('SIGKILL');
  await expect(finalizeJob(stores, { kinds })).rejects.toMatchObject({ code: 'INCOMPLETE' });
  expect(await runJob(stores, { kinds })).toMatchObject({ skipped: 1, made: 2 });
  await finalizeJob(stores, { kinds });
  const out = temporary.path('one machine');
  await labelTexts({ ...options, out }, load);
  expect(await filesIn(folder)).toEqual(await filesIn(out));
});
