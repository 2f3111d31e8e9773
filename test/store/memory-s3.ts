import { Readable } from 'node:stream';
import type { S3WriteSdk } from '#src/store/s3-writer.js';

interface Input {
  readonly Key: string;
  readonly Prefix: string;
  readonly Range?: string;
  readonly Body: Uint8Array;
  readonly IfNoneMatch?: string;
  readonly Metadata?: Readonly<Record<string, string>>;
  readonly UploadId: string;
  readonly PartNumber: number;
  readonly MultipartUpload: { readonly Parts: readonly { readonly PartNumber: number }[] };
  readonly ContinuationToken?: string;
}

class Command {
  readonly input: Input;
  constructor(input: object) {
    this.input = input as Input;
  }
}
class Get extends Command {}
class Head extends Command {}
class Put extends Command {}
class Delete extends Command {}
class List extends Command {}
class Create extends Command {}
class Part extends Command {}
class Complete extends Command {}
class Abort extends Command {}

const failure = (status: number) =>
  Object.assign(new Error(`status ${status}`), {
    ...{ name: 'Failure', $metadata: { httpStatusCode: status }, $response: { headers: {} } },
  });

interface Stored {
  readonly bytes: Buffer;
  readonly metadata: Input['Metadata'];
  readonly tag: string;
}

/** A bucket in memory at the interface of the AWS SDK. */
export class MemoryBucket {
  readonly objects = new Map<string, Stored>();
  readonly uploads = new Map<string, Map<number, Buffer>>();
  /** Requests so far, by their kind. */
  readonly asked: string[] = [];
  /** Names in a page of a listing. */
  page = 2;
  /** As `rclone serve s3` does. */
  ignoresConditions = false;
  /** Called before and after a request is served; what it throws is the answer. */
  fault: (kind: string, when: 'before' | 'after', input: Input) => void = () => undefined;
  #tags = 0;

  get sdk(): S3WriteSdk {
    const serve = (command: object) => this.#send(command as Command);
    return {
      S3Client: class {
        send(command: object, { abortSignal }: { readonly abortSignal: AbortSignal }) {
          if (abortSignal.aborted) return Promise.reject(abortSignal.reason);
          return serve(command);
        }
      },
      ...{ GetObjectCommand: Get, HeadObjectCommand: Head, PutObjectCommand: Put },
      ...{ DeleteObjectCommand: Delete, ListObjectsV2Command: List },
      ...{ CreateMultipartUploadCommand: Create, UploadPartCommand: Part },
      ...{ CompleteMultipartUploadCommand: Complete, AbortMultipartUploadCommand: Abort },
    };
  }

  async #send(command: Command): Promise<unknown> {
    const kind = command.constructor.name;
    this.asked.push(kind);
    this.fault(kind, 'before', command.input);
    const answer = this.#serve(command);
    this.fault(kind, 'after', command.input);
    return answer;
  }

  #serve(command: Command): unknown {
    const { input } = command;
    if (command instanceof Put) return this.#put(input);
    if (command instanceof List) return this.#list(input);
    if (command instanceof Delete) return void this.objects.delete(input.Key);
    if (command instanceof Create || command instanceof Part) return this.#upload(command);
    if (command instanceof Complete) return this.#complete(input);
    if (command instanceof Abort) return void this.uploads.delete(input.UploadId);
    const found = this.objects.get(input.Key);
    if (found === undefined) throw failure(404);
    const { bytes, metadata, tag: ETag } = found;
    if (command instanceof Head) return { ETag, ContentLength: bytes.length, Metadata: metadata };
    const [, first, to] = (/^bytes=(\d+)-(\d+)$/.exec(input.Range ?? '') ?? []).map(Number);
    if (first >= bytes.length) throw failure(416);
    const part = bytes.subarray(first, to + 1);
    return {
      ...{ $metadata: { httpStatusCode: 206 }, ETag, ContentLength: part.length },
      ContentRange: `bytes ${first}-${first + part.length - 1}/${bytes.length}`,
      Body: Readable.from([part]),
    };
  }

  #put({ Key, Body, Metadata, IfNoneMatch }: Input): void {
    const isTaken = this.objects.has(Key) && IfNoneMatch === '*' && !this.ignoresConditions;
    if (isTaken) throw failure(412);
    this.#keep(Key, Buffer.from(Body), Metadata);
  }

  #keep(key: string, bytes: Buffer, metadata: Input['Metadata']): void {
    this.objects.set(key, { bytes, metadata, tag: `"${this.#tags++}"` });
  }

  #list({ Prefix, ContinuationToken = '0' }: Input): unknown {
    const keys = [...this.objects.keys()].filter(
      (key) => key.startsWith(Prefix) && !key.slice(Prefix.length).includes('/'),
    );
    const end = Number(ContinuationToken) + this.page;
    return {
      Contents: keys.slice(Number(ContinuationToken), end).map((Key) => ({ Key })),
      ...{ IsTruncated: end < keys.length, NextContinuationToken: String(end) },
    };
  }

  readonly #metadata = new Map<string, Input['Metadata']>();

  #upload({ input }: Command): unknown {
    if (input.UploadId === undefined) {
      const UploadId = String(this.#tags++);
      this.uploads.set(UploadId, new Map());
      this.#metadata.set(UploadId, input.Metadata);
      return { UploadId };
    }
    this.uploads.get(input.UploadId)?.set(input.PartNumber, Buffer.from(input.Body));
    return { ETag: String(input.PartNumber) };
  }

  #complete({ Key, UploadId, MultipartUpload }: Input): void {
    const parts = this.uploads.get(UploadId);
    if (parts === undefined) throw failure(404);
    const bytes = MultipartUpload.Parts.map(
      ({ PartNumber }) => parts.get(PartNumber) ?? Buffer.alloc(0),
    );
    this.#keep(Key, Buffer.concat(bytes), this.#metadata.get(UploadId));
    this.uploads.delete(UploadId);
  }
}
