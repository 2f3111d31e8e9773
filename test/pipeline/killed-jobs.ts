import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { openWritableStore } from '#src/container/writable-folder.js';
import { labelTexts } from '#src/interop/label-texts.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import type { JobKind } from '#src/pipeline/job/kind.js';
import { LABEL_JOBS } from '#src/pipeline/job/label-jobs.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { type JobStores, openJobStores } from '#src/pipeline/job/stores.js';
import type { S3Options } from '#src/store/s3.js';
import { planSynthesisJob, SYNTHESIS_JOBS } from '#src/synthesis/synthesis-jobs.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import { load, tokenJob, kinds as tokenKinds } from '../interop/tokens/token-job.js';
import { contentOf } from '../store/writable-contract.js';
import { distilling, treeOf, unpacked } from '../synthesis/distilling.js';
import { temporaryDirectory } from '../temporary.js';
import { type Files, filesIn, jobOptions, planned } from './job.js';

/** Jobs of each kind, and processes at them that are killed. */

/** A job that some process is to make as one machine does. */
export interface KilledJob {
  readonly kinds: readonly JobKind[];
  readonly shards: number;
  /** How names of shards begin, and the last file's; that before it, if there is one. */
  readonly names: { readonly shard: string; readonly last: string; readonly table?: string };
  /** Plans it, and trains its codec. */
  plan(stores: JobStores): Promise<JobStores>;
  /** Fails unless those are the bytes of one machine. */
  requireSame(files: Files): Promise<void>;
}

const ARCHIVE = { shard: 'codes-', last: 'manifest', table: 'shards' } as const;

async function labels(): Promise<KilledJob> {
  const temporary = await temporaryDirectory();
  const options = await jobOptions(temporary);
  const out = temporary.path('one machine');
  await cacheLabels({ ...options, out, passes: 1, workers: 1 });
  const wanted = await filesIn(out);
  return {
    ...{ kinds: LABEL_JOBS, shards: 9, names: ARCHIVE },
    plan: (stores) => planned(stores, options),
    requireSame: async (files) => expect(files).toEqual(wanted),
  };
}

async function synthesis(): Promise<KilledJob> {
  const temporary = await temporaryDirectory();
  const options = await distilling(temporary);
  const out = temporary.path('one machine');
  await synthesise({ ...options, out });
  const wanted = await treeOf(out);
  return {
    ...{ kinds: [SYNTHESIS_JOBS], shards: 5, names: { shard: 'images-', last: 'synthesis' } },
    async plan(stores) {
      await planSynthesisJob(stores, options);
      return stores;
    },
    async requireSame(files) {
      const { path } = await temporaryDirectory();
      expect(await unpacked(path('made'), files)).toEqual(wanted);
    },
  };
}

async function tokens(): Promise<KilledJob> {
  const temporary = await temporaryDirectory();
  const { options, planned: plan } = await tokenJob(temporary);
  const out = temporary.path('one machine');
  await labelTexts({ ...options, out }, load);
  const wanted = await filesIn(out);
  return {
    ...{ kinds: tokenKinds, shards: 3, names: ARCHIVE, plan },
    requireSame: async (files) => expect(files).toEqual(wanted),
  };
}

/** Each job with what one machine makes of it. */
export const KILLED_JOBS = { labels, synthesis, tokens } as const;
export type KilledKind = keyof typeof KILLED_JOBS;

/** A call of a store at which a process is killed, or how much of its share it has done. */
type Moment =
  | { readonly done: number }
  | {
      readonly store: 'archive' | 'job' | 'receipts';
      readonly call: 'put' | 'putIfAbsent';
      readonly when: 'before' | 'after';
      /** Of the file. */
      readonly begins: string;
      /** At which of these calls, from 0. */
      readonly time: number;
    };

export type MomentName =
  | 'within a shard'
  | 'before the shard'
  | "after the shard's PUT"
  | 'before the receipt'
  | 'before the table'
  | 'before the last file'
  | 'after the last file';

