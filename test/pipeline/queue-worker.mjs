import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { queueServer } from '../../dist/pipeline/job/bull-queue.js';
import { bullRunner } from '../../dist/pipeline/job/bull-runner.js';

// A worker of a queue. Its shards are files of a folder: `log` says who was at which shard, and when.
const { bull, address, lockMs, folder, job, shards, ms, deadly } = JSON.parse(process.argv[2]);
const load = async (name) => createRequire(join(bull, 'package.json'))(name);
const log = (what, shard) =>
  appendFileSync(join(folder, 'log'), `${Date.now()} ${process.pid} ${what} ${shard}\n`);
const done = (shard) => join(folder, `done-${shard}`);
const work = {
  job,
  async missing() {
    return Array.from({ length: shards }, (_, shard) => shard).filter((i) => !existsSync(done(i)));
  },
  async make(shard, onLabels) {
    log('start', shard);
    if (shard === deadly) process.kill(process.pid, 'SIGKILL');
    onLabels?.(50);
    await setTimeout(ms);
    onLabels?.(100);
    writeFileSync(done(shard), '');
    log('end', shard);
  },
};
const runner = bullRunner(await queueServer(address, { lockMs, load }));
const setAside = await runner.run(work, { tries: 3 });
process.stdout.write(JSON.stringify(setAside));
