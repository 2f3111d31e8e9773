/** Sources of bytes: folders today; web servers and object stores fit the same interface. */

export interface ReadOptions {
  readonly signal?: AbortSignal;
}

/** A file of known size, read by position. Nothing is cached or read ahead. */
export interface ByteFile {
  /** For error messages: a path or an address. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Fills all of `into` (a view over a SharedArrayBuffer will do) from byte `offset` on, or throws. */
  read(offset: number, into: Uint8Array, options?: ReadOptions): Promise<void>;
  close(): Promise<void>;
}

/** A set of files under plain names. */
export interface ByteStore {
  /** For error messages, e.g. the folder. */
  readonly name: string;
  /** `NOT_FOUND` if there is no such file. */
  open(key: string, options?: ReadOptions): Promise<ByteFile>;
}