function momentOf(name: MomentName, { shard, last, table = '' }: KilledJob['names']): Moment {
  const put = { call: 'putIfAbsent', time: 0 } as const;
  switch (name) {
    case 'within a shard':
      return { done: 1 };
    case 'before the shard':
      return { ...put, store: 'job', when: 'before', begins: 's' };
    case "after the shard's PUT":
      return { ...put, store: 'archive', when: 'after', begins: shard };
    case 'before the receipt':
      return { ...put, store: 'receipts', when: 'before', begins: 's' };
    case 'before the table':
      return { ...put, store: 'archive', call: 'put', when: 'before', begins: table };
    case 'before the last file':
      return { ...put, store: 'archive', when: 'before', begins: last };
    case 'after the last file':
      return { ...put, store: 'archive', when: 'after', begins: last };
  }
}

const script = fileURLToPath(new URL('job-worker.mjs', import.meta.url));

/** Where a job lies. */
export interface JobPlace {
  readonly address: string;
  readonly s3?: S3Options;
}

/** What a process does: a share of the job, whatever a queue hands out, or the end of it. */
export interface Task {
  readonly share?: { readonly i: number; readonly of: number };
  readonly queue?: { readonly bull: string; readonly address: string; readonly lockMs: number };
}

export class JobProcesses {
  readonly #kind: KilledKind;
  readonly #names: KilledJob['names'];
  readonly #place: JobPlace;

  constructor(kind: KilledKind, { names }: KilledJob, place: JobPlace) {
    this.#kind = kind;
    this.#names = names;
    this.#place = place;
  }

  /** How a process ended: its signal or exit code. */
  async end(task: Task, name?: MomentName): Promise<string | number> {
    const moment = name && momentOf(name, this.#names);
    const set = { kind: this.#kind, ...this.#place, ...task, moment };
    // The AWS SDK warns of Node.js versions.
    const args = ['--no-warnings', script, JSON.stringify(set)];
    const child = spawn(process.execPath, args, { stdio: 'inherit' });
    const [code, signal] = await once(child, 'exit');
    return signal ?? code;
  }
}

/**
 * Makes a job by so many processes. Two of them are killed, at two moments, what takes the place of one of them at a third,
 * and those that finalize it too.
 */
export async function makeDespiteKills(
  kind: KilledKind,
  job: KilledJob,
  place: JobPlace,
  of: number,
): Promise<JobStores> {
  const { kinds, names, shards } = job;
  const stores = await job.plan(await openJobStores(place.address, { s3: place.s3 }));
  const processes = new JobProcesses(kind, job, place);
  const share = (i: number, name?: MomentName) => processes.end({ share: { i, of } }, name);
  const [first, second] = [0, Math.min(of, shards) - 1];
  const died = await Promise.all(
    Array.from({ length: of }, (_, i) => {
      if (i === first) return share(i, 'before the shard');
      return i === second ? share(i, "after the shard's PUT") : share(i);
    }),
  );
  expect(died).toEqual(died.map((_, i) => (i === first || i === second ? 'SIGKILL' : 0)));
  if (of === 1) expect(await share(0, "after the shard's PUT")).toBe('SIGKILL');
  expect(await share(second, 'before the receipt')).toBe('SIGKILL');
  expect((await jobStatus(stores, { kinds })).shards?.missing.length).toBeGreaterThan(1);
  // Synthesis tells of no progress within a shard of few images.
  if (kind !== 'synthesis') expect(await share(first, 'within a shard')).toBe('SIGKILL');
  for (const i of new Set([first, second])) expect(await share(i)).toBe(0);
  const made = await jobStatus(stores, { kinds });
  expect(made).toMatchObject({ shards: { done: shards, missing: [] }, finished: false });
  const ends = ['before the last file', 'after the last file'] as const;
  for (const name of names.table ? (['before the table', ...ends] as const) : ends) {
    expect((await jobStatus(stores, { kinds })).finished).toBe(false);
    expect(await processes.end({}, name)).toBe('SIGKILL');
  }
  return stores;
}

/** Finalizes a job once more and compares what it made with one machine's. */
export async function requireWhole(
  kind: KilledKind,
  job: KilledJob,
  place: JobPlace,
): Promise<void> {
  expect(await new JobProcesses(kind, job, place).end({})).toBe(0);
  await job.requireSame(await filesAt(place));
}

async function filesAt({ address, s3 }: JobPlace): Promise<Files> {
  const store = await openWritableStore(address, { s3 });
  const names = [...(await store.list())].sort();
  const read = async (name: string) => [name, await contentOf(store, name)] as const;
  return new Map(await Promise.all(names.map(read)));
}
