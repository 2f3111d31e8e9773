import { VERSION } from '../../core/version.js';
import { imagesFingerprint } from '../../images/fingerprint.js';
import { requireOutside } from '../../images/outside.js';
import { pinnedBackend } from '../../nn/backend/pinned.js';
import { schemeOf } from '../../store/address.js';
import { factsOf, identityOf, imagesFor, storedOf } from '../cache-identity.js';
import { weighedEpochs } from '../kept-epochs.js';
import { filterOf, onePass, plannedSource, provenanceOf, requireCut } from '../one-pass.js';
import { requestOf } from '../pack-request.js';
import { Problems } from '../preflight.js';
import { defaultBatch } from '../teacher-pool.js';
import {
  codecOf,
  identityJson,
  type JobLabelsOptions,
  type LabelsContent,
  type LabelsJob,
  planOnly,
  requireDrawn,
} from './labels.js';
import { findJob, jobOf, keepJob, requireSameJob } from './record.js';
import { type JobStores, requireFree } from './stores.js';

/**
 * Writes a job into its store: everything that decides the bytes of the archive. No label is made. Planning the same job
 * again changes nothing.
 *
 * @throws What `cacheLabels` throws for the same options; `ALREADY_EXISTS` naming the first difference if another job is
 *   there, or anything else; `UNSUPPORTED` for a store that cannot tell writers who was first, or a codec that looks at all
 *   labels first.
 */
export async function planJob(
  stores: JobStores,
  options: JobLabelsOptions,
  signal?: AbortSignal,
): Promise<LabelsJob> {
  const problems = new Problems();
  const codec = await problems.need(() => codecOf(options));
  if (schemeOf(stores.address) === undefined) {
    await problems.check(() => requireOutside(stores.address, options.images));
  }
  const there = await problems.need(() => findJob(stores, { signal }));
  if (there === undefined) await problems.check(() => requireFree(stores));
  const asked = { ...options, out: stores.address };
  const teacher = await problems.need(() => factsOf(asked));
  const images = await problems.need(() => imagesFor(teacher, asked));
  const print = await problems.need(() => imagesFingerprint(images, signal));
  const whole = await problems.need(() => identityOf(teacher, images, print, asked));
  const weighed = await problems.need(() => weighedEpochs(whole, { ...options, ...whole, codec }));
  const identity = { ...whole, ...storedOf(weighed?.keep, options.epochs) };
  const filter = await problems.need(() => filterOf(options, identity));
  const source = plannedSource(identity);
  const packing = { ...onePass({ ...options, filter }, codec, identity, source), out: '' };
  await problems.check(() => requireCut(options, identity.samples));
  requireDrawn(await planOnly(source, packing, problems), identity);
  const { grid, batch = defaultBatch(identity.augmentation) } = options;
  const content: LabelsContent = {
    ...{ kind: 'labels', softpack: VERSION },
    identity: identityJson(identity) as unknown as LabelsContent['identity'],
    request: await requestOf(source, { ...packing, filter }),
    ...{ grid, batch, backend: await pinnedBackend(teacher.fingerprint, options.backend) },
  };
  const job = jobOf(content, options, provenanceOf({ ...options, filter }));
  if (there !== undefined) requireSameJob(there, job);
  await keepJob(stores, job, { signal });
  return job;
}
