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
])('a queue at %s is refused with %s', async (address, code, text) => {
  const server = queueServer(address, { load: async () => ({}) });
  await expect(server).rejects.toMatchObject({ code });
  await expect(server).rejects.toThrow(text);
  await expect(server).rejects.not.toThrow('secret');
});

it.each([
  ['redis://user:secret@host:6379', 'bullmq'],
  ['postgres://user:secret@host/db', 'bullmq'],
  ['redis://user:secret@host:6379', 'ioredis'],
  ['rediss://user:secret@host:6379', 'ioredis'],
  ['postgres://user:secret@host/db', 'pg'],
  ['postgresql://user:secret@host/db', 'pg'],
])('a queue at %s without the package %s says what to type', async (address, missing) => {
  const asked: string[] = [];
  const load = async (name: string) => {
    asked.push(name);
    if (name !== missing) return {};
    throw Object.assign(new Error('no such package'), { code: 'ERR_MODULE_NOT_FOUND' });
  };
  const error = await queueServer(address, { load }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'TOOL_MISSING', field: missing });
  expect(String(error)).toMatch(new RegExp(`npm install ${missing}$`));
  expect(String(error)).not.toContain('secret');
  expect(asked.at(-1)).toBe(missing);
});
