import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { queueServer, queueState } from '#src/pipeline/job/bull-queue.js';
import { bullRunner } from '#src/pipeline/job/bull-runner.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { temporaryDirectory } from '../temporary.js';
import { JobProcesses, KILLED_JOBS, type MomentName, requireWhole } from './killed-jobs.js';
import { installBull, type QueueTestServer, startPostgres, startRedis } from './queue-servers.js';
import { FakeWork, RUNNER_CONTRACT } from './runner-contract.js';

const directory = await temporaryDirectory();
const script = fileURLToPath(new URL('queue-worker.mjs', import.meta.url));
const LOCK_MS = 1_500;

let bull = '';
let missing: string | undefined;
try {
  bull = installBull();
} catch (error) {
  missing = `bullmq cannot be installed here: ${error}`;
}
const load = async (name: string) => createRequire(join(bull, 'package.json'))(name);

const SERVERS = { redis: startRedis, postgres: startPostgres };
describe.each(Object.keys(SERVERS) as (keyof typeof SERVERS)[])('a queue of %s', (kind) => {
  let server: QueueTestServer | undefined;
  let absent = missing;
  beforeAll(async () => {
    if (absent !== undefined) return;
    try {
      server = await SERVERS[kind]();
    } catch (error) {
      absent = String(error);
    }
  });
  const children = new Set<ChildProcess>();
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await server?.stop();
  });

  const reach = () => queueServer(server?.address ?? '', { lockMs: LOCK_MS, load });

  /** A job whose workers are processes; `log` is what they did. */
  function factory(job: string, shards: number, ms: number) {
    const folder = directory.path(`${kind} ${job}`);
    mkdirSync(folder);
    return {
      start(deadly?: number): ChildProcess {
        const address = server?.address;
        const set = { bull, address, lockMs: LOCK_MS, folder, job, shards, ms, deadly };
        const child = spawn(process.execPath, [script, JSON.stringify(set)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        children.add(child);
        return child;
      },
      log: () =>
        existsSync(join(folder, 'log'))
          ? readFileSync(join(folder, 'log'), 'utf8')
              .trimEnd()
              .split('\n')
              .map((line) => {
                const [time, pid, what, shard] = line.split(' ');
                return { time: Number(time), pid: Number(pid), what, shard: Number(shard) };
              })
          : [],
      done: () => readdirSync(folder).filter((name) => name.startsWith('done-')).length,
    };
  }

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await setTimeout(20);
  }

  /** What a worker tells at its end: the shards that were set aside. */
  async function endOf(child: ChildProcess): Promise<unknown> {
    let out = '';
    child.stdout?.on('data', (piece: Buffer) => {
      out += piece;
    });
    await once(child, 'close');
    return child.signalCode ?? JSON.parse(out);
  }

  for (const [what, hold] of Object.entries(RUNNER_CONTRACT)) {
    it(what, async ({ skip }) => {
      if (absent !== undefined) skip(absent);
      await hold(bullRunner(await reach()), Buffer.from(what).toString('hex').slice(0, 32));
    });
  }

  it('gives the shard of a worker that died to another within two lock times', async ({ skip }) => {
    if (absent !== undefined) skip(absent);
    const { start, log, done } = factory('redelivery', 30, 150);
    const [victim, other, third] = [start(), start(), start()];
    const ended = [endOf(other), endOf(third)];
    await until(() => log().filter(({ pid }) => pid === victim.pid).length > 2);
    const [last] = log()
      .filter(({ pid, what }) => pid === victim.pid && what === 'start')
      .slice(-1);
    victim.kill('SIGKILL');
    const killed = Date.now();
    // Another comes meanwhile.
    const late = endOf(start());
    expect(await Promise.all([...ended, late])).toEqual([[], [], []]);
    expect(done()).toBe(30);
    const again = log().find(
      ({ pid, what, shard }) => pid !== victim.pid && what === 'start' && shard === last.shard,
    );
    // Unless it ended that shard just before it was killed.
    const whole = log().some(({ pid, what, shard }) => {
      return pid === victim.pid && what === 'end' && shard === last.shard;
    });
    if (!whole) expect((again?.time ?? Number.NaN) - killed).toBeLessThan(2 * LOCK_MS);
    const ends = log().filter(({ what }) => what === 'end');
    expect(ends.length).toBeLessThan(33);
  });

  // What follows costs seconds, and is the same code for any server.
  if (kind !== 'redis') return;

  it.for(['labels', 'synthesis', 'tokens'] as const)(
    'makes %s to the bytes of one machine, by processes of which two are killed',
    { timeout: 120_000 },
    async (of, { skip }) => {
      if (absent !== undefined || server === undefined) return skip(absent);
      const job = await KILLED_JOBS[of]();
      const place = {
        address: directory.path(`${kind} ${of}`),
      };
      const stores = await job.plan(await openJobStores(place.address));
      const processes = new JobProcesses(of, job, place);
      const queue = { bull, address: server.address, lockMs: LOCK_MS };
      const ends = (moments: readonly (MomentName | undefined)[]) =>
        Promise.all(moments.map((moment) => processes.end({ queue }, moment)));
      // Each at its first shard, of at least three.
      const died = await ends(["after the shard's PUT", 'before the shard']);
      expect(died).toEqual(['SIGKILL', 'SIGKILL']);
      expect(await ends([undefined, undefined])).toEqual([0, 0]);
      expect((await jobStatus(stores, job)).shards?.missing).toEqual([]);
      await requireWhole(of, job, place);
    },
  );

  it('sets a shard aside that kills its workers', async ({ skip }) => {
    if (absent !== undefined) skip(absent);
    const { start, log, done } = factory('deadly', 6, 10);
    let ended: unknown = 'SIGKILL';
    for (let i = 0; i < 5 && ended === 'SIGKILL'; i++) ended = await endOf(start(4));
    expect(ended).toMatchObject([{ shard: 4 }]);
    expect(done()).toBe(5);
    expect(log().filter(({ shard }) => shard === 4).length).toBe(3);
  });

  it('tells anybody who asks how fast its workers are', async ({ skip }) => {
    if (absent !== undefined) skip(absent);
    const { start, log } = factory('state', 9, 700);
    const ended = [endOf(start()), endOf(start())];
    await until(() => log().filter(({ what }) => what === 'start').length > 4);
    const state = await queueState(await reach(), 'state');
    expect(state.waiting).toBeLessThan(9);
    expect(state.active).toBe(2);
    expect(state.setAside).toEqual([]);
    // Each makes 100 labels in .7 s.
    expect(state.labelsPerSecond).toBeGreaterThan(10);
    expect(state.labelsPerSecond).toBeLessThan(2 * (100 / 0.7) + 1);
    await Promise.all(ended);
  });

  it('fills a queue that was emptied from the store', async ({ skip }) => {
    if (absent !== undefined) skip(absent);
    const { start, log, done } = factory('emptied', 20, 200);
    const ended = [endOf(start()), endOf(start())];
    await until(() => log().filter(({ what }) => what === 'end').length > 5);
    await server?.restart?.();
    expect(await Promise.all(ended)).toEqual([[], []]);
    expect(done()).toBe(20);
  });
});

it('says that no server is there', async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  const server = await queueServer('redis://user:secret@127.0.0.1:1', { load });
  const run = bullRunner(server).run(new FakeWork('none', 1), { tries: 1 });
  await expect(run).rejects.toMatchObject({ code: 'NETWORK_FAILED', field: 'redis://127.0.0.1:1' });
});
