import { Readable } from 'node:stream';
import { optionalPackage } from '../core/optional-package.js';
import { errorCode, errorMessage, SoftpackError } from '../errors.js';
import { nameIn } from './address.js';
import { type Answer, failureOf } from './answer.js';
import type { Attempt, TimeLimits } from './attempt.js';
import type { ByteStore } from './byte-store.js';
import { networkError, networkFailed, TransientFailure } from './network-error.js';
import { openRanged, type RangeSource, requireLimits } from './ranged-file.js';
import { RequestLimit } from './request-limit.js';
import type { RetryOptions } from './retry.js';

export interface S3Options extends RetryOptions, TimeLimits {
  /** Default: that of the environment and of the AWS profile; `us-east-1` for an `endpoint`. */
  readonly region?: string;
  /** Address of a server other than Amazon's. Default: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`. */
  readonly endpoint?: string;
  /** `https://host/bucket/key` rather than `https://bucket.host/key`. Default: for an `endpoint`. */
  readonly pathStyle?: boolean;
  /** Pay for the requests. Default: if `AWS_REQUEST_PAYER` is `requester`. */
  readonly requesterPays?: boolean;
  /** Requests at a time. Default 8. */
  readonly requests?: number;
}

/** What is used of `@aws-sdk/client-s3`. */
export interface S3Sdk {
  readonly S3Client: new (config: object) => S3Client;
  readonly GetObjectCommand: new (input: object) => object;
  readonly HeadObjectCommand: new (input: object) => object;
}

export interface S3Client {
  send(command: object, options: { readonly abortSignal: AbortSignal }): Promise<unknown>;
}

/** What is read of an answer to GetObject or HeadObject. */
interface S3Output {
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly ETag?: string;
  readonly LastModified?: Date;
  readonly ContentRange?: string;
  readonly ContentLength?: number;
  readonly ContentEncoding?: string;
  readonly Body?: unknown;
}

/** The parts of a failure of the SDK that say what happened. */
interface S3Failure {
  readonly name?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
}

/**
 * A prefix of a bucket, `s3://bucket/prefix`, read by the AWS SDK, which finds credentials as all AWS tools do. Ranges and
 * versions are held as strictly as those of web servers, and bodies that break off are asked for again.
 *
 * @throws `TOOL_MISSING` if the SDK is not installed.
 */
export async function s3Store(
  address: string,
  options: S3Options = {},
  load: () => Promise<S3Sdk> = loadSdk,
): Promise<ByteStore> {
  const connection = await connectS3(address, options, load);
  return {
    name: connection.name,
    open: (key, opening) => openRanged(sourceOf(connection, connection.objectOf(key)), opening),
  };
}

/** A prefix of a bucket, and what its requests share. */
export interface S3Connection<Sdk extends S3Sdk = S3Sdk> {
  readonly name: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly sdk: Sdk;
  readonly client: S3Client;
  readonly options: S3Options;
  readonly limit: RequestLimit;
  /** Parameters that name the object of a file. */
  objectOf(key: string): S3Object;
}

interface S3Object {
  readonly Bucket: string;
  readonly Key: string;
}

export async function connectS3<Sdk extends S3Sdk>(
  address: string,
  options: S3Options,
  load: () => Promise<Sdk>,
): Promise<S3Connection<Sdk>> {
  const { bucket, prefix } = parseS3Address(address);
  requireLimits('s3', options);
  const sdk = await load();
  const client = new sdk.S3Client(configOf(options, process.env));
  const limit = new RequestLimit(options.requests ?? 8);
  const pays = options.requesterPays ?? process.env.AWS_REQUEST_PAYER === 'requester';
  return {
    ...{ name: `s3://${bucket}/${prefix}`, bucket, prefix, sdk, client, options, limit },
    objectOf: (key) => ({
      Bucket: bucket,
      Key: nameIn(prefix, key),
      ...(pays && { RequestPayer: 'requester' }),
    }),
  };
}

/** Bucket and prefix, without slashes at their ends. */
export function parseS3Address(address: string): {
  readonly bucket: string;
  readonly prefix: string;
} {
  const [, bucket, prefix = ''] =
    /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/+(.*))?$/is.exec(address) ?? [];
  if (bucket === undefined || bucket !== bucket.toLowerCase()) {
    const details = { field: 'address', expected: 's3://bucket/prefix', found: address };
    throw new SoftpackError('INVALID_ARGUMENT', 'not the address of a bucket', details);
  }
  return { bucket, prefix: prefix.replace(/\/+$/, '') };
}

export function loadSdk<Sdk extends S3Sdk>(): Promise<Sdk> {
  return optionalPackage('@aws-sdk/client-s3', 's3:// addresses');
}

