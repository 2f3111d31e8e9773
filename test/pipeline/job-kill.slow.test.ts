import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { temporaryDirectory } from '../temporary.js';
import { filesIn, jobOptions, planned, SHARDS } from './job.js';

const temporary = await temporaryDirectory();
const options = await jobOptions(temporary);
const script = fileURLToPath(new URL('job-worker.mjs', import.meta.url));
const out = temporary.path('one machine');
await cacheLabels({ ...options, out, passes: 1, workers: 1 });
const wanted = await filesIn(out);

/** A call of a store at which a process is killed. */
interface Moment {
  readonly store: 'archive' | 'job' | 'receipts';
  readonly call: 'put' | 'putIfAbsent';
  readonly when: 'before' | 'after';
  /** Of the file. */
  readonly begins: string;
  /** At which of these calls, from 0. */
  readonly time: number;
}

const MOMENTS = {
  'after scratch': { store: 'job', call: 'putIfAbsent', when: 'before', begins: 's', time: 0 },
  "after the shard's PUT": {
    ...{ store: 'archive', call: 'putIfAbsent', when: 'after', begins: 'codes-', time: 0 },
  },
  'before the receipt': {
    ...{ store: 'receipts', call: 'putIfAbsent', when: 'before', begins: 's', time: 0 },
  },
  'before the shard table': {
    ...{ store: 'archive', call: 'put', when: 'before', begins: 'shards', time: 0 },
  },
  'before the manifest': {
    ...{ store: 'archive', call: 'putIfAbsent', when: 'before', begins: 'manifest', time: 0 },
  },
  'after the manifest': {
    ...{ store: 'archive', call: 'putIfAbsent', when: 'after', begins: 'manifest', time: 0 },
  },
} as const satisfies Readonly<Record<string, Moment>>;

/** How a process ended: its signal or exit code. */
async function ended(set: object): Promise<string | number | null> {
  const child = spawn(process.execPath, [script, JSON.stringify(set)], { stdio: 'inherit' });
  const [code, signal] = await once(child, 'exit');
  return (signal as string | null) ?? (code as number | null);
}

test.each([1, 2, 7])(
  '%i processes, killed -9 at each moment, make the bytes of one machine',
  async (of) => {
    const folder = temporary.path(`killed ${of}`);
    const scratch = temporary.path(`scratch ${of}`);
    const stores = await planned(await openJobStores(folder), options);
    const share = (i: number, name?: keyof typeof MOMENTS) =>
      ended({ folder, scratch, share: { i, of }, moment: name && MOMENTS[name] });
    const shares = Array.from({ length: of }, (_, i) => i);
    // Two of them are killed, at two moments, and what takes their place at a third one.
    const [first, second] = [0, of - 1];
    const died = await Promise.all(
      shares.map((i) => {
        if (i === first) return share(i, 'after scratch');
        return i === second ? share(i, "after the shard's PUT") : share(i);
      }),
    );
    const killed = shares.map((i) => (i === first || i === second ? 'SIGKILL' : 0));
    expect(died).toEqual(killed);
    if (of === 1) expect(await share(0, "after the shard's PUT")).toBe('SIGKILL');
    expect(await share(second, 'before the receipt')).toBe('SIGKILL');
    expect((await jobStatus(stores)).shards?.missing.length).toBeGreaterThan(1);
    for (const i of new Set([first, second])) expect(await share(i)).toBe(0);
    // Nor of what killed processes had begun.
    expect(readdirSync(scratch)).toEqual([]);
    expect(await jobStatus(stores)).toMatchObject({ shards: { done: SHARDS }, finished: false });
    for (const name of ['before the shard table', 'before the manifest'] as const) {
      expect(await ended({ folder, moment: MOMENTS[name] })).toBe('SIGKILL');
      expect(existsSync(`${folder}/manifest.json`)).toBe(false);
    }
    // As those leave who are killed within a call.
    const torn = '.tmp-0123456789abcdef';
    const [receipt] = readdirSync(`${folder}/job/receipts`);
    for (const name of [
      `job/receipts/${receipt}${torn}`,
      `job/${receipt}${torn}`,
      'job/probe-ab',
    ]) {
      writeFileSync(`${folder}/${name}`, '');
    }
    expect(await ended({ folder, moment: MOMENTS['after the manifest'] })).toBe('SIGKILL');
    expect(await ended({ folder })).toBe(0);
    expect(await filesIn(folder)).toEqual(wanted);
    // Nothing is left but the job, its codec and what was measured.
    const left = [folder, `${folder}/job`, `${folder}/job/receipts`].flatMap((at) =>
      readdirSync(at),
    );
    expect(left.filter((name) => name.includes('.tmp-') || name.startsWith('probe-'))).toEqual([]);
  },
  300_000,
);
