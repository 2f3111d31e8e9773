import { invalidFile } from '../errors.js';

/** Sources of bytes: folders, web servers and object stores. */

export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Past every cache: the bytes that a cache had turned out to be damaged. */
  readonly fresh?: boolean;
  /** The caller will read on, up to this byte: stores where a request takes long may read ahead. */
  readonly until?: number;
}

/** The end of a file, which its reader needs first. */
export interface Tail {
  /** First byte of what is needed, and the size that the file should have. */
  readonly begin: number;
  readonly end: number;
  /** First byte of what is needed soon after, or `begin`: sent along where no cache keeps it. */
  readonly soon: number;
}

export interface OpenOptions extends ReadOptions {
  /** Servers send it with the opening: no request of its own. Not called where there is none to spare. */
  readonly tail?: () => Tail | undefined;
  /** A cache keeps all else: nothing is sent along. */
  readonly cached?: boolean;
}

/** A file of known size, read by position. */
export interface ByteFile {
  /** For error messages: a path or an address. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Address and version of a file on a server: caches keep bytes under it. Absent if it cannot be told from a later one. */
  readonly version?: string;
  /** Fills all of `into` (a view over a SharedArrayBuffer will do) from byte `offset` on, or throws. */
  read(offset: number, into: Uint8Array, options?: ReadOptions): Promise<void>;
  /** Whether these bytes came with the opening: reading them takes no request. */
  holds?(offset: number, length: number): boolean;
  close(): Promise<void>;
}

/** A set of files under plain names. */
export interface ByteStore {
  /** For error messages, e.g. the folder; without passwords. */
  readonly name: string;
  /** `NOT_FOUND` if there is no such file. */
  open(key: string, options?: OpenOptions): Promise<ByteFile>;
  /** Names of all files, where asking for them is cheap. */
  list?(): Promise<readonly string[]>;
}

/** `INVALID_FILE` if a read goes beyond the end of its file. */
export function requireWithin({ name, size }: ByteFile, offset: number, length: number): void {
  if (offset + length > size) throw endsEarly(name, offset, length, Math.max(0, size - offset));
}

export function endsEarly(name: string, offset: number, wanted: number, found: number) {
  const expected = `${wanted} bytes at ${offset}`;
  return invalidFile(name, 'size', 'file ends early', { expected, found });
}
