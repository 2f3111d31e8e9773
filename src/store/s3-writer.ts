import { randomBytes } from 'node:crypto';
import { errorCode, isSoftpackError, SoftpackError } from '../errors.js';
import { Attempt } from './attempt.js';
import { networkFailed, TransientFailure } from './network-error.js';
import { withRetries } from './retry.js';
import {
  connectS3,
  failureOfSdk,
  loadSdk,
  type S3Connection,
  type S3Options,
  type S3Sdk,
  s3Store,
} from './s3.js';
import { joinParts, requireKey, type WritableStore, type WriteOptions } from './writable-store.js';

type CommandOf = new (input: object) => object;

/** What is used of `@aws-sdk/client-s3` to write. */
export interface S3WriteSdk extends S3Sdk {
  readonly PutObjectCommand: CommandOf;
  readonly DeleteObjectCommand: CommandOf;
  readonly ListObjectsV2Command: CommandOf;
  readonly CreateMultipartUploadCommand: CommandOf;
  readonly UploadPartCommand: CommandOf;
  readonly CompleteMultipartUploadCommand: CommandOf;
  readonly AbortMultipartUploadCommand: CommandOf;
}

/** What is read of answers. */
interface Output {
  readonly ETag?: string;
  readonly UploadId?: string;
  readonly Metadata?: Readonly<Record<string, string>>;
  readonly Contents?: readonly { readonly Key?: string }[];
  readonly IsTruncated?: boolean;
  readonly NextContinuationToken?: string;
}

/** Slower than this, an upload has failed: bytes per millisecond. */
const SLOWEST_UPLOAD = 131_072 / 1000;
/** Parts of a file that are sent at the same time. */
const PARTS_AT_ONCE = 4;
const HASH = 'softpack-sha256';
const PROBE = 'softpack-probe-';

/**
 * A prefix of a bucket to write to. Objects appear as a whole or not at all. A killed upload of a large file leaves parts
 * that no list shows and that are paid for: a rule of the bucket (AbortIncompleteMultipartUpload) removes them.
 */
export async function s3WritableStore(
  address: string,
  options: S3Options = {},
  load: () => Promise<S3WriteSdk> = loadSdk<S3WriteSdk>,
): Promise<WritableStore> {
  const connection = await connectS3(address, options, load);
  const { name, open } = await s3Store(address, options, load);
  return new S3Writer(connection, name, open);
}

class S3Writer implements WritableStore {
  readonly name: string;
  readonly open: WritableStore['open'];
  readonly #connection: S3Connection<S3WriteSdk>;
  /** Set once the server has shown that it knows conditions. */
  #probed: Promise<void> | undefined;

  constructor(connection: S3Connection<S3WriteSdk>, name: string, open: WritableStore['open']) {
    this.name = name;
    this.open = open;
    this.#connection = connection;
  }

