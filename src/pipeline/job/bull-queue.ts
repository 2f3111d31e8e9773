import { setTimeout } from 'node:timers/promises';
import { argument } from '../../core/check.js';
import { optionalPackage } from '../../core/optional-package.js';
import { errorMessage, SoftpackError } from '../../errors.js';
import { schemeOf, shownAddress } from '../../store/address.js';
import type { SetAside } from './runner.js';

/** What is used of the package `bullmq`. */
export interface BullSdk {
  readonly Queue: new (name: string, options: object, backend?: unknown) => BullQueue;
  readonly Worker: new (
    name: string,
    process: (job: BullJob, token?: string) => Promise<void>,
    options: object,
    backend?: unknown,
  ) => BullWorker;
  readonly WaitingError: new () => Error;
  readonly createPostgresBackend?: unknown;
}

export interface BullJob {
  readonly name: string;
  readonly data: { readonly shard?: number };
  readonly failedReason?: string;
  readonly progress: unknown;
  updateProgress(progress: object): Promise<void>;
  moveToWait(token?: string): Promise<unknown>;
}

interface Emitter {
  on(event: 'error', listener: (error: Error) => void): unknown;
  close(force?: boolean): Promise<void>;
}

export interface BullQueue extends Emitter {
  waitUntilReady(): Promise<unknown>;
  add(name: string, data: object, options: object): Promise<unknown>;
  addBulk(jobs: readonly object[]): Promise<unknown>;
  getJobCounts(...types: readonly string[]): Promise<Readonly<Record<string, number>>>;
  getActive(): Promise<readonly BullJob[]>;
  getFailed(): Promise<readonly BullJob[]>;
  clean(graceMs: number, limit: number, type: 'failed'): Promise<unknown>;
}

export type BullWorker = Emitter;

export interface QueueOptions {
  /** A shard whose worker gives no sign of life for so long is given to another one, at most as long again later. */
  readonly lockMs?: number;
  /** Loads `bullmq`, or the driver of a server. */
  readonly load?: (name: string) => Promise<unknown>;
}

/** Where a job's queue is kept, and the package that speaks to it. */
export interface QueueServer {
  readonly address: string;
  readonly lockMs: number;
  readonly sdk: BullSdk;
  readonly connection: object;
  readonly backend: unknown;
}

const DRIVERS: ReadonlyMap<string, string> = new Map([
  ['redis', 'ioredis'],
  ['rediss', 'ioredis'],
  ['postgres', 'pg'],
  ['postgresql', 'pg'],
]);

/**
 * @param address `redis://`, `rediss://` (Redis or Valkey) or `postgres://`.
 * @throws `TOOL_MISSING` saying what to type if `bullmq` or the server's driver is not installed.
 */
export async function queueServer(
  address: string,
  { lockMs = 30_000, load }: QueueOptions = {},
): Promise<QueueServer> {
  argument.count(lockMs, 'lockMs', 100, 86_400_000);
  const scheme = schemeOf(address) ?? '';
  const driver = DRIVERS.get(scheme);
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (driver === undefined || url === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not the address of a queue', {
      ...{ field: 'queue', expected: 'redis://host:6379 or postgres://host/database' },
      // There may be a password in what is no address.
      found: url && shownAddress(url),
    });
  }
  const loading = (name: string) => load && (() => load(name));
  const found = await optionalPackage('bullmq', 'queues of shards', loading('bullmq'));
  await optionalPackage(driver, `queues at ${scheme}://`, loading(driver));
  const sdk = found as BullSdk;
  const own = { address: shownAddress(url), lockMs, sdk };
  if (driver === 'ioredis') return { ...own, connection: { url: address }, backend: undefined };
  const connection = { connectionString: address, migrate: true };
  return { ...own, connection, backend: sdk.createPostgresBackend };
}

export function queueName(job: string): string {
  return `softpack-${job.slice(0, 32)}`;
}

/** A server that has not answered by then is not there. */
const CONNECT_MS = 20_000;

/** @throws `NETWORK_FAILED` if the server cannot be reached, or does not let this machine in. */
export async function openQueue(server: QueueServer, job: string): Promise<BullQueue> {
  const { sdk, connection, backend, address } = server;
  const queue = new sdk.Queue(queueName(job), { connection }, backend);
  const ended = new AbortController();
  const failed = new Promise<never>((_, reject) => queue.on('error', reject));
  failed.catch(() => undefined);
  const late = setTimeout(CONNECT_MS, undefined, { signal: ended.signal }).then(() => {
    throw new Error('no answer');
  });
  late.catch(() => undefined);
  try {
    await Promise.race([queue.waitUntilReady(), failed, late]);
    await Promise.race([queue.getJobCounts('wait'), failed, late]);
    return queue;
  } catch (cause) {
    queue.close().catch(() => undefined);
    const message = `no queue there: ${errorMessage(cause)}`;
    throw new SoftpackError('NETWORK_FAILED', message, { field: address, cause });
  } finally {
    ended.abort();
  }
}

/** Closing waits for answers of a server that may be gone. */
export async function closeWithin(open: BullQueue | BullWorker, ms: number): Promise<void> {
  const ended = new AbortController();
  const late = setTimeout(ms, undefined, { signal: ended.signal }).catch(() => undefined);
  await Promise.race([open.close().catch(() => undefined), late]);
  ended.abort();
}

export function noAnswer({ address }: QueueServer, cause: unknown): SoftpackError {
  const message = `the queue does not answer: ${errorMessage(cause)}`;
  return new SoftpackError('NETWORK_FAILED', message, { field: address, cause });
}

/** Shards that are set aside, ascending. */
export async function setAsideIn(queue: BullQueue): Promise<readonly SetAside[]> {
  const found = (await queue.getFailed()).flatMap(({ data: { shard }, failedReason }) =>
    shard === undefined ? [] : [{ shard, reason: failedReason ?? 'unknown' }],
  );
  return found.sort((a, b) => a.shard - b.shard);
}

/** What a worker tells of the shard that it is at. */
export interface ShardProgress {
  /** Labels done of this shard. */
  readonly labels: number;
  /** Of this worker, over all its shards. */
  readonly labelsPerSecond: number;
}

/** A queue as anybody sees it who asks. */
export interface QueueState {
  readonly waiting: number;
  /** Shards that workers are at, or were until they died less than a lock time ago. */
  readonly active: number;
  readonly setAside: readonly SetAside[];
  /** Labels done of shards that workers are at. */
  readonly labels: number;
  readonly labelsPerSecond: number;
}

export async function queueState(server: QueueServer, job: string): Promise<QueueState> {
  const queue = await openQueue(server, job);
  try {
    const { wait = 0, delayed = 0 } = await queue.getJobCounts('wait', 'delayed');
    const active = await queue.getActive();
    const told = active.map(({ progress }) => asProgress(progress));
    return {
      ...{ waiting: wait + delayed, active: active.length, setAside: await setAsideIn(queue) },
      labels: told.reduce((sum, { labels }) => sum + labels, 0),
      labelsPerSecond: told.reduce((sum, { labelsPerSecond }) => sum + labelsPerSecond, 0),
    };
  } catch (cause) {
    throw noAnswer(server, cause);
  } finally {
    await closeWithin(queue, CONNECT_MS);
  }
}

function asProgress(progress: unknown): ShardProgress {
  const { labels, labelsPerSecond } = Object(progress) as Readonly<Record<string, unknown>>;
  const number = (value: unknown) => (typeof value === 'number' && value >= 0 ? value : 0);
  return { labels: number(labels), labelsPerSecond: number(labelsPerSecond) };
}
