import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { argument } from '../core/check.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { requireOutside } from '../images/outside.js';
import { OutputFolder } from '../pipeline/output-folder.js';
import { onFile } from '../store/file-error.js';
import type { Distilled } from './distilled.js';
import { JOBS_FOLDER, JobRecords } from './job-records.js';
import { openSynthesis, requireRequest } from './open.js';
import type { SynthesiseOptions, SynthesisResult } from './options.js';
import { recordOf, summarise } from './summary.js';
import { ImageTree, writeClass } from './tree.js';

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
  requireRequest(options);
  argument.count(shard.count, 'shard.count', 1);
  argument.count(shard.index, 'shard.index', 0, shard.count - 1);
  if (options.images !== undefined) await requireOutside(out, options.images);
  await requireOwn(out);
  using opened = await openSynthesis(options);
  const { teacher, synthesiser, request, folders } = opened;
  const jobs = synthesiser.jobs.length;
  const records = await JobRecords.open(out, request, jobs);
  const part = `shard-${shard.index}-of-${shard.count}`;
  await using _folder = await OutputFolder.open(join(records.folder, part), { own: true });
  const tree = new ImageTree(folders, teacher.size, format);
  const own = Array.from({ length: jobs }, (_, job) => job).filter(
    (job) => job % shard.count === shard.index,
  );
  const total = own.length;
  for (const [done, job] of own.entries()) {
    if (records.has(job)) continue;
    throwIfAborted(signal);
    onProgress?.({ done, total });
    const made = await synthesiser.make(job, (step) => onProgress?.({ done, total, step }));
    const { classes, sizes } = await tree.encode(made.images);
    for (const files of classes) await writeClass(out, files);
    await records.write(job, recordOf(made, sizes));
    onProgress?.({ done: done + 1, total, confidence: meanConfidence(made.images) });
  }
  const done = new Map<number, JsonObject>();
  for (const job of records.done()) done.set(job, await records.read(job));
  const { result, summary } = summarise(records.folder, done, jobs, request);
  if (done.size === jobs) await records.finish(summary);
  return result;
}

function meanConfidence(made: readonly Distilled[]): number {
  return made.reduce((sum, { loss }) => sum + Math.exp(-loss), 0) / made.length;
}

/** Images of someone else must not be mixed with distilled ones. */
async function requireOwn(out: string): Promise<void> {
  if (!existsSync(out) || existsSync(join(out, JOBS_FOLDER))) return;
  const [first] = await onFile(out, () => readdir(out));
  if (first === undefined) return;
  throw new SoftpackError('ALREADY_EXISTS', 'the folder has other content', {
    field: out,
    expected: 'a new folder, or one of an interrupted run',
    found: first,
  });
}
