import { spawn } from 'node:child_process';
import { readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive, requireUnfinished } from '#src/archive/create.js';
import { LOCK_FILE } from '#src/container/lock.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, smallRow, writeSmall } from './fixture.js';

const directory = await temporaryDirectory();
const locked = {
  name: 'SoftpackError',
  code: 'LOCKED',
  found: `process ${process.pid} on ${hostname()}`,
};

test('a second writer is told who writes, by whatever path it comes', async () => {
  const path = directory.path('two');
  const first = await createArchive(path, SMALL);
  const alias = directory.path('alias');
  await symlink(path, alias);
  for (const name of [path, alias, `${path}/.`]) {
    await expect(createArchive(name, SMALL, { resume: true })).rejects.toMatchObject(locked);
    await expect(requireUnfinished(name)).rejects.toMatchObject(locked);
  }
  await first.writeRow(0, smallRow(0));
  await first.close();
  await writeSmall(path, SMALL, { resume: true });
  expect([...(await readTree(path)).keys()]).not.toContain(LOCK_FILE);
});

test('the lock of a dead process is taken, one of another host is not', async () => {
  const holders = {
    'no such process': { pid: 2 ** 22 + 7, host: hostname(), started: '1' },
    'a later process of this number': { pid: process.ppid, host: hostname(), started: '1' },
    'this process, which holds none': {
      pid: process.pid,
      host: hostname(),
      started: (await readFile('/proc/self/stat', 'utf8')).split(') ')[1].split(' ')[19],
    },
  };
  const stale = [...Object.values(holders).map((holder) => JSON.stringify(holder)), '', '{"pid":'];
  for (const [i, text] of stale.entries()) {
    const path = directory.path(`stale-${i}`);
    await writeSmall(path, SMALL, { until: 2 });
    await writeFile(`${path}/${LOCK_FILE}`, text);
    await writeSmall(path, SMALL, { resume: true });
    await (await openArchive(path)).verify();
  }
  const path = directory.path('elsewhere');
  await writeSmall(path, SMALL, { until: 2 });
  const elsewhere = { pid: 1, host: 'another-host', started: '1' };
  await writeFile(`${path}/${LOCK_FILE}`, JSON.stringify(elsewhere));
  await expect(createArchive(path, SMALL, { resume: true })).rejects.toMatchObject({
    code: 'LOCKED',
    found: 'process 1 on another-host',
  });
  await rm(`${path}/${LOCK_FILE}`);
  await writeSmall(path, SMALL, { resume: true });
});

test('a lock that is just being written, on file systems without links, counts', async () => {
  const path = directory.path('without links');
  await writeSmall(path, SMALL, { until: 2 });
  await writeFile(`${path}/${LOCK_FILE}`, '');
  const call = createArchive(path, SMALL, { resume: true });
  call.catch(() => undefined);
  const holder = { pid: process.ppid, host: hostname(), started: '' };
  await writeFile(`${path}/${LOCK_FILE}`, JSON.stringify(holder));
  await expect(call).rejects.toMatchObject({ code: 'LOCKED' });
});

test('of processes that start at once one writes and the others are told so', async () => {
  const script = fileURLToPath(new URL('interrupted-writer.mjs', import.meta.url));
  const path = directory.path('race');
  const run = () =>
    new Promise<string>((resolve) => {
      const child = spawn(process.execPath, [script, path, '20']);
      let text = '';
      child.stderr.on('data', (data) => {
        text += data;
      });
      child.on('close', (code) => resolve(code === 0 ? 'finished' : text));
    });
  const ends = await Promise.all([run(), run(), run(), run()]);
  expect(ends).toContain('finished');
  for (const end of ends) if (end !== 'finished') expect(end).toMatch(/LOCKED/);
  await (await openArchive(path)).verify();
});

test('closing waits for the call in progress', async () => {
  const path = directory.path('closing');
  const writer = await createArchive(path, SMALL);
  const writing = writer.writeRow(0, smallRow(0));
  const closing = writer.close();
  await writing;
  await closing;
  await expect(writer.writeRow(1, smallRow(1))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    found: 'closed',
  });
  const resumed = await createArchive(path, SMALL, { resume: true });
  expect(resumed.nextEpoch).toBe(1);
  await resumed.close();
});

test('a bit that changes on disk before its shard is finished is not sealed', async () => {
  const path = directory.path('changed');
  const writer = await createArchive(path, SMALL);
  // The first shard holds epochs 0 and 1, the second 2 and 3.
  for (const epoch of [0, 1, 2]) await writer.writeRow(epoch, smallRow(epoch));
  const [partial] = [...(await readTree(path)).keys()].filter((name) => name.endsWith('.partial'));
  const bytes = await readFile(`${path}/${partial}`);
  const at = bytes.indexOf(Buffer.from(smallRow(2).codes));
  bytes[at + 3] ^= 16;
  await writeFile(`${path}/${partial}`, bytes);
  await expect(writer.writeRow(3, smallRow(3))).rejects.toMatchObject({
    code: 'CORRUPT_DATA',
    field: expect.stringMatching(/epoch 2, samples from 0$/),
  });
  await writer.close();
  // The next run writes that row again.
  await writeSmall(path, SMALL, { resume: true });
  const reference = directory.path('unchanged');
  await writeSmall(reference);
  expect(await readTree(path)).toEqual(await readTree(reference));
});
