import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { trainJobCodec } from '#src/pipeline/job/codec.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { runJob } from '#src/pipeline/job/run.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { type JobStores, openJobStores } from '#src/pipeline/job/stores.js';
import {
  planSynthesisJob,
  SYNTHESIS_JOBS,
  type SynthesisJobOptions,
} from '#src/synthesis/synthesis-jobs.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import { softpack } from '../cli/softpack.js';
import { forge, writeForged } from '../pipeline/forged-job.js';
import { dies, dying, type Files, filesIn, filesOfBucket, inBucket } from '../pipeline/job.js';
import { MemoryBucket } from '../store/memory-s3.js';
import { temporaryDirectory } from '../temporary.js';
import { description, FOLDERS, teacher } from './classes.js';
import { distilling, type Tree, treeOf, unpacked } from './distilling.js';

const temporary = await temporaryDirectory();
const options = await distilling(temporary);
const images = temporary.path('images');
const kinds = [SYNTHESIS_JOBS];
const SHARDS = 5;
/** What the system's tar makes of a job's files. */
const unpackedOf = (name: string, files: Files) =>
  unpacked(temporary.path(`${name} unpacked`), files);
const filesOf = (name: string) => filesIn(temporary.path(name));

const plan = async (name: string, change: Partial<SynthesisJobOptions> = {}) => {
  const stores = await openJobStores(temporary.path(name));
  await planSynthesisJob(stores, { ...options, ...change });
  return stores;
};

let wanted: Tree;
beforeAll(async () => {
  const out = temporary.path('one machine');
  await synthesise({ ...options, out });
  wanted = await treeOf(out);
  // Two images and a record each, and the summary.
  expect(wanted.size).toBe(3 * SHARDS + 1);
});

describe("a job's images have the bytes of one machine's", () => {
  test.each([1, 2, 7])('made in %i parts', async (of) => {
    const name = `parts ${of}`;
    const stores = await plan(name);
    expect(await trainJobCodec(stores, { kinds })).toBe(false);
    expect(await jobStatus(stores, { kinds })).toMatchObject({
      ...{ kind: 'synthesis', unit: 'images', total: 10, done: 0, finished: false },
      shards: { total: SHARDS, done: 0 },
    });
    const made: number[] = [];
    for (let i = of - 1; i >= 0; i--) {
      made.push((await runJob(stores, { kinds, share: { i, of } })).made);
    }
    expect(made.reduce((sum, count) => sum + count, 0)).toBe(SHARDS);
    const { facts } = await finalizeJob(stores, { kinds, verify: true });
    expect(facts).toMatchObject({ images: 10, classes: 5, jobs: SHARDS, jobsDone: SHARDS });
    expect(await unpackedOf(name, await filesOf(name))).toEqual(wanted);
    // Each step again finds nothing to do.
    await plan(name);
    expect(await runJob(stores, { kinds })).toMatchObject({ skipped: SHARDS, made: 0 });
    await finalizeJob(stores, { kinds });
    expect(await jobStatus(stores, { kinds })).toMatchObject({ finished: true, done: 10 });
  });

  test('made in a bucket by workers that die at any change of it', async () => {
    const bucket = new MemoryBucket();
    const stores = await inBucket(bucket);
    await planSynthesisJob(stores, options);
    let kills = 0;
    for (; ; kills++) {
      const when = kills % 2 === 0 ? 'before' : 'after';
      if (!(await dies(dying(stores, kills % 6, when), { kinds }))) break;
    }
    expect(kills).toBeGreaterThan(5);
    expect(await unpackedOf('bucket', filesOfBucket(bucket))).toEqual(wanted);
  });

  test('with long and foreign names of classes, as JPEG', async () => {
    const long = temporary.path('long');
    const names = ['a'.repeat(60), 'ä'.repeat(59), '猫'.repeat(58), '猫🐈', '馬'];
    for (const [i, name] of names.entries()) {
      await mkdir(join(long, name), { recursive: true });
      for (const file of await readdir(join(images, FOLDERS[i]))) {
        await writeFile(join(long, name, file), await readFile(join(images, FOLDERS[i], file)));
      }
    }
    const change = { images: long, format: { jpeg: 75 } } as const;
    const stores = await plan('names', change);
    await runJob(stores, { kinds });
    await finalizeJob(stores, { kinds });
    const out = temporary.path('names on one machine');
    await synthesise({ ...options, ...change, out });
    const made = await unpackedOf('names', await filesOf('names'));
    expect(made).toEqual(await treeOf(out));
    expect([...made.keys()]).toContain(`${names[2]}/class00002_id00000.jpg`);
  });
});

