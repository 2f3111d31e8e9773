import type { LabelArchive } from '../archive/archive.js';
import { argument } from '../core/check.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { VERSION } from '../core/version.js';
import { throwIfAborted } from '../errors.js';
import type { LabelDivergence } from '../labels/divergence.js';
import { openArchive } from '../pipeline/open-archive.js';
import {
  type Chart,
  classesChart,
  codewordsChart,
  epochsChart,
  labelsChart,
  rateChart,
} from './charts.js';
import { codewordUse } from './codewords.js';
import { type Comparison, compareLabels, drawLabels, requireFull } from './compare.js';
import { type ArchiveFacts, archiveFacts } from './facts.js';
import { type FullLabelsOptions, openFullLabels, refuseFileOptions } from './full-labels.js';
import { gaussianBound } from './gaussian-bound.js';
import { classNamesOf, type ShownLabel, type Sources, showLabels } from './shown-label.js';
import { openTexts, type ShownText, showTexts, type TextReader } from './texts.js';
import { ViewImages } from './views.js';

export interface ReportOptions {
  /** The images of the labels, as `openImagesOf` finds them. */
  readonly images?: string | readonly string[];
  readonly split?: string;
  /** What this archive was packed from, whose labels are exact: an archive, or a file of logits. */
  readonly full?: string;
  /** How a file of labels is read. */
  readonly fullFile?: FullLabelsOptions;
  /** Labels that are compared with the full ones; default 2048. */
  readonly labels?: number;
  /** Views that are shown; default 24. */
  readonly examples?: number;
  /** Seed of the draws; default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/** All that a page says of an archive. */
export interface ArchiveReport {
  readonly name: string;
  readonly facts: ArchiveFacts;
  /** Divergence from the full labels: measured now, or as the archive says of itself. */
  readonly divergence?: LabelDivergence & { readonly labels?: number };
  readonly charts: readonly Chart[];
  readonly examples: readonly ShownLabel[];
  /** The labels with the largest divergence of those compared. */
  readonly worst: readonly ShownLabel[];
  readonly texts: readonly ShownText[];
  /** What is not shown, and what it takes. */
  readonly missing: readonly string[];
  readonly version: string;
}

/** An archive with what its labels are shown with, open. */
export interface OpenReport extends Sources, AsyncDisposable {
  readonly name: string;
  readonly texts?: TextReader;
}

const WORST = 8;

/** Opens an archive, what it was packed from and its images. */
export async function openReport(from: string, options: ReportOptions = {}): Promise<OpenReport> {
  argument.count(options.labels ?? 1, 'labels', 1, 2 ** 20);
  argument.count(options.examples ?? 0, 'examples', 0, 1000);
  const opened: AsyncDisposable[] = [];
  const close = async () => {
    for (const each of opened.toReversed()) await each[Symbol.asyncDispose]();
  };
  const use = <T extends AsyncDisposable>(each: T): T => {
    opened.push(each);
    return each;
  };
  try {
    const archive = use(await openArchive(from));
    const texts = await openTexts(archive, from);
    if (texts !== undefined) {
      use(texts);
      refuseWithTexts(options);
    }
    const full = await openFull(archive, options);
    if (full !== undefined) requireFull(archive, use(full));
    const views = await openViews(archive, options);
    if (views !== undefined) use(views);
    return { name: shownName(from), archive, full, views, texts, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openFull(
  { manifest: { tau } }: LabelArchive,
  { full, fullFile = {} }: ReportOptions,
) {
  if (full !== undefined) return openFullLabels(full, tau, fullFile);
  refuseFileOptions(fullFile, 'nothing without --full (`full`)');
  return undefined;
}

function refuseWithTexts(options: ReportOptions): void {
  for (const name of ['full', 'images'] as const) {
    argument.that(options[name] === undefined, options[name], name, 'none: labels are of texts');
  }
}

async function openViews(
  archive: LabelArchive,
  { images, split }: ReportOptions,
): Promise<ViewImages | undefined> {
  return images === undefined ? undefined : ViewImages.open(archive, images, { split });
}

/** The last part of a path or address, which may hold a password before and a signature behind it. */
function shownName(from: string): string {
  const [path] = from.split(/[?#]/);
  return path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;
}

/** Describes an open archive by draws of its labels: memory does not grow with their number. */
export async function archiveReport(
  open: OpenReport,
  options: ReportOptions = {},
): Promise<ArchiveReport> {
  const { archive, full, views, texts, name } = open;
  const { seed = 0, signal } = options;
  const facts = archiveFacts(archive);
  const head = { name, facts, version: VERSION };
  if (texts !== undefined) {
    const shown = await showTexts(texts, seed);
    const hidden = shown.every(({ labels }) => labels.length === 0);
    const missing = hidden ? ["Likeliest tokens: the teacher's output matrix is not stored."] : [];
    return { ...head, charts: [], examples: [], worst: [], texts: shown, missing };
  }
  const draw = drawLabels(archive, options.labels ?? 2048, seed);
  const comparison = full && (await compareLabels(archive, full, draw, signal));
  const charts = await chartsOf(open, comparison);
  const missing = [
    ...(views === undefined ? ['Views: give the images by --images.'] : []),
    ...(comparison?.labels.every(({ kl }) => kl <= 0)
      ? ['Divergence: the compared labels are those of the full archive, exactly.']
      : []),
    ...(full === undefined
      ? [
          'Full labels and the divergence from them: give the logits, or the archive, that this one was packed from by --full.',
        ]
      : []),
  ];
  return {
    ...head,
    divergence: comparison
      ? { ...comparison.divergence, labels: comparison.labels.length }
      : recordedDivergence(archive),
    charts,
    examples: await examplesOf(open, options.examples ?? 24, seed, signal),
    worst: comparison === undefined ? [] : await worstOf(open, comparison, signal),
    texts: [],
    missing,
  };
}

async function chartsOf(
  { archive, views }: OpenReport,
  comparison: Comparison | undefined,
): Promise<readonly Chart[]> {
  const charts: Chart[] = [];
  if (comparison?.labels.some(({ kl }) => kl > 0)) {
    const { labels, logits, divergence } = comparison;
    const nameOf = classNamesOf(archive, views);
    const word = archive.manifest.pruning === undefined ? 'epoch' : 'batch';
    charts.push(epochsChart(labels, word), classesChart(labels, nameOf));
    charts.push(labelsChart(labels, nameOf, word));
    if (divergence.nmse > 0) charts.push(await ratesOf(archive, logits, divergence.nmse));
  }
  const use = await codewordUse(archive);
  if (use !== undefined) charts.push(codewordsChart(use));
  return charts;
}

/** Errors of the curve, shares of the energy: four a decade. */
const ERRORS = Array.from({ length: 17 }, (_, i) => 10 ** (-i / 4));

async function ratesOf(archive: LabelArchive, logits: Float32Array, nmse: number): Promise<Chart> {
  const { classes } = archive;
  const bytes = archive.bytes();
  const stored = archive.parts.reduce((sum, { manifest: { epochs, samples, storedEpochs } }) => {
    return sum + (storedEpochs ?? epochs) * samples;
  }, 0);
  const bound = await gaussianBound(
    logits,
    classes,
    [...ERRORS, nmse].sort((a, b) => b - a),
  );
  return rateChart(bound, [
    { name: 'codes', bits: (8 * bytes.codes) / stored, nmse },
    { name: 'whole archive', bits: (8 * bytes.total) / stored, nmse },
  ]);
}

/** Labels at equal distances over epochs, of drawn samples. */
async function examplesOf(
  open: OpenReport,
  count: number,
  seed: number,
  signal: AbortSignal | undefined,
): Promise<readonly ShownLabel[]> {
  const { epochs, samples } = open.archive;
  const random = new RandomSequence(seed, STREAM.training);
  const shown: ShownLabel[] = [];
  const all = Math.min(count, epochs * samples);
  for (let i = 0; i < all; i++) {
    throwIfAborted(signal);
    const row = Math.floor(((i + 0.5) * epochs) / all);
    shown.push(...(await showLabels(open, row, Uint32Array.of(random.below(samples)))));
  }
  return shown;
}

async function worstOf(
  open: OpenReport,
  { labels }: Comparison,
  signal: AbortSignal | undefined,
): Promise<readonly ShownLabel[]> {
  const worst = labels
    .filter(({ kl }) => kl > 0)
    .sort((a, b) => b.kl - a.kl)
    .slice(0, WORST);
  const shown: ShownLabel[] = [];
  for (const { row, position } of worst) {
    throwIfAborted(signal);
    shown.push(...(await showLabels(open, row, Uint32Array.of(position))));
  }
  return shown;
}

function recordedDivergence({ manifest }: LabelArchive): LabelDivergence | undefined {
  const found = manifest.result?.divergence as Partial<LabelDivergence> | undefined;
  const { kl, nmse, top1 } = found ?? {};
  if (typeof kl !== 'number' || typeof nmse !== 'number' || typeof top1 !== 'number') return;
  return { kl, nmse, top1 };
}
