import { expect, it } from 'vitest';
import { queueServer } from '#src/pipeline/job/bull-queue.js';
import { localRunner } from '#src/pipeline/job/runner.js';
import { RUNNER_CONTRACT } from './runner-contract.js';

for (const [what, hold] of Object.entries(RUNNER_CONTRACT)) {
  it(`the local runner ${what}`, () => hold(localRunner, 'job'));
}

it.each([
  ['tcp://host:1', 'INVALID_ARGUMENT', 'redis://host:6379'],
  ['redis', 'INVALID_ARGUMENT', 'redis://host:6379'],
  ['constructor://host', 'INVALID_ARGUMENT', 'redis://host:6379'],
  ['tcp://user:p@secret@host:1', 'INVALID_ARGUMENT', 'tcp://host:1'],
  ['redis://user:secret@host:port', 'INVALID_ARGUMENT', 'redis://host:6379'],
  ['redis://user:secret@host:6379', 'TOOL_MISSING', 'npm install bullmq'],
  ['postgres://host/db', 'TOOL_MISSING', 'npm install bullmq'],
])('a queue at %s is refused with %s', async (address, code, text) => {
  const none = Object.assign(new Error('no such package'), { code: 'ERR_MODULE_NOT_FOUND' });
  const server = queueServer(address, { load: () => Promise.reject(none) });
  await expect(server).rejects.toMatchObject({ code });
  await expect(server).rejects.toThrow(text);
  await expect(server).rejects.not.toThrow('secret');
});
