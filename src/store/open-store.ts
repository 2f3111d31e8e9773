import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SoftpackError } from '../errors.js';
import { schemeOf } from './address.js';
import { blockCache, type CacheOptions } from './block-cache.js';
import type { ByteStore } from './byte-store.js';
import { coalesced } from './coalesce.js';
import { onFile } from './file-error.js';
import { type HttpOptions, httpStore } from './http.js';
import { localStore } from './local.js';
import { readAhead } from './read-ahead.js';
import { type S3Options, s3Store } from './s3.js';

export interface OpenStoreOptions {
  /** For addresses of web servers. */
  readonly http?: HttpOptions;
  /** For `s3://bucket/prefix`. */
  readonly s3?: S3Options;
  /** Where blocks of files of servers are kept; false to keep none. */
  readonly cache?: CacheOptions | false;
}

/**
 * The store at a path or an address: a folder, a folder on a web server (`https://`, `http://`), or a prefix of a bucket
 * (`s3://bucket/prefix`).
 *
 * @throws `NOT_FOUND` if there is no such folder; servers are first asked when a file is opened.
 */
export async function openStore(from: string, options: OpenStoreOptions = {}): Promise<ByteStore> {
  const scheme = schemeOf(from);
  switch (scheme) {
    case undefined:
      return existingFolder(from);
    case 'file':
      return existingFolder(pathOf(from));
    case 'http':
    case 'https':
      return streamed(httpStore(from, options.http), options.cache);
    case 's3':
      return streamed(await s3Store(from, options.s3), options.cache);
  }
  throw new SoftpackError('UNSUPPORTED', 'unknown kind of address', {
    field: 'address',
    expected: 'a path, https://, http://, s3:// or file://',
    found: `${scheme}://`,
  });
}

/** A store of a server with its reads joined, split, kept and made ahead, so that few requests are waited for. */
function streamed(store: ByteStore, options: CacheOptions | false | undefined): ByteStore {
  const cache = options === false ? undefined : blockCache(options);
  return {
    name: store.name,
    async open(key, opening) {
      const cached = cache !== undefined;
      const joined = coalesced(await store.open(key, { ...opening, cached }));
      if (opening?.fresh) await cache?.forget(joined);
      return readAhead(cache?.wrap(joined) ?? joined);
    },
  };
}

async function existingFolder(folder: string): Promise<ByteStore> {
  await onFile(folder, () => readdir(folder));
  return localStore(folder);
}

function pathOf(address: string): string {
  try {
    return fileURLToPath(address);
  } catch (cause) {
    const details = { field: 'address', expected: 'file:///path', found: address, cause };
    throw new SoftpackError('INVALID_ARGUMENT', 'not the address of a local folder', details);
  }
}
