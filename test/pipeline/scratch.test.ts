import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeScratch } from '#src/pipeline/job/scratch.js';
import { thisProcess } from '#src/store/process-id.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();

test('a scratch folder is removed once its process has ended, and nothing else', async () => {
  const scratch = temporary.path('scratch');
  const of = async (name: string, owner: unknown) => {
    await mkdir(join(scratch, name), { recursive: true });
    await writeFile(join(scratch, name, 'owner.json'), JSON.stringify(owner));
    return name;
  };
  const dead = { ...thisProcess(), pid: spawnSync('true').pid };
  const removed = [
    await of('softpack-job-dead', dead),
    await of('softpack-job-reused', { ...thisProcess(), started: '1' }),
  ];
  const kept = [
    await of('softpack-job-live', thisProcess()),
    await of('softpack-job-elsewhere', { ...dead, host: 'another' }),
    await of('softpack-job-null', null),
    await of('softpack-job-words', 'dead'),
    await of('of others', dead),
  ];
  const at = (name: string) => {
    kept.push(name);
    return join(scratch, name);
  };
  await mkdir(at('softpack-job-new'));
  await writeFile(at('softpack-job-file'), '');
  await mkdir(join(at('softpack-job-folder'), 'owner.json'), { recursive: true });
  await mkdir(at('softpack-job-loop'));
  await symlink('owner.json', join(scratch, 'softpack-job-loop', 'owner.json'));
  // Only the link of a folder elsewhere goes.
  await symlink('of others', join(scratch, 'softpack-job-link'));
  removed.push('softpack-job-link');

  const own = await makeScratch(scratch);
  expect(existsSync(join(own, 'owner.json'))).toBe(true);
  expect((await readdir(scratch)).map((name) => join(scratch, name)).sort()).toEqual(
    [...kept.map((name) => join(scratch, name)), own].sort(),
  );
  expect(await readdir(join(scratch, 'of others'))).toEqual(['owner.json']);
  expect(removed.filter((name) => existsSync(join(scratch, name)))).toEqual([]);
});
