import type { Xxh64 } from '../container/checksum.js';
import { FieldChecker } from '../core/check.js';
import type { CodecParts, CodeLayout } from '../core/codec-parts.js';
import { canonicalJson, type JsonObject, type JsonValue } from '../core/json.js';
import { VERSION } from '../core/version.js';
import { SoftpackError, type SoftpackErrorCode } from '../errors.js';
import { requireAgreement, requireSampleRows } from './agreement.js';
import { type PlannedFile, packingWords, planCodecFile, planSamplesFile } from './codec-files.js';
import { planGrid, type ShardGrid } from './grid.js';
import {
  type ArchiveIdentity,
  archiveIdOf,
  CODEC_FILE,
  type Column,
  checkIdentity,
  codesRowBytes,
  SAMPLES_FILE,
  type ViewEpochs,
} from './identity.js';
import type { Provenance } from './provenance.js';
import type { Pruning } from './pruning.js';
import { type PlannedSampleBlocks, planSampleBlocks } from './sample-blocks.js';
import type { TauSchedule } from './tau-schedule.js';

/** Everything about an archive that is known before its first row. */
export interface ArchiveSpec {
  readonly classes: number;
  readonly samples: number;
  /** Epochs that the archive serves. */
  readonly epochs: number;
  /** Epochs whose labels are stored, if they are fewer: epoch e is stored epoch e mod `storedEpochs`. */
  readonly storedEpochs?: number;
  /** Epochs whose views the stored ones have, if not those of the same numbers. */
  readonly views?: ViewEpochs;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  /** Temperatures of the epochs in its place, for codecs that decode at any. */
  readonly tauSchedule?: TauSchedule;
  readonly codec: CodecParts;
  /** Layout of the codec's codes in a row. */
  readonly layout: CodeLayout;
  /** Description of how to decode a label from its bits and the codec's tensors, for readers without this library. */
  readonly decoding: string;
  /** How every labelled view was made, as plain JSON; null if there is no record of it. */
  readonly augmentation: object | null;
  readonly classNames?: readonly string[];
  /** Identifies the teacher, as plain JSON. */
  readonly teacher?: unknown;
  /** Identifies the images and how they were decoded, as plain JSON. */
  readonly images?: object;
  /** Present if rows are batches: `samples` is then their size and `epochs` their number. */
  readonly pruning?: Pruning;
  /** Data besides the codes, one row per epoch. */
  readonly columns?: readonly Column[];
  /** What was asked for, as plain JSON: a writer that resumes must ask for the same; see `Manifest.request`. */
  readonly request?: object;
  /** How the labels come to be, as plain JSON, e.g. the program and its arguments; softpack's version is added. */
  readonly provenance?: object;
  /** Target size of shards, at most 1 GiB; default 256 MiB, and 2^20 labels. */
  readonly shardBytes?: number;
  /** Samples whose side data lie in one file, if the codec keeps them in blocks; default 2^18. */
  readonly samplesPerFile?: number;
  /** Sides of the shards in place of a size, e.g. tall in epochs and narrow in samples for many machines. */
  readonly grid?: ShardGrid;
}

/** Of an archive of version 2. */
export type DividedIdentity = ArchiveIdentity & { readonly grid: ShardGrid };

/** A checked spec and everything that follows from it. */
export interface ArchivePlan {
  readonly identity: DividedIdentity;
  readonly archiveId: string;
  readonly codecFile: PlannedFile;
  readonly samplesFile: PlannedFile | undefined;
  readonly sampleBlocks: PlannedSampleBlocks | undefined;
  readonly request: JsonObject | undefined;
  readonly provenance: Provenance;
  /** The parts of the above that must be equal to resume an archive. */
  readonly head: JsonObject;
}

