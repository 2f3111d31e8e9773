import { errorCode, errorMessage, throwIfAborted } from '../../errors.js';

/** The shards of a job as an engine sees them. All truth lies in the store: an engine may forget everything. */
export interface ShardWork {
  /** Hash of the job, hex: the name of its queue. */
  readonly job: string;
  /** Numbers of the shards without a receipt, ascending, from the store alone. */
  missing(): Promise<readonly number[]>;
  /** Makes a shard, unless it is there. May be called again, anywhere, at any time. */
  make(shard: number, onLabels?: (done: number) => void): Promise<void>;
}

export interface RunnerOptions {
  /** A shard that fails so often, or whose workers die so often, is set aside. */
  readonly tries: number;
  readonly signal?: AbortSignal;
}

/** A shard that no more is tried. */
export interface SetAside {
  readonly shard: number;
  readonly reason: string;
}

/** An engine that hands out shards: each at least once, to whoever is there. */
export interface ShardRunner {
  /**
   * Works until no shard is missing but those that were set aside.
   *
   * @throws What is wrong with this machine, its way to the store or the queue rather than with a shard.
   */
  run(work: ShardWork, options: RunnerOptions): Promise<readonly SetAside[]>;
}

/** Failures that lie in the labels of a shard: damaged images, or what the teacher makes of them. */
const OF_SHARDS = ['CORRUPT_DATA', 'INVALID_FILE', 'NON_FINITE', 'WORKER_FAILED', 'NATIVE_FAILED'];
/** A worker at which so many shards failed, and none succeeded, is what fails. */
const MOST_AT_FIRST = 3;

/** Tells shards that fail from workers that do. */
export class Failures {
  #made = false;
  readonly #failed = new Set<number>();

  succeeded(): void {
    this.#made = true;
  }

  /** Whether a failure lies in the shard; otherwise this worker should end with it. */
  isOf(shard: number, error: unknown): boolean {
    this.#failed.add(shard);
    if (!this.#made && this.#failed.size >= MOST_AT_FIRST) return false;
    return OF_SHARDS.includes(errorCode(error) ?? '');
  }
}

/** One shard after the other, in this process; those that fail are tried again after the others. */
export const localRunner: ShardRunner = {
  async run(work, { tries, signal }) {
    const failures = new Failures();
    const setAside: SetAside[] = [];
    let waiting = await work.missing();
    for (let tried = 1; waiting.length > 0; tried++) {
      const again: number[] = [];
      for (const shard of waiting) {
        throwIfAborted(signal);
        try {
          await work.make(shard);
          failures.succeeded();
        } catch (error) {
          if (!failures.isOf(shard, error)) throw error;
          if (tried < tries) again.push(shard);
          else setAside.push({ shard, reason: errorMessage(error) });
        }
      }
      waiting = again;
    }
    return setAside.sort((a, b) => a.shard - b.shard);
  },
};
