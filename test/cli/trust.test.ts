import { generateKeyPairSync } from 'node:crypto';
import { cp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { readTree, writeSmall } from '../archive/fixture.js';
import { writeImage } from '../images/fixture.js';
import { WebServer } from '../store/web-server.js';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const temporary = await temporaryDirectory();
const sound = temporary.path('sound');
const damaged = temporary.path('damaged');

beforeAll(async () => {
  await writeSmall(sound);
  await cp(sound, damaged, { recursive: true });
  await rm(join(damaged, 'codes-00001.safetensors'));
});

test('verify: exit code 0 without damage, 1 with, and the labels it hits', async () => {
  const good = await softpack(['verify', sound]);
  expect(good).toMatchObject({ code: 0, out: expect.stringContaining('no damage') });
  const bad = await softpack(['verify', damaged]);
  expect(bad.code).toBe(1);
  expect(bad.out).toContain('codes-00001.safetensors: no such file');
  expect(bad.out).toContain('hits epochs 2 to 3, samples 0 to 10\n');
  expect(bad.out).toContain('hits epochs 2 to 3, samples 0 to 10 of weight');
  expect(bad.err).toContain('CORRUPT_DATA');
  const json = await softpack(['verify', damaged, '--json']);
  expect(JSON.parse(json.out)).toMatchObject({ damage: [{ kind: 'missing' }] });
  expect(json.code).toBe(1);
});

test('repair: fetches what is damaged from an address, and tells what it could not', async () => {
  const web = await WebServer.start();
  for (const name of await readdir(sound)) {
    web.files.set(`a/${name}`, await readFile(join(sound, name)));
  }
  const directory = temporary.path('repaired');
  await cp(damaged, directory, { recursive: true });
  const fetched = await softpack(['repair', directory, '--from', `${web.url}/a`]);
  expect(fetched).toMatchObject({ code: 0, out: expect.stringContaining('1 files repaired') });
  expect(await readTree(directory)).toEqual(await readTree(sound));
  await rm(join(directory, 'codes-00001.safetensors'));
  const none = await softpack(['repair', directory, '--from', damaged]);
  expect(none.code).toBe(1);
  expect(none.out).toContain('codes-00001.safetensors: not repaired');
});

test('sign and verify --key: exit code 1 where the signature does not fit', async () => {
  const directory = temporary.path('signed');
  await cp(sound, directory, { recursive: true });
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const format = 'pem';
  const pub = publicKey.export({ type: 'spki', format }).toString();
  const pubFile = await temporary.file('pub.pem', pub);
  const keyPem = privateKey.export({ type: 'pkcs8', format }).toString();
  const keyFile = await temporary.file('key.pem', keyPem);
  const before = await softpack(['verify', directory, '--key', pubFile]);
  expect(before).toMatchObject({ code: 1, err: expect.stringContaining('UNTRUSTED') });
  expect((await softpack(['sign', directory, '--key', keyFile])).code).toBe(0);
  const after = await softpack(['verify', directory, '--key', pubFile]);
  expect(after).toMatchObject({ code: 0, out: expect.stringContaining('signature: good') });
  const missing = await softpack(['sign', directory, '--key', temporary.path('none.pem')]);
  expect(missing).toMatchObject({ code: 1, err: expect.stringContaining('NOT_FOUND') });
});

test('inspect: packed images, with the bytes of all files', async () => {
  const folder = temporary.path('folder');
  for (let i = 0; i < 4; i++) await writeImage(folder, `${i % 2}/${i}.png`, i, [4, 5]);
  const packed = temporary.path('packed');
  await softpack(['pack-images', folder, '--out', packed]);
  const { out } = await softpack(['inspect', packed, '--json']);
  let total = 0;
  for (const name of await readdir(packed)) total += (await readFile(join(packed, name))).length;
  expect(JSON.parse(out)).toMatchObject({ images: 4, classNames: ['0', '1'], bytes: { total } });
  const text = await softpack(['inspect', packed]);
  expect(text).toMatchObject({ code: 0, out: expect.stringContaining('4 x 5') });
});
