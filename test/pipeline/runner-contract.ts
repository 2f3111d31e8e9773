import { expect } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import type { SetAside, ShardRunner, ShardWork } from '#src/pipeline/job/runner.js';

/** Shards that take no work: what is done of them, and in which order they were tried. */
export class FakeWork implements ShardWork {
  readonly job: string;
  readonly tried: number[] = [];
  readonly #done = new Set<number>();
  readonly #shards: number;
  /** What a try of a shard throws. */
  fails: (shard: number) => Error | undefined = () => undefined;
  /** What a try of a shard waits for. */
  waits: (shard: number) => Promise<void> = async () => undefined;

  constructor(job: string, shards: number) {
    this.job = job;
    this.#shards = shards;
  }

  async missing(): Promise<readonly number[]> {
    return Array.from({ length: this.#shards }, (_, shard) => shard).filter(
      (shard) => !this.#done.has(shard),
    );
  }

  async make(shard: number, onLabels?: (done: number) => void): Promise<void> {
    this.tried.push(shard);
    onLabels?.(1);
    await this.waits(shard);
    const error = this.fails(shard);
    if (error !== undefined) throw error;
    this.#done.add(shard);
  }

  times(shard: number): number {
    return this.tried.filter((one) => one === shard).length;
  }
}

const damaged = (shard: number) => new SoftpackError('CORRUPT_DATA', `image of ${shard} damaged`);

async function all(runner: ShardRunner, work: ShardWork): Promise<readonly SetAside[]> {
  return runner.run(work, { tries: 3 });
}

/** What any runner must do; each is held to it by its own test, in a queue of its own. */
export const RUNNER_CONTRACT: Readonly<
  Record<string, (runner: ShardRunner, job: string) => Promise<void>>
> = {
  async 'makes each shard that is missing, and none that is there'(runner, job) {
    const work = new FakeWork(job, 12);
    await work.make(5);
    expect(await all(runner, work)).toEqual([]);
    expect(await work.missing()).toEqual([]);
    expect(work.tried.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(await all(runner, work)).toEqual([]);
    expect(work.tried.length).toBe(12);
  },

  async 'sets a shard aside after three tries, names it, and makes the others'(runner, job) {
    const work = new FakeWork(job, 8);
    work.fails = (shard) => (shard === 3 ? damaged(shard) : undefined);
    expect(await all(runner, work)).toEqual([{ shard: 3, reason: 'image of 3 damaged' }]);
    expect(work.times(3)).toBe(3);
    expect(await work.missing()).toEqual([3]);
  },

  async 'makes a shard that fails once at its second try'(runner, job) {
    const work = new FakeWork(job, 4);
    work.fails = (shard) => (work.times(shard) === 1 && shard === 2 ? damaged(shard) : undefined);
    expect(await all(runner, work)).toEqual([]);
    expect(work.times(2)).toBe(2);
  },

  async 'ends at a failure of the machine, and blames no shard for it'(runner, job) {
    const work = new FakeWork(job, 6);
    work.fails = () => new SoftpackError('NO_SPACE', 'disk is full');
    await expect(all(runner, work)).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect(work.tried.length).toBe(1);
    work.fails = () => undefined;
    expect(await all(runner, work)).toEqual([]);
    expect(await work.missing()).toEqual([]);
  },

  async 'ends where every shard fails, and leaves them to others'(runner, job) {
    const work = new FakeWork(job, 6);
    work.fails = damaged;
    await expect(all(runner, work)).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
    expect(new Set(work.tried).size).toBe(3);
    work.fails = () => undefined;
    expect(await all(runner, work)).toEqual([]);
    expect(await work.missing()).toEqual([]);
  },

  async 'stops where it is told, and the next run makes the rest'(runner, job) {
    const work = new FakeWork(job, 6);
    const controller = new AbortController();
    const { signal } = controller;
    work.waits = async () => {
      if (work.tried.length < 3) return;
      controller.abort();
      throw new SoftpackError('ABORTED', 'aborted');
    };
    const run = runner.run(work, { tries: 3, signal });
    await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
    expect(work.tried.length).toBe(3);
    work.waits = async () => undefined;
    expect(await all(runner, work)).toEqual([]);
    expect(await work.missing()).toEqual([]);
  },
};