describe('is refused', () => {
  const run = (stores: JobStores, change = {}) => runJob(stores, { kinds, ...change });

  test('another job in the same place, or something else there', async () => {
    await plan('foreign');
    const other = plan('foreign', { seed: 1 });
    await expect(other).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(other).rejects.toThrow('request.seed');
    await expect(plan('images')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(plan('images/ant/job')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(plan('few', { ipc: 9 })).rejects.toThrow('too few in 5 classes');
    await expect(plan('lr', { lr: 0.1 })).rejects.toMatchObject({ field: 'lr' });
    expect(await readdir(temporary.path(''))).not.toContain('few');
  });

  test('work by a machine with other images, or as another kind', async () => {
    const stores = await plan('elsewhere');
    const moved = temporary.path('moved');
    execFileSync('cp', ['-r', images, moved]);
    expect(await run(stores, { images: moved, share: { i: 0, of: 5 } })).toMatchObject({ made: 1 });
    await writeFile(join(moved, 'ant', '0.png'), await readFile(join(moved, 'ant', '1.png')));
    const other = run(stores, { images: moved });
    await expect(other).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(other).rejects.toThrow('request.images');
    await expect(run(stores, { workers: 2 })).rejects.toMatchObject({ field: 'workers' });
    await expect(run(stores, { statistics: 'x' })).rejects.toMatchObject({ field: 'statistics' });
    await expect(runJob(stores)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(finalizeJob(stores, { kinds })).rejects.toMatchObject({ found: 'without 1-4' });
  });

  test('a job that was forged with the right hash', async () => {
    const stores = await plan('forged');
    await run(stores);
    const file = temporary.path('forged/job/job.json');
    await forge(file, () => jobStatus(stores, { kinds }));
    await forge(file, () => run(stores));
  });

  test.each([
    ['format', null],
    ['format', { jpeg: 1000 }],
    ['classes', -1],
    ['classes', [0]],
    ['description', null],
    ['images', []],
    ['split', -1],
  ] as const)(
    'a job whose options were forged to %s %j, when it is worked at',
    async (name, put) => {
      const stores = await plan(`forged ${name} ${JSON.stringify(put)}`);
      const file = join(stores.address, 'job', 'job.json');
      const job = JSON.parse(await readFile(file, 'utf8'));
      // Machines compare what they find with this.
      if (name in job.content.request) job.content.request[name] = put;
      await writeForged(file, { ...job, options: { ...job.options, [name]: put } });
      await expect(run(stores)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        field: expect.stringContaining(name),
      });
    },
  );

  test('a shard that was changed, which the next run makes again', async () => {
    const stores = await plan('changed');
    await run(stores);
    const [first, second] = [0, 1].map((i) => temporary.path(`changed/images-0000${i}.tar`));
    const bytes = await readFile(first);
    bytes[600] ^= 1;
    await writeFile(first, bytes);
    await expect(finalizeJob(stores, { kinds })).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
    await rm(second);
    const verified = finalizeJob(stores, { kinds, verify: true });
    await expect(verified).rejects.toMatchObject({ found: 'without 0-1' });
    expect(await run(stores)).toMatchObject({ made: 2 });
    await finalizeJob(stores, { kinds, verify: true });
    expect(await unpackedOf('changed', await filesOf('changed'))).toEqual(wanted);
  });
});

test('the commands make the same', async () => {
  const file = await temporary.file('teacher.json', JSON.stringify(description));
  const job = temporary.path('command');
  const made = [
    '--teacher',
    teacher,
    '--description',
    file,
    '-i',
    images,
    '-b',
    '20',
    '--ipc',
    '2',
  ];
  const all = await softpack(['synthesise', ...made, '--job', job]);
  expect(all.code, all.err).toBe(0);
  expect(all.out).toContain('10 images of 5 classes in 5 shards');
  const script = await softpack(['synthesise', ...made, '--job', job, '--for', 'slurm']);
  expect(script.out).toContain('softpack cache run');
  expect((await softpack(['cache', 'codec', job])).out).toContain('nothing to train: 5 shards');
  expect(await softpack(['cache', 'missing', job])).toMatchObject({ code: 1, out: '0-4\n' });
  expect((await softpack(['cache', 'run', job, '--shard', '1/2'])).out).toContain('2 shards made');
  expect((await softpack(['cache', 'status', job])).out).toContain('4 of 10 images');
  expect(await softpack(['cache', 'finalize', job])).toMatchObject({ code: 1 });
  expect((await softpack(['cache', 'run', job])).code).toBe(0);
  const { out } = await softpack(['cache', 'finalize', job]);
  expect(out).toMatch(/5 shards.*10 images of 5 classes.*% of them/);
  expect(await unpackedOf('command', await filesOf('command'))).toEqual(wanted);
  const both = await softpack(['synthesise', ...made, '--job', job, '--shard', '0/2']);
  expect(both.code).toBe(2);
  expect((await softpack(['synthesise', ...made])).err).toContain('--out');
});
