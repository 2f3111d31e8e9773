import type { LabelArchive } from '../archive/archive.js';
import { differingCodes, type SampleRun } from '../archive/compare-codes.js';
import { differences, planHead } from '../archive/spec.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject, type JsonValue } from '../core/json.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { throwIfAborted } from '../errors.js';
import { DivergenceMeter, type LabelDivergence } from '../labels/divergence.js';
import type { ByteStore } from '../store/byte-store.js';
import { openArchive } from './open-archive.js';

export interface DiffOptions {
  /** Labels that are decoded to compare archives of different codecs; default 4096. */
  readonly labels?: number;
  /** Seed of the draw of these labels; default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/** A value that two archives say differently; undefined where one says nothing. */
export interface DifferentField {
  readonly field: string;
  readonly a: JsonValue | undefined;
  readonly b: JsonValue | undefined;
}

/**
 * - `same`: all codes are equal, and so are the codec's tensors.
 * - `codes`: one codec, some codes differ. `differing` counts labels, `runs` are the first of them.
 * - `decoded`: different codecs; the divergence of b from a over a draw of labels.
 * - `incomparable`: other numbers of classes or samples.
 */
export type LabelComparison =
  | { readonly kind: 'same' }
  | {
      readonly kind: 'codes';
      readonly compared: number;
      readonly differing: number;
      readonly runs: readonly SampleRun[];
    }
  | { readonly kind: 'decoded'; readonly compared: number; readonly divergence: LabelDivergence }
  | { readonly kind: 'incomparable'; readonly reason: string };

export interface ArchiveDiff {
  /** Whether both serve the same labels under the same identity. */
  readonly equal: boolean;
  /** The first fields that differ, of what archives are and of how they were asked for. */
  readonly fields: readonly DifferentField[];
  readonly labels: LabelComparison;
}

const MAX_LISTED = 20;
/** Labels decoded at a time. */
const BATCH = 256;

/** Compares what two archives are and the labels that they hold. Both are folders, addresses or stores. */
export async function diffArchives(
  a: string | ByteStore,
  b: string | ByteStore,
  options: DiffOptions = {},
): Promise<ArchiveDiff> {
  argument.count(options.labels ?? 1, 'labels', 1, 2 ** 24);
  await using left = await openArchive(a);
  await using right = await openArchive(b);
  const fields = differentFields(left, right);
  const labels = await compareLabels(left, right, options);
  return { equal: fields.length === 0 && labels.kind === 'same', fields, labels };
}

/** The division into shards is left out: it says nothing about the labels. */
function differentFields(a: LabelArchive, b: LabelArchive): readonly DifferentField[] {
  const head = ({ manifest }: LabelArchive) => {
    const { grid: _, ...rest } = planHead(manifest, manifest.request);
    const parts = manifest.parts?.map(({ epochs, samples }) =>
      samples ? { epochs, samples } : epochs,
    );
    return canonicalJson({ ...rest, ...(parts && { parts }) }, 'archive') as JsonObject;
  };
  const found: DifferentField[] = [];
  for (const [field, ofA, ofB] of differences(head(a), head(b), '')) {
    found.push({ field, a: ofA, b: ofB });
    if (found.length === MAX_LISTED) break;
  }
  return found;
}

async function compareLabels(
  a: LabelArchive,
  b: LabelArchive,
  options: DiffOptions,
): Promise<LabelComparison> {
  for (const name of ['classes', 'samples'] as const) {
    if (a[name] === b[name]) continue;
    return { kind: 'incomparable', reason: `${a[name]} and ${b[name]} ${name}` };
  }
  const epochs = Math.min(a.epochs, b.epochs);
  if (a.id === b.id) return { kind: 'same' };
  if (!isSameCodec(a, b)) return compareDecoded(a, b, epochs, options);
  const runs: SampleRun[] = [];
  let differing = 0;
  for await (const run of differingCodes(a, b, epochs, options.signal)) {
    differing += run.samples[1] - run.samples[0];
    if (runs.length < MAX_LISTED) runs.push(run);
  }
  if (differing === 0) return { kind: 'same' };
  return { kind: 'codes', compared: epochs * a.samples, differing, runs };
}

/** Whether equal codes decode to equal labels. Parts have codecs of their own. */
function isSameCodec(
  { manifest: a, parts: { length: ofA } }: LabelArchive,
  { manifest: b, parts: { length: ofB } }: LabelArchive,
): boolean {
  if (ofA > 1 || ofB > 1) return false;
  const parts = ({
    codec,
    codecFile,
    samplesFile,
    sampleBlocks,
    layout,
    pruning,
    tau,
    tauSchedule,
    views,
  }: typeof a) =>
    JSON.stringify([
      codec,
      codecFile.sha256,
      samplesFile?.sha256,
      sampleBlocks?.table.sha256,
      layout,
      pruning,
      tau,
      tauSchedule,
      views,
    ]);
  return parts(a) === parts(b);
}

async function compareDecoded(
  a: LabelArchive,
  b: LabelArchive,
  epochs: number,
  { labels = 4096, seed = 0, signal }: DiffOptions,
): Promise<LabelComparison> {
  const random = new RandomSequence(seed, STREAM.codec);
  const meter = new DivergenceMeter(a.classes);
  const compared = Math.min(labels, epochs * a.samples);
  for (let done = 0; done < compared; done += BATCH) {
    throwIfAborted(signal);
    const epoch = random.below(epochs);
    const ids = random.distinct(Math.min(BATCH, compared - done, a.samples), a.samples);
    meter.add(await a.labels(epoch, ids), await b.labels(epoch, ids));
  }
  return { kind: 'decoded', compared, divergence: meter.result() };
}
