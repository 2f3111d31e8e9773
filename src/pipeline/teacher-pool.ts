import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import type { Piscina } from 'piscina';
import type { AugmentationSpec } from '../augment/spec.js';
import { moduleFile } from '../core/package-files.js';
import { newPool, PoolTasks } from '../core/pool-tasks.js';
import {
  type ErrorData,
  errorFromData,
  errorMessage,
  SoftpackError,
  throwIfAborted,
} from '../errors.js';
import { namingAllDamaged } from '../images/damaged.js';
import type { MemoryImages } from '../images/memory.js';
import { describeImages, type ImageSource, type ImagesDescription } from '../images/source.js';
import type { BackendName } from '../nn/backend/name.js';
import type { TeacherDescription } from '../nn/teachers/description.js';
import type {
  LabelledViews,
  LabelTask,
  LabelWorkerPrepared,
  LabelWorkerSetup,
} from './label-worker.js';

/** Labels that a pool made. */
export interface LabelsMade {
  readonly labels: number;
  /** Share of the views, among those that mostly show one known class, to which the teacher assigns that class. */
  readonly agreement?: number;
}

/** A teacher and the views that it is shown. */
export interface TeacherPoolOptions {
  /** A teacher's file or folder, as `loadTeacher` reads it. */
  readonly teacher: string;
  /** TensorFlow.js backend of the teacher. */
  readonly backend: 'auto' | BackendName;
  readonly description?: TeacherDescription;
  readonly images: ImageSource | MemoryImages;
  /** [samples]: the teacher's class of each image, to compare its labels with. */
  readonly targets?: Uint32Array;
  readonly augmentation: AugmentationSpec;
  readonly classes: number;
  /** Number of teacher threads; default: one per CPU. */
  readonly workers?: number;
  /** Images in one forward pass; by default as many as have half a million pixels together, 8 to 128. */
  readonly batch?: number;
}

/** Decoded images kept by all threads together, bytes. */
const IMAGE_BYTES = 2 ** 30;
/** Enough pixels to fill the kernels, few enough to stay small in memory. */
const BATCH_PIXELS = 2 ** 19;

/** Image files decoded at a time to find the damaged ones. */
const CONCURRENCY = 4;

/** Threads that each have a teacher. */
export class TeacherPool implements AsyncDisposable {
  readonly #pool: Piscina;
  readonly #workers: number;
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  readonly #tasks: PoolTasks;
  readonly #images: ImagesDescription;
  /** Images in one forward pass. */
  readonly batch: number;
  #labels = 0;
  #known = 0;
  #agreeing = 0;
  /** Ids of the threads that have loaded their teacher, and what waits for the others. */
  readonly #prepared = new Set<number>();
  readonly #whenPrepared = new Map<number, () => void>();
  /** Tasks that were handed to threads and not answered. */
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(options: TeacherPoolOptions) {
    const { teacher, backend, description, images, targets, augmentation, classes } = options;
    const workers = Math.max(1, options.workers ?? availableParallelism());
    this.#images = describeImages(images);
    const setup: LabelWorkerSetup = {
      teacher,
      options: { backend, description },
      images: this.#images,
      targets,
      imageBytes: Math.floor(IMAGE_BYTES / workers),
      augmentation,
      classes,
      stop: this.#stop,
    };
    this.#workers = workers;
    this.batch = options.batch ?? defaultBatch(augmentation);
    this.#pool = newPool({
      filename: pathToFileURL(moduleFile('pipeline/label-worker.js')).href,
      name: 'labelViews',
      minThreads: workers,
      maxThreads: workers,
      workerData: setup,
    });
    this.#tasks = new PoolTasks(this.#pool);
    this.#pool.on('message', ({ preparedThread }: LabelWorkerPrepared) => {
      this.#prepared.add(preparedThread);
      this.#whenPrepared.get(preparedThread)?.();
    });
  }

  get made(): LabelsMade {
    const agreement = this.#agreeing / this.#known;
    return { labels: this.#labels, ...(this.#known > 0 ? { agreement } : {}) };
  }

  /** Results in the order of the tasks; a few tasks are under way ahead of the one that is waited for. */
  async *run(
    tasks: Iterable<LabelTask>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly [LabelTask, LabelledViews]> {
    const under: (readonly [LabelTask, Promise<LabelledViews | ErrorData>])[] = [];
    const next = async () => {
      throwIfAborted(signal);
      const [task, answer] = under.shift() as (typeof under)[number];
      const views = await answer;
      if ('code' in views) throw await this.#failure(views, signal);
      this.#labels += task.samples.length;
      this.#known += views.known;
      this.#agreeing += views.agreeing;
      return [task, views] as const;
    };
    for (const task of tasks) {
      const answer = this.#ask(task);
      under.push([task, answer]);
      if (under.length > 2 * this.#workers) yield await next();
    }
    while (under.length > 0) yield await next();
  }

  /** The error of a pass; of a damaged image one that names all of them. */
  async #failure(data: ErrorData, signal: AbortSignal | undefined): Promise<unknown> {
    const error = errorFromData(data);
    if (this.#images.kind !== 'files') return error;
    return await namingAllDamaged(error, this.#images, { concurrency: CONCURRENCY, signal });
  }

  #ask(task: LabelTask): Promise<LabelledViews | ErrorData> {
    const answer = this.#label(task);
    this.#underWay.add(answer);
    const forget = () => this.#underWay.delete(answer);
    answer.then(forget, forget); // A failure is reported when its turn comes.
    return answer;
  }

  async #label(task: LabelTask): Promise<LabelledViews | ErrorData> {
    try {
      return await this.#tasks.run(task, {});
    } catch (cause) {
      const message = `a thread of the teacher failed: ${errorMessage(cause)}`;
      const field = `epoch ${task.epoch}, sample ${task.samples[0]}`;
      throw new SoftpackError('WORKER_FAILED', message, { field, cause });
    }
  }

  /**
   * Tasks under way end at their next image or pass. Threads are ended only when they are out of native code: one that is
   * ended while a runtime loads its model ends the process.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    Atomics.store(this.#stop, 0, 1);
    await Promise.all(this.#pool.threads.map((thread) => this.#untilPrepared(thread)));
    await Promise.allSettled(this.#underWay);
    await this.#pool.close();
    this.#tasks[Symbol.dispose]();
  }

  async #untilPrepared(thread: Piscina['threads'][number]): Promise<void> {
    const { threadId } = thread;
    if (this.#prepared.has(threadId)) return;
    await new Promise<void>((resolve) => {
      thread.once('exit', resolve);
      this.#whenPrepared.set(threadId, resolve);
    });
  }
}

/** Images in one forward pass, if nothing is asked for. */
export function defaultBatch({ size: [height, width] }: AugmentationSpec): number {
  const fitting = 2 ** Math.floor(Math.log2(BATCH_PIXELS / (height * width)));
  return Math.min(Math.max(fitting, 8), 128);
}