  async list(begin = ''): Promise<readonly string[]> {
    const { sdk, bucket, prefix } = this.#connection;
    const within = prefix === '' ? '' : `${prefix}/`;
    const names: string[] = [];
    let token: string | undefined;
    do {
      const page = await this.#send(
        new sdk.ListObjectsV2Command({
          ...{ Bucket: bucket, Prefix: within + begin, Delimiter: '/' },
          ...(token !== undefined && { ContinuationToken: token }),
        }),
      );
      for (const { Key = within } of page.Contents ?? []) {
        const name = Key.slice(within.length);
        if (name !== '' && !name.startsWith(PROBE)) names.push(name);
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return names;
  }

  async put(key: string, bytes: Uint8Array, options: WriteOptions = {}): Promise<void> {
    await this.#put(key, bytes, {}, options);
  }

  async putIfAbsent(
    key: string,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options: WriteOptions = {},
  ): Promise<boolean> {
    this.#probed ??= this.#probe(options);
    this.#probed.catch(() => {
      this.#probed = undefined;
    });
    await this.#probed;
    // As a whole: it is sent again if the answer is lost.
    const bytes = Symbol.asyncIterator in content ? await joinParts(content) : content;
    return this.#create(key, bytes, options);
  }

  /** A server that ignores the condition would let every writer believe that it was first. */
  async #probe(options: WriteOptions): Promise<void> {
    const key = `${PROBE}${randomBytes(8).toString('hex')}`;
    try {
      const made = [0, 1].map((i) => Uint8Array.of(i));
      const first = await this.#create(key, made[0], options);
      const second = await this.#create(key, made[1], options);
      if (first && !second) return;
    } catch (error) {
      const found = isSoftpackError(error) ? String(error.found) : '';
      if (!/status (400|501)/.test(found)) throw error;
    } finally {
      await this.delete(key).catch(() => undefined);
    }
    const message = 'the server ignores If-None-Match: writers would overwrite each other';
    throw new SoftpackError('UNSUPPORTED', message, { field: this.name });
  }

  /** An answer that was lost may have been a success: what is there then are these bytes. */
  async #create(key: string, bytes: Uint8Array, options: WriteOptions): Promise<boolean> {
    let attempts = 0;
    const condition = { IfNoneMatch: '*' };
    const outcome = await this.#put(key, bytes, condition, options, () => attempts++);
    if (outcome === 'written') return true;
    return attempts > 1 && (await this.#holds(key, bytes));
  }

  async #holds(key: string, bytes: Uint8Array): Promise<boolean> {
    const file = await this.open(key);
    if (file.size !== bytes.length) return false;
    const found = new Uint8Array(file.size);
    await file.read(0, found, { fresh: true });
    return Buffer.compare(found, bytes) === 0;
  }

  async #put(
    key: string,
    bytes: Uint8Array,
    condition: object,
    { signal }: WriteOptions,
    onAttempt?: () => void,
  ): Promise<'written' | 'there'> {
    const { sdk, objectOf } = this.#connection;
    const input = { ...objectOf(requireKey(key)), Body: bytes, ...condition };
    const output = await this.#send(new sdk.PutObjectCommand(input), {
      ...{ bytes: bytes.length, signal, onAttempt },
      accept: (status) => status === 412,
    });
    return output === ACCEPTED ? 'there' : 'written';
  }

  async putParts(
    key: string,
    size: number,
    parts: Parameters<WritableStore['putParts']>[2],
    { sha256, signal }: Parameters<WritableStore['putParts']>[3],
  ): Promise<void> {
    const { sdk, objectOf } = this.#connection;
    const object = objectOf(requireKey(key));
    const metadata = { Metadata: { [HASH]: sha256 } };
    const all = parts[Symbol.asyncIterator]();
    const first = await all.next();
    const second = first.done ? first : await all.next();
    if (second.done) {
      const Body = first.done ? new Uint8Array(0) : first.value;
      const command = new sdk.PutObjectCommand({ ...object, ...metadata, Body });
      await this.#send(command, { bytes: size, signal });
      return;
    }
    const create = new sdk.CreateMultipartUploadCommand({ ...object, ...metadata });
    const { UploadId } = await this.#send(create, { signal });
    try {
      const Parts = await this.#upload(
        { ...object, UploadId },
        [first.value, second.value],
        all,
        signal,
      );
      const upload = { ...object, UploadId, MultipartUpload: { Parts } };
      await this.#send(new sdk.CompleteMultipartUploadCommand(upload), { signal });
    } catch (error) {
      const abort = new sdk.AbortMultipartUploadCommand({ ...object, UploadId });
      await this.#send(abort, { retries: 0 }).catch(() => undefined);
      throw error;
    }
  }

  /** Sends some parts at a time, the first ones of which are there. */
  async #upload(
    object: object,
    begun: readonly Uint8Array[],
    rest: AsyncIterator<Uint8Array>,
    signal: AbortSignal | undefined,
  ): Promise<readonly object[]> {
    const { sdk } = this.#connection;
    const sent: Promise<object>[] = [];
    const send = async (Body: Uint8Array, PartNumber: number) => {
      const command = new sdk.UploadPartCommand({ ...object, PartNumber, Body });
      const { ETag } = await this.#send(command, { bytes: Body.length, signal });
      return { ETag, PartNumber };
    };
    try {
      for (let i = 0; ; i++) {
        const next =
          begun[i] ?? (await rest.next().then(({ done, value }) => (done ? undefined : value)));
        if (next === undefined) break;
        const part = send(next, i + 1);
        part.catch(() => undefined);
        sent.push(part);
        if (i >= PARTS_AT_ONCE - 1) await sent[i - PARTS_AT_ONCE + 1];
      }
      return await Promise.all(sent);
    } finally {
      // Nothing is sent any more once the upload is ended.
      await Promise.allSettled(sent);
    }
  }

  async sha256Of(key: string, { signal }: WriteOptions = {}): Promise<string | undefined> {
    const { sdk, objectOf } = this.#connection;
    try {
      const head = new sdk.HeadObjectCommand(objectOf(requireKey(key)));
      return (await this.#send(head, { signal })).Metadata?.[HASH];
    } catch (error) {
      if (errorCode(error) === 'NOT_FOUND') return undefined;
      throw error;
    }
  }

  async delete(key: string, { signal }: WriteOptions = {}): Promise<void> {
    const { sdk, objectOf } = this.#connection;
    await this.#send(new sdk.DeleteObjectCommand(objectOf(requireKey(key))), {
      signal,
      accept: (status) => status === 404,
    });
  }

  /** Sends a request until it is answered. */
  async #send(
    command: object,
    { bytes = 0, signal, retries, accept, onAttempt }: SendOptions = {},
  ): Promise<Output> {
    const { client, options, limit, name } = this.#connection;
    // Nothing is heard while a body is sent.
    const attemptMs = options.attemptMs ?? 60_000;
    const stallMs = Math.ceil(attemptMs + bytes / SLOWEST_UPLOAD);
    const limits = { ...options, attemptMs, stallMs };
    return withRetries({ ...options, ...(retries !== undefined && { retries }) }, signal, () =>
      limit.run(async () => {
        using attempt = new Attempt(name, bytes, limits, signal);
        onAttempt?.();
        try {
          return (await client.send(command, { abortSignal: attempt.signal })) as Output;
        } catch (cause) {
          if (attempt.signal.aborted) throw attempt.signal.reason;
          const { status, error } = failureOfSdk(name, cause);
          if (accept?.(status)) return ACCEPTED;
          // Another writer of the same object is not done yet.
          if (status === 409)
            throw new TransientFailure(networkFailed(name, 'conflict', { found: '409' }));
          throw error;
        }
      }),
    );
  }
}

interface SendOptions extends WriteOptions {
  /** Of the body. */
  readonly bytes?: number;
  readonly retries?: number;
  /** Statuses of failure that are an answer. */
  readonly accept?: (status: number) => boolean;
  readonly onAttempt?: () => void;
}

/** Stands for the answer to a request that failed as it may. */
const ACCEPTED: Output = {};
