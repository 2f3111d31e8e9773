import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { argument, FieldChecker } from '../core/check.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { openImages } from '../images/open.js';
import { requireOutside } from '../images/outside.js';
import { openImageReader } from '../images/reader.js';
import { loadTeacher } from '../nn/teachers/load.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { withTfjs } from '../nn/with-tfjs.js';
import { OutputFolder } from '../pipeline/output-folder.js';
import { onFile } from '../store/file-error.js';
import { checkedRange } from './candidates.js';
import { classesOf } from './classes.js';
import type { Distilled, JobResult } from './distilled.js';
import { JobRecords } from './job-records.js';
import { networkOf } from './network-of.js';
import { SYNTHESIS_METHODS, type SynthesiseOptions, type SynthesisResult } from './options.js';
import { rdedSynthesiser } from './rded-jobs.js';
import { classFolders, ImageTree } from './tree.js';

/** Images decoded at a time. */
const DECODES = 4;
/** Options that only RDED has, and those of the others alone. */
const RDED_OPTIONS = ['candidates', 'draws', 'crops', 'factor'] as const;
const RECOVER_OPTIONS = [
  ...['iterations', 'lr', 'bnWeight', 'firstBn', 'minCrop', 'curriculum', 'jitter'],
  'statistics',
] as const;

/**
 * Distils images with a teacher, from a data set or from noise, and writes them as one folder per class. A job is some classes; its
 * images follow from options, seed and classes alone, so that runs are resumed, and shards joined by copying their folders together,
 * to the bytes of one run with the same TensorFlow.js backend.
 *
 * @throws Before any work `INVALID_ARGUMENT` with the numbers if classes have too few images or the teacher does not know
 *   them, `ALREADY_EXISTS` if `out` has other content; what `loadTeacher` and `openImages` throw; `NON_FINITE` naming the class.
 */
export async function synthesise(options: SynthesiseOptions): Promise<SynthesisResult> {
  const { out, shard = { index: 0, count: 1 }, format = 'png', signal, onProgress } = options;
  argument.oneOf(options.method, 'method', SYNTHESIS_METHODS);
  requireOptionsOf(options);
  argument.count(shard.count, 'shard.count', 1);
  argument.count(shard.index, 'shard.index', 0, shard.count - 1);
  if (format !== 'png') argument.count(format.jpeg, 'format.jpeg', 1, 100);
  if (options.images !== undefined) await requireOutside(out, options.images);
  await requireOwn(out);
  using held = new Held();
  const teacher = held.use(await loadTeacher(options.teacher, options));
  const { synthesiser, classNames, range } = await prepare(teacher, options, held);
  const request = {
    ...{ version: 1, method: options.method, format, ...synthesiser.settings, classes: range },
    ...{ size: teacher.size, teacher: teacher.fingerprint },
  };
  const { jobs } = synthesiser;
  const records = await JobRecords.open(out, request, jobs);
  const part = `shard-${shard.index}-of-${shard.count}`;
  await using _folder = await OutputFolder.open(join(records.folder, part), { own: true });
  const tree = new ImageTree(out, classFolders(classNames, range), teacher.size, format);
  const own = Array.from({ length: jobs }, (_, job) => job).filter(
    (job) => job % shard.count === shard.index,
  );
  const total = own.length;
  for (const [done, job] of own.entries()) {
    if (records.has(job)) continue;
    throwIfAborted(signal);
    onProgress?.({ done, total });
    const made = await synthesiser.make(job, (step) => onProgress?.({ done, total, step }));
    const bytes = await writeClasses(tree, made.images);
    await records.write(job, recordOf(made, bytes));
    onProgress?.({ done: done + 1, total, confidence: meanConfidence(made.images) });
  }
  return summarise(records, jobs, request);
}

/** An option of another method has no effect: whoever gives it expects one. */
function requireOptionsOf(options: SynthesiseOptions): void {
  const { method } = options;
  const others: readonly string[] = method === 'rded' ? RECOVER_OPTIONS : RDED_OPTIONS;
  const given = Object.entries(options).find(
    ([name, value]) => value !== undefined && others.includes(name),
  );
  if (given === undefined) return;
  const [field, found] = given;
  throw new SoftpackError('INVALID_ARGUMENT', `${method} has no such option`, {
    field,
    expected: method === 'rded' ? 'method sre2l, cda or lpld' : 'method rded',
    found,
  });
}

