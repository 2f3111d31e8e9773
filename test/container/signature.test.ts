import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { copyFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { signArchive, verifyArchive, verifySignature } from '#src/index.js';
import { readTree, SMALL, smallRow, writeSmall } from '../archive/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const signed = temporary.path('signed');

/** Public key first. */
function keys(): readonly [string, string] {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const format = 'pem';
  return [
    publicKey.export({ type: 'spki', format }).toString(),
    privateKey.export({ type: 'pkcs8', format }).toString(),
  ];
}

const [publicKey, privateKey] = keys();

beforeAll(async () => {
  await writeSmall(signed);
  await signArchive(signed, privateKey);
});

test('a signature holds for its key and manifest', async () => {
  await verifySignature(signed, publicKey);
  await verifySignature(signed, Buffer.from(publicKey));
  expect((await verifyArchive(signed)).damage).toEqual([]);
});

test('OpenSSL finds the same signature good', async () => {
  const key = await temporary.file('public.pem', publicKey);
  const [manifest, signature] = ['manifest.json', 'manifest.json.sig'].map((f) => join(signed, f));
  const words = ['pkeyutl', '-verify', '-pubin', '-inkey', key, '-rawin'];
  const out = execFileSync('openssl', [...words, '-in', manifest, '-sigfile', signature]);
  expect(out.toString()).toContain('Verified Successfully');
});

test('only the signature catches who changes a label and every checksum and hash with it', async () => {
  const forged = temporary.path('forged');
  await using writer = await createArchive(forged, SMALL);
  for (let epoch = 0; epoch < 5; epoch++) {
    const { codes, weight } = smallRow(epoch);
    if (epoch === 3) codes[4] ^= 1;
    await writer.writeRow(epoch, { codes, weight });
  }
  await writer.finish();
  await copyFile(join(signed, 'manifest.json.sig'), join(forged, 'manifest.json.sig'));
  const [found, expected] = [await readTree(forged), await readTree(signed)];
  expect([...found.keys()]).toEqual([...expected.keys()]);
  expect((await verifyArchive(forged)).damage).toEqual([]);
  await expect(verifySignature(forged, publicKey)).rejects.toMatchObject({ code: 'UNTRUSTED' });
});

test('other keys, no signature and none that could be one are told apart from bad keys', async () => {
  const [otherPublic, otherPrivate] = keys();
  const untrusted = { code: 'UNTRUSTED', field: join(signed, 'manifest.json.sig') };
  await expect(verifySignature(signed, otherPublic)).rejects.toMatchObject(untrusted);
  const again = temporary.path('again');
  await writeSmall(again);
  const at = { code: 'UNTRUSTED', field: join(again, 'manifest.json.sig') };
  await expect(verifySignature(again, publicKey)).rejects.toMatchObject(at);
  for (const bytes of ['', 'x', Buffer.alloc(63), Buffer.alloc(64), Buffer.alloc(65)]) {
    await writeFile(join(again, 'manifest.json.sig'), bytes);
    await expect(verifySignature(again, publicKey)).rejects.toMatchObject(at);
  }
  await signArchive(again, otherPrivate);
  await verifySignature(again, otherPublic);
  await rm(join(again, 'manifest.json'));
  const incomplete = { code: 'INCOMPLETE' };
  await expect(verifySignature(again, publicKey)).rejects.toMatchObject(incomplete);
  await expect(signArchive(again, privateKey)).rejects.toMatchObject(incomplete);
});

test('what is no Ed25519 key is refused without showing it', async () => {
  const { privateKey: rsa } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { privateKey: locked } = generateKeyPairSync('ed25519');
  const wrong = {
    curve: rsa.export({ type: 'pkcs8', format: 'pem' }).toString(),
    locked: locked
      .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' })
      .toString(),
    text: 'hunter2',
    nothing: '',
    'a public key': publicKey,
  };
  for (const [name, key] of Object.entries(wrong)) {
    const error = await signArchive(signed, key).catch((thrown: unknown) => thrown);
    expect(error, name).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'key' });
    expect(JSON.stringify(error) + String(error)).not.toMatch(/hunter2|BEGIN/);
  }
  await expect(verifySignature(signed, 'hunter2')).rejects.toMatchObject({ field: 'key' });
});
