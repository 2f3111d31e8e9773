import { argument } from '../core/check.js';
import type { ByteStore } from './byte-store.js';

/** Stores that files are written to: folders and object stores. What is there is whole: nothing shows before it is. */

export interface WriteOptions {
  readonly signal?: AbortSignal;
}

export interface PutPartsOptions extends WriteOptions {
  /** Hex. Kept where it can be: {@link WritableStore.sha256Of} finds it without reading the file. */
  readonly sha256: string;
}

export interface WritableStore extends ByteStore {
  /**
   * Names of its files, without those of folders within; none if the folder does not exist.
   *
   * @param prefix What the names begin with: a bucket is asked for these alone.
   */
  list(prefix?: string): Promise<readonly string[]>;
  /** Writes a small file, in place of one that is there. */
  put(key: string, bytes: Uint8Array, options?: WriteOptions): Promise<void>;
  /**
   * Writes a file unless one is there; tells whether it did. Of many at the same time, one is told so: writers whose
   * bytes differ from each other's agree by this on who goes first. Nothing shows before its parts have ended, and nothing
   * at all if they end with an error, which is thrown; parts stay as they are.
   *
   * @throws `UNSUPPORTED` if the store cannot: it is asked once, before the first file.
   */
  putIfAbsent(
    key: string,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options?: WriteOptions,
  ): Promise<boolean>;
  /**
   * Writes a large file from its parts, each of {@link PART_BYTES} but the last. An error that they end with is thrown, and
   * nothing is written.
   */
  putParts(
    key: string,
    size: number,
    parts: AsyncIterable<Uint8Array<ArrayBuffer>>,
    options: PutPartsOptions,
  ): Promise<void>;
  /** Hash of a file that is there; undefined if there is none, or its hash was not kept. */
  sha256Of(key: string, options?: WriteOptions): Promise<string | undefined>;
  /** Removes what killed writers of these files left, once they are there; absent where that shows to no client. */
  sweep?(keys: readonly string[]): Promise<void>;
  /** Nothing happens if there is none. */
  delete(key: string, options?: WriteOptions): Promise<void>;
}

/** At most 10,000 parts make an object of S3, whose parts have 5 MiB or more. */
export const PART_BYTES = 16 * 2 ** 20;

/** A file that comes in parts, as a whole. */
export async function joinParts(
  parts: AsyncIterable<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all);
}

/** `INVALID_ARGUMENT` unless the key is the name of a file in the store itself. */
export function requireKey(key: string): string {
  return argument.fileName(key, 'key');
}