/** What a run disposes of at its end; Node.js 20 has no `DisposableStack`. */
class Held implements Disposable {
  readonly #things: Disposable[] = [];

  use<T extends Disposable>(thing: T): T {
    this.#things.push(thing);
    return thing;
  }

  [Symbol.dispose](): void {
    for (const thing of this.#things.reverse()) thing[Symbol.dispose]();
  }
}

async function prepare(teacher: Teacher, options: SynthesiseOptions, held: Held) {
  const { method } = options;
  const range = checkedRange(options.classes, teacher.classes);
  if (method !== 'rded') {
    const network = networkOf(options.teacher, teacher);
    const { recoverSynthesiser } = await withTfjs(() => import('./recover-jobs.js'));
    const synthesiser = await recoverSynthesiser({ teacher, network, range }, method, options);
    const images = options.images && (await openImages(options.images, options));
    const { classNames } = images ? classesOf(options.teacher, teacher, images) : teacher;
    return { synthesiser, classNames, range };
  }
  if (options.images === undefined) {
    const details = { field: 'images', expected: 'a folder or list of images with classes' };
    throw new SoftpackError('INVALID_ARGUMENT', 'rded makes images of others', details);
  }
  const images = await openImages(options.images, options);
  const { classNames, targets } = classesOf(options.teacher, teacher, images);
  const synthesiser = await rdedSynthesiser(
    { teacher, images, targets, range },
    options,
    async () => held.use(await openImageReader(images.description, { concurrency: DECODES })),
  );
  return { synthesiser, classNames, range };
}

async function writeClasses(
  tree: ImageTree,
  made: readonly Distilled[],
): Promise<ReadonlyMap<Distilled, number>> {
  const bytes = new Map<Distilled, number>();
  for (const target of new Set(made.map((image) => image.target))) {
    const images = made.filter((image) => image.target === target);
    const sizes = await tree.write(target, images);
    for (const [i, image] of images.entries()) bytes.set(image, sizes[i]);
  }
  return bytes;
}

function recordOf({ images, facts }: JobResult, bytes: ReadonlyMap<Distilled, number>): object {
  return {
    ...facts,
    images: images.map((image) => {
      const { target, index, loss, correct, sources } = image;
      return {
        ...{ target, index, crossEntropy: loss, correct, bytes: bytes.get(image) ?? 0 },
        ...(sources === undefined ? {} : { sources }),
      };
    }),
  };
}

function meanConfidence(made: readonly Distilled[]): number {
  return made.reduce((sum, { loss }) => sum + Math.exp(-loss), 0) / made.length;
}

async function summarise(
  records: JobRecords,
  jobs: number,
  request: object,
): Promise<SynthesisResult> {
  const done = records.done();
  const made: JsonObject[] = [];
  const perJob: JsonObject[] = [];
  for (const job of done) {
    const { images, ...facts } = await records.read(job);
    const check = new FieldChecker(records.folder, 'INVALID_FILE');
    const own = check.list(images, `job ${job}`).map((image) => check.object(image, 'image'));
    perJob.push({ ...facts, ...reached(own) });
    made.push(...own);
  }
  const result = { ...reached(made), jobs, jobsDone: done.length };
  if (done.length === jobs) await records.finish({ request, result, jobs: perJob, images: made });
  return result;
}

/** What the teacher makes of some images, seeing them whole, and their size. */
function reached(images: readonly JsonObject[]) {
  const mean = (value: (image: JsonObject) => number) =>
    images.reduce((sum, image) => sum + value(image), 0) / Math.max(images.length, 1);
  return {
    images: images.length,
    classes: new Set(images.map(({ target }) => target)).size,
    bytes: images.reduce((sum, { bytes }) => sum + Number(bytes), 0),
    accuracy: mean(({ correct }) => Number(correct)),
    confidence: mean(({ crossEntropy }) => Math.exp(-Number(crossEntropy))),
    crossEntropy: mean(({ crossEntropy }) => Number(crossEntropy)),
  };
}

/** Images of someone else must not be mixed with distilled ones. */
async function requireOwn(out: string): Promise<void> {
  if (!existsSync(out) || existsSync(join(out, '.synthesis'))) return;
  const [first] = await onFile(out, () => readdir(out));
  if (first === undefined) return;
  throw new SoftpackError('ALREADY_EXISTS', 'the folder has other content', {
    field: out,
    expected: 'a new folder, or one of an interrupted run',
    found: first,
  });
}
