import { MAX_COUNT } from '../../archive/agreement.js';
import type { Rectangle } from '../../archive/grid.js';
import { checkGrid } from '../../archive/identity.js';
import type { ArchivePlan } from '../../archive/spec.js';
import { planArchive } from '../../archive/spec.js';
import type { Codec } from '../../codecs/codec.js';
import { CODECS } from '../../codecs/registry.js';
import { loadXxh64 } from '../../container/checksum.js';
import type { FieldChecker } from '../../core/check.js';
import type { JsonObject } from '../../core/json.js';
import { throwIfAborted } from '../../errors.js';
import { loadKernels } from '../../kernels/load.js';
import { DivergenceMeter } from '../../labels/divergence.js';
import { BACKENDS } from '../../nn/backend/name.js';
import { trainPart, viewed } from '../pack.js';
import { archiveSpec } from '../pack-spec.js';
import { chunkOf, encodePiece, piecesOf, resultOf } from '../write-archive.js';
import { ArchiveProduct, type ShardEncoder } from './archive-product.js';
import { findCodec, keepCodec } from './codec-file.js';
import type { JobKind, JobProduct, JobWorkerOptions, PrepareOptions } from './kind.js';
import { type JobLabels, type LabelsJob, openJobLabels, requireDrawn } from './labels.js';
import type { Job } from './record.js';
import { type JobStores, requireWritable } from './stores.js';

/** Jobs of a teacher's labels of augmented images. */
export const LABEL_JOBS: readonly JobKind[] = [
  {
    name: 'labels',
    unit: 'labels',
    requireFields,
    total(job) {
      const { epochs, storedEpochs = epochs, samples } = identityOf(job);
      return storedEpochs * samples;
    },
    describe(job) {
      const { epochs, samples, classes } = identityOf(job);
      const words = `${epochs} epochs x ${samples} images, ${classes} classes`;
      return { words, facts: { epochs, samples, classes } };
    },
    prepare: (stores, job, options) => trainCodec(stores, labelsJob(job), options),
    find: (stores, job) => findArchive(stores, labelsJob(job)),
  },
];

function requireFields(
  { identity, request, grid, backend, batch }: JsonObject,
  { teacher, images, epochs, codec }: JsonObject,
  check: FieldChecker,
): void {
  const own = check.object(identity, 'content.identity');
  for (const name of ['classes', 'samples', 'epochs']) {
    check.count(own[name], `content.identity.${name}`, 1, MAX_COUNT);
  }
  if (own.storedEpochs !== undefined) {
    check.count(own.storedEpochs, 'content.identity.storedEpochs', 1, Number(own.epochs) - 1);
  }
  check.positive(own.tau, 'content.identity.tau');
  const { mix } = check.object(own.augmentation, 'content.identity.augmentation');
  check.text(check.object(mix, 'content.identity.augmentation.mix').kind, 'mix.kind');
  for (const name of ['teacher', 'images']) check.object(own[name], `content.identity.${name}`);
  check.object(request, 'content.request');
  check.oneOf(backend, 'content.backend', ['auto', ...BACKENDS]);
  check.count(batch, 'content.batch', 1);
  if (grid !== undefined) checkGrid(check, grid);
  check.text(teacher, 'options.teacher');
  check.text(images, 'options.images');
  check.count(epochs, 'options.epochs', 1, MAX_COUNT);
  check.text(check.object(codec, 'options.codec').name, 'options.codec.name');
}

function labelsJob(job: Job): LabelsJob {
  return job as LabelsJob;
}

function identityOf(job: Job): LabelsJob['content']['identity'] {
  return labelsJob(job).content.identity;
}

async function trainCodec(
  stores: JobStores,
  job: LabelsJob,
  { onProgress, ...worker }: PrepareOptions,
): Promise<boolean> {
  const { signal } = worker;
  const { identity, request } = job.content;
  if ((await findCodec(stores)) !== undefined) return false;
  await requireWritable(stores, { signal });
  await using labels = await openJobLabels(job, worker);
  const { source, part, asked } = labels;
  requireDrawn(part, identity);
  const checkpoints = { keep: async () => {} };
  const settings = { ...asked, checkpoints, onProgress };
  const kept = await trainPart(source, part, loadKernels(), settings);
  return await keepCodec(stores, kept, request, { signal });
}

async function findArchive(stores: JobStores, job: LabelsJob): Promise<JobProduct | undefined> {
  const kept = await findCodec(stores);
  if (kept === undefined) return undefined;
  const { identity, request, grid } = job.content;
  const codec = CODECS.load(kept.parts, loadKernels());
  const { provenance } = job;
  const spec = { ...archiveSpec(identity, codec, { ...identity, provenance, grid }), request };
  const xxh64 = await loadXxh64();
  const plan = planArchive(spec, xxh64);
  return new ArchiveProduct(stores, plan, xxh64, {
    openEncoder: async (worker) => openEncoder(job, codec, plan, worker),
    measured(receipts) {
      const meter = new DivergenceMeter(identity.classes);
      for (const { sums } of receipts) meter.merge(sums);
      const divergence = meter.result();
      const words = `KL ${divergence.kl.toExponential(2)} nats`;
      return { words, facts: { divergence }, result: resultOf(divergence) };
    },
    dispose: () => codec.dispose(),
  });
}

async function openEncoder(
  job: LabelsJob,
  codec: Codec,
  { identity }: ArchivePlan,
  worker: JobWorkerOptions,
): Promise<ShardEncoder> {
  const labels: JobLabels = await openJobLabels(job, worker);
  const { source, part } = labels;
  const read = viewed(part, CODECS);
  const chunk = chunkOf(codec, identity.classes);
  return {
    async encode({ epochs: [first, end], samples }: Rectangle, add, onProgress) {
      const meter = new DivergenceMeter(identity.classes);
      source.goThrough({ epochs: [first, end], samples });
      let done = 0;
      for (let epoch = first; epoch < end; epoch++) {
        for (const piece of piecesOf(epoch, samples, identity.grid, chunk)) {
          throwIfAborted(worker.signal);
          await add(piece, await encodePiece(read, codec, piece, meter));
          done += piece.count;
          onProgress(done);
        }
      }
      return meter.sums();
    },
    [Symbol.asyncDispose]: () => labels[Symbol.asyncDispose](),
  };
}