/** `INVALID_ARGUMENT` naming the field of the spec that is wrong. */
export function planArchive(spec: ArchiveSpec, xxh64: Xxh64): ArchivePlan {
  const { classes, samples, epochs, tau, codec, layout, classNames } = spec;
  const check = new FieldChecker('archive spec', 'INVALID_ARGUMENT');
  const config = check.object(canonicalJson(codec.config, 'codec.config'), 'codec.config');
  check.count(samples, 'samples', 1);
  const words = {
    packing: packingWords(layout, samples),
    decoding: check.text(spec.decoding, 'decoding'),
  };
  const codecFile = planCodecFile(CODEC_FILE, codec, config, words, xxh64);
  const samplesFile = planSamplesFile(SAMPLES_FILE, codec, xxh64);
  const sampleBlocks = planSampleBlocks(codec, codecFile.record, xxh64, spec.samplesPerFile);
  const codes: Column = { name: 'codes', dtype: 'U8', rowBytes: codesRowBytes(layout, samples) };
  const given = {
    ...{ classes, samples, epochs, storedEpochs: spec.storedEpochs, tau },
    ...{ views: spec.views as JsonValue | undefined },
    tauSchedule: spec.tauSchedule as JsonValue | undefined,
    codec: { name: codec.name, config },
    codecFile: codecFile.record,
    samplesFile: samplesFile?.record,
    sampleBlocks: sampleBlocks?.record,
    layout,
    augmentation: spec.augmentation,
    classNames,
    teacher: spec.teacher,
    images: spec.images,
    pruning: spec.pruning,
    columns: [codes, ...(spec.columns ?? [])],
  };
  const undivided = checkIdentity(check, canonicalJson(given, 'archive spec') as JsonObject);
  const identity = { ...undivided, grid: planGrid(undivided, spec) };
  const archiveId = archiveIdOf(identity);
  requireAgreement(check, identity);
  requireSampleRows(check, codec.sampleTensors, samples);
  const request =
    spec.request && check.object(canonicalJson(spec.request, 'archive spec'), 'request');
  const head = planHead(identity, request);
  const made = { softpack: VERSION, ...spec.provenance };
  const provenance = check.object(canonicalJson(made, 'archive spec'), 'provenance');
  const files = { codecFile, samplesFile, sampleBlocks };
  return { identity, archiveId, ...files, request, provenance, head };
}

export function planHead(identity: ArchiveIdentity, request: JsonObject | undefined): JsonObject {
  const { classes, samples, epochs, storedEpochs, tau, codec, codecFile, samplesFile } = identity;
  const { layout, augmentation, classNames, teacher, images, pruning, columns, grid } = identity;
  const { tauSchedule, views, sampleBlocks } = identity;
  const head = {
    ...{ classes, samples, epochs, storedEpochs, tau, tauSchedule, codec, codecFile, samplesFile },
    ...{ layout, augmentation, classNames, teacher, images, pruning, columns, grid, views },
    ...{ sampleBlocks, request },
  };
  return canonicalJson(head, 'archive') as JsonObject;
}

/** `INVALID_ARGUMENT` with both values if the archive that was started differs from the one asked for. */
export function requireSameHead(begun: JsonObject, asked: JsonObject): void {
  const error = ['INVALID_ARGUMENT', 'another archive was begun in this directory'] as const;
  requireSame(begun, asked, ...error);
}

/** An error of this code with the first value that differs between what is there and what is asked for. */
export function requireSame(
  there: JsonObject,
  asked: JsonObject,
  code: SoftpackErrorCode,
  message: string,
): void {
  const difference = firstDifference(there, asked, 'spec');
  if (difference === undefined) return;
  const [field, expected, found] = difference;
  throw new SoftpackError(code, message, {
    field,
    expected: JSON.stringify(expected) ?? 'nothing',
    found: JSON.stringify(found) ?? 'nothing',
  });
}

type Difference = readonly [string, JsonValue | undefined, JsonValue | undefined];

/** Path and values of the first leaf that differs. */
function firstDifference(a: JsonValue, b: JsonValue, path: string): Difference | undefined {
  const { value } = differences(a, b, path).next();
  return value ?? undefined;
}

/** Path and values of every leaf that differs. */
export function* differences(
  a: JsonValue | undefined,
  b: JsonValue | undefined,
  path: string,
): Generator<Difference, undefined> {
  const composite = (value: unknown) => typeof value === 'object' && value !== null;
  if (!composite(a) || !composite(b) || Array.isArray(a) !== Array.isArray(b)) {
    if (a !== b) yield [path, a, b];
    return;
  }
  const left = new Map(Object.entries(a as JsonObject));
  const right = new Map(Object.entries(b as JsonObject));
  for (const key of new Set([...left.keys(), ...right.keys()])) {
    const at = path === '' ? key : `${path}.${key}`;
    yield* differences(left.get(key), right.get(key), at);
  }
}
