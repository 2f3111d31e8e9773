import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createLoader } from '#src/loader/loader.js';
import type { Batch } from '#src/loader/options.js';
import { openStore } from '#src/store/open-store.js';
import { softpack } from '../cli/softpack.js';
import { WebServer } from '../store/web-server.js';
import { temporaryDirectory } from '../temporary.js';
import { collect, digest, images, normalisation, trainCodec, writeArchive } from './fixture.js';

const temporary = await temporaryDirectory();
const folder = temporary.path('archive');
const archive = await writeArchive(folder, await trainCodec());
const web = await WebServer.start();
for (const name of await readdir(folder)) {
  web.files.set(`labels/${name}`, await readFile(join(folder, name)));
}
const address = `${web.url}/labels`;
const common = { images, normalisation, batchSize: 8, seed: 3, workers: 1 };

test('createLoader by address gives the batches of the folder, through faults and a cache', async () => {
  const expected = digest(await collect({ ...common, archive }));
  // Every third request fails.
  web.misbehave = ({ index }, response) => {
    if (index % 3 !== 1) return false;
    response.writeHead(503).end();
    return true;
  };
  const cache = { folder: temporary.path('cache'), bytes: 2 ** 26 };
  const store = await openStore(address, { http: { backoffMs: 1 }, cache });
  for (const from of [folder, address, store, store]) {
    await using loader = await createLoader({ ...common, archive: from });
    const batches: Batch[] = [];
    for await (const batch of loader) batches.push(batch);
    expect(digest(batches)).toEqual(expected);
  }
  web.reset();
});

test('createLoader closes what it opened, also if it is refused', async () => {
  const loader = await createLoader({ ...common, archive: address });
  await loader.close();
  await expect(loader[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'ABORTED' });
  const refused = { ...common, archive: address, batchSize: 0 };
  await expect(createLoader(refused)).rejects.toMatchObject({ field: 'batchSize' });
  const nothing = { ...common, archive: `${web.url}/nothing` };
  await expect(createLoader(nothing)).rejects.toMatchObject({ code: 'INCOMPLETE' });
  const elsewhere = { ...common, archive: address, images: temporary.path('none') };
  await expect(createLoader(elsewhere)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('inspect, verify and cat take an address', async () => {
  const local = await softpack(['inspect', folder, '--json']);
  const remote = await softpack(['inspect', address, '--json']);
  expect(remote).toEqual(local);
  expect(remote.code).toBe(0);
  expect(await softpack(['verify', address])).toMatchObject({ code: 0 });
  const outputs: Buffer[] = [];
  for (const [i, from] of [folder, address].entries()) {
    const out = temporary.path(`${i}.npy`);
    expect(await softpack(['cat', from, '--epoch', '1', '--out', out])).toMatchObject({ code: 0 });
    outputs.push(await readFile(out));
  }
  expect(outputs[0]?.equals(outputs[1] as Buffer)).toBe(true);
  const lost = await softpack(['inspect', `${web.url}/nothing`]);
  expect(lost.code).toBe(1);
  expect(lost.err).toMatch(/http:\/\/127\.0\.0\.1:\d+\/nothing\/manifest\.json/);
});
