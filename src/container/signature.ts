import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { join } from 'node:path';
import { errorCode, SoftpackError } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { readLocalFile } from '../store/local.js';
import { openStore } from '../store/open-store.js';
import { readStored } from '../store/read-stored.js';
import { replaceFile } from './durable.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from './shard-file.js';

/**
 * Signatures against people who change files on purpose. What is signed are the bytes of the manifest, which holds the
 * sha256 of every other file, or that of the table which does. The signature is a file of its own, the 64 raw bytes of
 * Ed25519 (RFC 8032), so that OpenSSL can check it too. The layout of OpenSSF model signing (a Sigstore bundle around a
 * list of files) was not taken: its keys are of NIST curves, and it would list 100,000 shards a second time.
 */

/** Next to the manifest, which it signs. */
export const SIGNATURE_FILE = `${MANIFEST_FILE}.sig`;
const SIGNATURE_BYTES = 64;
/** Keys in PEM are some 120 bytes; encrypted ones a few hundred. */
export const MAX_KEY_BYTES = 65_536;

/** A key in PEM, as text or bytes. */
export type PemKey = string | Uint8Array;

/**
 * Signs a finished archive, or packed images, with a private Ed25519 key; a signature that is there is replaced.
 *
 * @throws `INVALID_ARGUMENT` if it is no such key, `INCOMPLETE` if there is no manifest.
 */
export async function signArchive(directory: string, privateKey: PemKey): Promise<void> {
  const key = ed25519(() => createPrivateKey(pem(privateKey)), 'private');
  const path = join(directory, MANIFEST_FILE);
  const manifest = await readLocalFile(path, MAX_MANIFEST_BYTES).catch((error: unknown) => {
    throw errorCode(error) === 'NOT_FOUND' ? unfinished(path) : error;
  });
  await replaceFile(join(directory, SIGNATURE_FILE), sign(null, manifest, key));
}

/**
 * Returns if the manifest was signed with the private half of a public Ed25519 key. What the manifest says of the other
 * files is for `verifyArchive` to compare.
 *
 * @throws `UNTRUSTED` if there is no signature, or it is of another key or of another manifest; `INVALID_ARGUMENT` if it
 *   is no such key, `INCOMPLETE` if there is no manifest.
 */
export async function verifySignature(from: string | ByteStore, publicKey: PemKey): Promise<void> {
  const key = ed25519(() => createPublicKey(pem(publicKey)), 'public');
  const store = typeof from === 'string' ? await openStore(from) : from;
  const manifest = await readStored(store, MANIFEST_FILE, MAX_MANIFEST_BYTES);
  if (manifest === undefined) throw unfinished(nameIn(store.name, MANIFEST_FILE));
  const field = nameIn(store.name, SIGNATURE_FILE);
  const signature = await readStored(store, SIGNATURE_FILE, SIGNATURE_BYTES).catch(
    (error: unknown) => {
      if (errorCode(error) !== 'INVALID_FILE') throw error;
      throw new SoftpackError('UNTRUSTED', 'not an Ed25519 signature', { field, cause: error });
    },
  );
  if (signature === undefined) throw new SoftpackError('UNTRUSTED', 'not signed', { field });
  if (signature.length === SIGNATURE_BYTES && verify(null, manifest, key, signature)) return;
  const message = 'the signature does not fit: signed with another key, or changed afterwards';
  throw new SoftpackError('UNTRUSTED', message, { field });
}

function pem(key: PemKey): string | Buffer {
  return typeof key === 'string' ? key : Buffer.from(key);
}

function ed25519(read: () => KeyObject, kind: 'private' | 'public'): KeyObject {
  const expected = `a ${kind} Ed25519 key in PEM, without a password`;
  let key: KeyObject;
  try {
    key = read();
  } catch {
    // Neither key nor cause: a message must not show a secret.
    throw new SoftpackError('INVALID_ARGUMENT', 'not a key', { field: 'key', expected });
  }
  const found = key.asymmetricKeyType;
  if (found === 'ed25519') return key;
  const details = { field: 'key', expected, found: `a key of the kind ${found}` };
  throw new SoftpackError('INVALID_ARGUMENT', 'a key of another kind', details);
}

function unfinished(field: string): SoftpackError {
  return new SoftpackError('INCOMPLETE', 'no manifest: nothing that is finished', { field });
}
