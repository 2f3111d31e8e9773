import type { ShardGrid } from '../../archive/grid.js';
import { requireSame } from '../../archive/spec.js';
import { CODECS, type CodecChoice } from '../../codecs/registry.js';
import { canonicalJson, type JsonObject } from '../../core/json.js';
import { SoftpackError } from '../../errors.js';
import { imagesFingerprint } from '../../images/fingerprint.js';
import type { LabelSource } from '../../labels/source.js';
import type { TotalSizeChoice } from '../archive-size.js';
import { factsOf, identityOf, imagesFor, type LabelsIdentity } from '../cache-identity.js';
import type { CacheLabelsOptions } from '../cache-options.js';
import { filterOf, onePass, teacherSource } from '../one-pass.js';
import { planParts } from '../pack.js';
import type { PackOptions } from '../pack-options.js';
import { Problems } from '../preflight.js';
import type { TeacherSource } from '../teacher-source.js';
import { type JobWorkerOptions, requireUnused } from './kind.js';
import type { Job, JobContent } from './record.js';

/** What a job labels and how: teacher, images, views, codec. */
export type JobLabelsOptions = Omit<
  CacheLabelsOptions,
  'out' | 'full' | 'passes' | 'acceptFinished' | 'workers' | 'onProgress' | 'signal'
>;

/** Everything that the bytes of an archive of labels of images depend on. */
export interface LabelsContent extends JobContent {
  readonly kind: 'labels';
  readonly identity: Omit<LabelsIdentity, 'targets'>;
  /** How the codec is chosen and trained, as the archive records it. */
  readonly request: JsonObject;
  readonly grid?: ShardGrid;
  /** Other runtimes, and passes of other sizes, round differently. */
  readonly backend: NonNullable<CacheLabelsOptions['backend']>;
  readonly batch: number;
}

export type LabelsJob = Job<LabelsContent, JobLabelsOptions>;

/** The labels of a job, made when they are read. */
export interface JobLabels extends AsyncDisposable {
  readonly source: TeacherSource;
  readonly asked: PackOptions;
  readonly part: PlannedPart;
}

type PlannedPart = Awaited<ReturnType<typeof planParts>>['parts'][number];

/** The only part of what is asked for; `UNSUPPORTED` if an archive of it has several. */
export async function planOnly(
  source: LabelSource,
  asked: PackOptions,
  problems: Problems,
): Promise<PlannedPart> {
  const { parts } = await planParts(source, asked, problems);
  const [part, ...others] = parts;
  if (others.length === 0) return part;
  throw new SoftpackError('UNSUPPORTED', 'jobs make archives of one temperature with this codec', {
    field: 'tauSchedule',
    expected: 'one temperature, or a codec of logits',
    found: `${parts.length} temperatures`,
  });
}

/** Labels that a codec may go through, all of which the teacher makes for it alone. */
const MOST_SCANNED = 131_072;

/** `UNSUPPORTED` for a codec that goes through all of many labels. */
export function requireDrawn(
  { choice, source }: PlannedPart,
  { augmentation }: Pick<LabelsIdentity, 'augmentation'>,
): void {
  const { classes, samples, epochs } = source;
  const labels = epochs * samples;
  const sized = CODECS.sized(choice, { classes, labels });
  const seen = { classes, samples, epochs, mixed: augmentation.mix.kind !== 'none' };
  const codec = CODECS.of(sized);
  const many = labels > MOST_SCANNED && codec.scans?.(sized, seen) === true;
  if (!many && codec.perSample !== true) return;
  const message = 'this codec looks at all labels first: one machine makes such archives';
  throw new SoftpackError('UNSUPPORTED', message, {
    field: 'codec',
    expected: many ? `at most ${MOST_SCANNED} labels` : 'a codec that learns from a draw of labels',
    found: many ? `${codec.name}, ${labels} labels` : codec.name,
  });
}

/** The codec that a job is planned with: all are, but not all that can be asked for. */
export function codecOf({ codec }: JobLabelsOptions): CodecChoice | TotalSizeChoice {
  if (codec !== undefined && codec.name !== 'none') return codec;
  throw new SoftpackError('INVALID_ARGUMENT', 'a job needs a codec: it keeps no full labels', {
    field: 'codec',
    expected: '--ratio, --codec or another size',
    found: 'none',
  });
}

/**
 * Loads teacher and images.
 *
 * @throws `INVALID_ARGUMENT` naming the first difference if they are not those of the job.
 */
export async function openJobLabels(
  { content, options: planned }: LabelsJob,
  worker: JobWorkerOptions,
): Promise<JobLabels> {
  requireUnused(worker, ['statistics'], 'labels of images');
  const { teacher = planned.teacher, images: path = planned.images, workers, signal } = worker;
  const { backend, batch } = content;
  const options = { ...planned, teacher, images: path, backend, batch, workers, signal, out: '' };
  const facts = await factsOf(options);
  const images = await imagesFor(facts, options);
  const print = await imagesFingerprint(images, signal);
  const { storedEpochs, ...found } = identityOf(facts, images, print, options);
  const identity: LabelsIdentity = { ...found, storedEpochs: content.identity.storedEpochs };
  requireSame(
    canonicalJson(content.identity, 'job') as JsonObject,
    identityJson(identity),
    'INVALID_ARGUMENT',
    'not the teacher, images or views of the job',
  );
  const codec = codecOf(options);
  const filter = filterOf(options, identity);
  const source = teacherSource({ ...options, filter }, identity, images);
  try {
    const asked = { ...onePass({ ...options, filter }, codec, identity, source), out: '', signal };
    const part = await planOnly(source, asked, new Problems());
    return { source, asked, part, [Symbol.asyncDispose]: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** As the job records it: without what the archive does not say. */
export function identityJson({ targets: _, ...identity }: LabelsIdentity): JsonObject {
  return canonicalJson(identity, 'job') as JsonObject;
}
