import { float16ToFloat32 } from '../core/half.js';
import type { JsonObject } from '../core/json.js';
import { sampleIds } from '../core/samples.js';
import type { LabelPlace, LabelSource } from '../labels/source.js';
import type { LabelTask } from './label-worker.js';
import { type LabelsMade, TeacherPool, type TeacherPoolOptions } from './teacher-pool.js';

export interface TeacherSourceOptions extends TeacherPoolOptions {
  readonly epochs: number;
  /** Identifies teacher, images and views. */
  readonly fingerprint: JsonObject;
  readonly signal?: AbortSignal;
}

/** Both are [first, after the last]. */
interface Window {
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

/**
 * A teacher as a source of logits: they are made when they are read, rounded to half floats as an archive keeps them.
 * A reader that goes on where its last read ended finds the next labels under way.
 */
export class TeacherSource implements LabelSource {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
  readonly dtype = 'F16';
  readonly #teachers: TeacherPool;
  readonly #options: TeacherSourceOptions;
  /** Labels that the reader goes through, epoch by epoch. */
  #window: Window;
  /** Labels of a read, unless it ends a row. */
  #step = 0;
  #ahead: { readonly key: string; readonly logits: Promise<Float32Array> } | undefined;

  constructor(options: TeacherSourceOptions) {
    const { epochs, images, classes } = options;
    this.epochs = epochs;
    this.samples = images.count;
    this.classes = classes;
    this.#options = options;
    this.#window = { epochs: [0, epochs], samples: [0, images.count] };
    this.#teachers = new TeacherPool(options);
  }

  get made(): LabelsMade {
    return this.#teachers.made;
  }

  /** The next reads go through these labels alone: none beyond them is made ahead. */
  goThrough(window: Window): void {
    this.#window = window;
  }

  async read(epoch: number, start: number, count: number): Promise<Float32Array> {
    this.#step = start === this.#window.samples[0] ? count : Math.max(this.#step, count);
    const key = keyOf(epoch, start, count);
    const ahead = this.#ahead?.key === key ? this.#ahead : undefined;
    this.#ahead = undefined;
    const logits =
      ahead?.logits ?? this.#label(rangeTasks(epoch, start, count, this.#teachers.batch));
    // Labels of a reader that reads in order are made while it works on these.
    this.#lookAhead(epoch, start + count);
    return logits;
  }

  #lookAhead(epoch: number, end: number): void {
    const { epochs, samples } = this.#window;
    const [next, start] = end < samples[1] ? [epoch, end] : [epoch + 1, samples[0]];
    if (next >= epochs[1]) return;
    // Reads here and there are followed by others.
    if (this.#step < Math.min(this.#teachers.batch, samples[1] - samples[0])) return;
    const some = Math.min(this.#step, samples[1] - start);
    const logits = this.#label(rangeTasks(next, start, some, this.#teachers.batch));
    logits.catch(() => undefined); // Reported to whoever reads them.
    this.#ahead = { key: keyOf(next, start, some), logits };
  }

  readonly readEach = (places: readonly LabelPlace[]): Promise<Float32Array> =>
    this.#label(placeTasks(places, this.#teachers.batch));

  /** Logits of the tasks, one after the other. */
  async #label(tasks: readonly LabelTask[]): Promise<Float32Array> {
    const count = tasks.reduce((sum, { samples }) => sum + samples.length, 0);
    const logits = new Float32Array(count * this.classes);
    let at = 0;
    for await (const [, views] of this.#teachers.run(tasks, this.#options.signal)) {
      float16ToFloat32(views.halves, logits.subarray(at, at + views.halves.length));
      at += views.halves.length;
    }
    return logits;
  }

  async fingerprint(): Promise<JsonObject> {
    return this.#options.fingerprint;
  }

  close(): Promise<void> {
    return this.#teachers[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function keyOf(epoch: number, start: number, count: number): string {
  return `${epoch} ${start} ${count}`;
}

/** Consecutive samples of one epoch in batches. */
function rangeTasks(epoch: number, start: number, count: number, batch: number): LabelTask[] {
  return Array.from({ length: Math.ceil(count / batch) }, (_, i) => {
    const first = start + i * batch;
    const some = Math.min(batch, start + count - first);
    return { epoch, samples: sampleIds({ start: first, count: some }) };
  });
}

/** Labels of the same epoch in batches. */
function placeTasks(places: readonly LabelPlace[], batch: number): LabelTask[] {
  const tasks: { readonly epoch: number; readonly ids: number[] }[] = [];
  for (const { epoch, sample } of places) {
    const last = tasks.at(-1);
    if (last?.epoch === epoch && last.ids.length < batch) last.ids.push(sample);
    else tasks.push({ epoch, ids: [sample] });
  }
  return tasks.map(({ epoch, ids }) => ({ epoch, samples: Uint32Array.from(ids) }));
}