function configOf(options: S3Options, env: NodeJS.ProcessEnv): object {
  const endpoint =
    options.endpoint ?? (env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || undefined);
  const region =
    options.region ?? (endpoint !== undefined && !env.AWS_REGION ? 'us-east-1' : undefined);
  return {
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
    forcePathStyle: options.pathStyle ?? endpoint !== undefined,
    // Repeated by the store itself, which also repeats bodies that break off.
    maxAttempts: 1,
    // Blocks have checksums of their own, and other servers than Amazon's do not know all of these.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  };
}

function sourceOf({ sdk, client, options, limit }: S3Connection, object: S3Object): RangeSource {
  const name = `s3://${object.Bucket}/${object.Key}`;
  const send = async (command: object, attempt: Attempt): Promise<S3Output> => {
    try {
      const output = await client.send(command, { abortSignal: attempt.signal });
      attempt.touch();
      return output as S3Output;
    } catch (cause) {
      throw attempt.signal.aborted ? attempt.signal.reason : cause;
    }
  };
  return {
    name,
    id: `${options.endpoint ?? ''} ${name}`,
    options,
    limit,
    async ask(range, ifMatch, attempt) {
      const input = { ...object, Range: range, ...(ifMatch !== undefined && { IfMatch: ifMatch }) };
      try {
        return answerOf(await send(new sdk.GetObjectCommand(input), attempt));
      } catch (cause) {
        const { status, error } = failureOfSdk(name, cause);
        if (status !== 412 && status !== 416) throw error;
        if (status === 416 && ifMatch === undefined) {
          // An object of no bytes has no range; servers do not say its size in this answer.
          const head = await send(new sdk.HeadObjectCommand(object), attempt).catch(
            (failure: unknown) => {
              throw failureOfSdk(name, failure).error;
            },
          );
          if (head.ContentLength === 0)
            return answerOf({ ...head, $metadata: { httpStatusCode: 200 } });
        }
        return { status, headers: {}, body: Readable.from([]) };
      }
    },
  };
}

function answerOf(output: S3Output): Answer {
  const { $metadata, ETag, LastModified, ContentRange, ContentLength, Body } = output;
  // How its uploader sent it, which some servers keep: the object itself is not encoded so.
  const encoding = output.ContentEncoding?.replace(/^aws-chunked(,\s*|$)/, '') || undefined;
  const length = ContentLength === undefined ? undefined : String(ContentLength);
  const modified = LastModified === undefined ? undefined : LastModified.toUTCString();
  return {
    status: $metadata?.httpStatusCode ?? (ContentRange === undefined ? 200 : 206),
    headers: {
      ...(ETag !== undefined && { etag: ETag }),
      ...(modified !== undefined && { 'last-modified': modified }),
      ...(ContentRange !== undefined && { 'content-range': ContentRange }),
      ...(length !== undefined && { 'content-length': length }),
      ...(encoding !== undefined && { 'content-encoding': encoding }),
    },
    body: Body instanceof Readable ? Body : Readable.from([]),
  };
}

/** Names that the SDK gives failures without a status. */
const CREDENTIALS = /Credentials|TokenProvider|ExpiredToken|SSO/;

/** The status of a failed request, and the error to throw for it. */
export function failureOfSdk(
  name: string,
  cause: unknown,
): { readonly status: number; readonly error: unknown } {
  if (cause instanceof SoftpackError || cause instanceof TransientFailure) {
    return { status: 0, error: cause };
  }
  const failure = (typeof cause === 'object' && cause !== null ? cause : {}) as S3Failure;
  const status = failure.$metadata?.httpStatusCode ?? 0;
  const kind = String(failure.name ?? '');
  if (status === 301 || status === 400) {
    const message =
      status === 301 ? 'bucket is in another region; set AWS_REGION' : 'S3 refused the request';
    return { status, error: networkFailed(name, message, { found: `${kind}, status ${status}` }) };
  }
  if (kind === 'NoSuchBucket') {
    const message = 'no such bucket; create it, or check its name and AWS_ENDPOINT_URL';
    return { status, error: new SoftpackError('NOT_FOUND', message, { field: name }) };
  }
  if (status >= 300) {
    const headers = failure.$response?.headers ?? {};
    return { status, error: failureOf(name, { status, headers }) ?? cause };
  }
  if (CREDENTIALS.test(kind)) {
    const message = `no credentials for S3: ${errorMessage(cause)}`;
    return { status, error: new SoftpackError('PERMISSION_DENIED', message, { field: name }) };
  }
  if (/^Region is missing/.test(errorMessage(cause))) {
    const details = { field: name, expected: 'AWS_REGION or the option region' };
    return { status, error: new SoftpackError('INVALID_ARGUMENT', 'no region for S3', details) };
  }
  if (kind === 'TimeoutError') {
    return { status, error: new TransientFailure(networkFailed(name, 'connection timed out')) };
  }
  const error = errorCode(cause) === undefined ? undefined : networkError(name, cause);
  const unknown = () => networkFailed(name, errorMessage(cause), { found: kind, cause });
  return { status, error: error === undefined || error === cause ? unknown() : error };
}
