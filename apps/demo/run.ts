import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted } from '#src/errors.js';
import type { MemoryImages } from '#src/images/memory.js';
import type { BackendName } from '#src/nn/backend/name.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { labelViews } from '#src/pipeline/label-views.js';
import { type PackResult, packLogits } from '#src/pipeline/pack.js';
import type { PackProgress } from '#src/pipeline/pack-options.js';
import type { SynthesisMethod } from '#src/synthesis/options.js';
import { type DemoReport, demoPage, type TransformReport } from '../report/demo-page.js';
import { type Distilled, distil } from './distilled.js';
import { type EmojiImages, loadEmoji } from './emoji.js';
import { labelExamples, SHOWN_TEMPERATURE } from './examples.js';
import {
  CODEC,
  DISTILLED_IPC,
  demoAugmentation,
  STORED_SIZE,
  STUDENT,
  TAU,
  TRANSFORM_RATIO,
} from './recipe.js';
import { runStudent, type StudentResult } from './students.js';
import { type DemoTeacher, demoTeacher, trainingSamples } from './teacher.js';

export interface DemoOptions {
  /** Folder for everything the demo installs and writes. */
  readonly dir: string;
  /** Seed of augmentations, codec and students. */
  readonly seed: number;
  readonly backend?: 'auto' | BackendName;
  /** Train the teacher instead of using the one that comes with softpack. */
  readonly trainTeacher?: boolean;
  /** Distil the images that students learn from by this method, instead of taking the designers' own. */
  readonly images?: SynthesisMethod;
  /** Train a third student, from an archive of the transform codec. */
  readonly transform?: boolean;
  readonly onProgress?: (progress: DemoProgress) => void;
  readonly signal?: AbortSignal;
}

/** Current step of the demo; `total` is 1 for steps without a measure. */
export type DemoProgress =
  | {
      readonly phase: 'install' | 'decode' | 'teacher' | 'distil' | 'label' | 'third';
      readonly done: number;
      readonly total: number;
      readonly note?: string;
    }
  | ({ readonly phase: 'pack' } & { readonly pack: PackProgress })
  | {
      readonly phase: 'students';
      readonly done: number;
      readonly total: number;
      readonly full: number;
      readonly archive: number;
    };

export interface DemoResult {
  readonly report: DemoReport;
  readonly reportFile: string;
  readonly pageFile: string;
}

/** The whole job on real images: label, pack, train from full labels and from the archive, compare. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { dir, seed, signal, onProgress } = options;
  await mkdir(dir, { recursive: true });
  const emoji = await loadEmoji({
    dir,
    size: STORED_SIZE,
    signal,
    onProgress: (step) =>
      onProgress?.(step.phase === 'install' ? { ...step, done: 0, total: 1 } : step),
  });
  // Installation is the network's time, not softpack's.
  const start = performance.now();
  const { name: backend } = await selectBackend({ backend: options.backend });
  const teacher = await demoTeacher({
    images: emoji,
    dir,
    train: options.trainTeacher ?? false,
    backend,
    signal,
    onProgress: ({ step, steps, loss }) =>
      onProgress?.({ phase: 'teacher', done: step, total: steps, note: `loss ${loss.toFixed(3)}` }),
  });
  const run = join(dir, `${options.images === undefined ? '' : `${options.images}-`}seed-${seed}`);
  const paths = {
    full: join(run, 'full'),
    archive: join(run, 'archive'),
    transform: join(run, 'transform'),
  };
  const distilled = await imagesFor(emoji, teacher, backend, options);
  const images = distilled?.images ?? trainingSamples(emoji);
  await label(emoji, images, teacher, backend, paths.full, options);
  const packed = await pack(paths, seed, options);
  throwIfAborted(signal);
  const students = await trainBoth(paths, distilled?.folder, backend, options);
  const third = options.transform
    ? await transformed(paths, distilled?.folder, backend, options)
    : undefined;
  const report: DemoReport = {
    classes: packed.classes,
    labels: packed.labels,
    bytes: packed.bytes,
    ratio: packed.ratio,
    kl: packed.divergence.kl,
    top1: { teacher: teacher.top1, full: students.full.top1, archive: students.archive.top1 },
    ...(options.images === undefined ? {} : { images: options.images }),
    ...(third && { transform: third }),
    seconds: (performance.now() - start) / 1000,
    seed,
    backend,
  };
  const reportFile = join(dir, 'report.json');
  const pageFile = join(dir, 'report.html');
  await writeFile(reportFile, `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(pageFile, await page(report, packed, students, emoji, images, paths));
  return { report, reportFile, pageFile };
}

async function imagesFor(
  emoji: EmojiImages,
  { file }: DemoTeacher,
  backend: BackendName,
  { dir, images: method, seed, signal, onProgress }: DemoOptions,
): Promise<Distilled | undefined> {
  if (method === undefined) return undefined;
  return distil({
    ...{ emoji, dir, method, teacher: file, ipc: DISTILLED_IPC, backend, seed, signal },
    onProgress: ({ done, total, step }) =>
      onProgress?.({
        phase: 'distil',
        done: step === undefined ? done : done + step.iteration / step.iterations,
        total,
      }),
  });
}

async function label(
  emoji: EmojiImages,
  images: MemoryImages,
  teacher: DemoTeacher,
  backend: BackendName,
  out: string,
  { seed, signal, onProgress }: DemoOptions,
): Promise<void> {
  // The run's own folder: another recipe may have left other archives there.
  await rm(out, { recursive: true, force: true });
  await labelViews({
    teacher: teacher.file,
    fingerprint: teacher.fingerprint,
    backend,
    images,
    augmentation: demoAugmentation(seed),
    epochs: Math.round((STUDENT.epochs * trainingSamples(emoji).count) / images.count),
    classes: emoji.classes.length,
    classNames: emoji.classes.map(({ name }) => name),
    tau: TAU,
    out,
    signal,
    onProgress: (done, total) => onProgress?.({ phase: 'label', done, total }),
  });
}

async function pack(
  paths: { readonly full: string; readonly archive: string },
  seed: number,
  { signal, onProgress }: DemoOptions,
): Promise<PackResult> {
  await rm(paths.archive, { recursive: true, force: true });
  return packLogits({
    source: paths.full,
    out: paths.archive,
    codec: { ratio: CODEC.ratio },
    training: { steps: CODEC.steps, seed },
    signal,
    onProgress: (progress) => onProgress?.({ phase: 'pack', pack: progress }),
  });
}

/** Both students at once: one core each on a machine of two. */
async function trainBoth(
  paths: { readonly full: string; readonly archive: string },
  distilled: string | undefined,
  backend: BackendName,
  { dir, seed, signal, onProgress }: DemoOptions,
): Promise<{ readonly full: StudentResult; readonly archive: StudentResult }> {
  const at = { full: { done: 0, loss: 0 }, archive: { done: 0, loss: 0 } };
  const student = (which: 'full' | 'archive') =>
    runStudent(
      { archive: paths[which], dir, size: STORED_SIZE, distilled, backend, seed },
      {
        signal,
        onProgress: (done, total, loss) => {
          at[which] = { done, loss };
          onProgress?.({
            phase: 'students',
            done: Math.min(at.full.done, at.archive.done),
            total,
            full: at.full.loss,
            archive: at.archive.loss,
          });
        },
      },
    );
  const [full, archive] = await Promise.all([student('full'), student('archive')]);
  return { full, archive };
}

/** Packs the labels once more, past the paper's ratios, and trains a student from them. */
async function transformed(
  paths: { readonly full: string; readonly transform: string },
  distilled: string | undefined,
  backend: BackendName,
  { dir, seed, signal, onProgress }: DemoOptions,
): Promise<TransformReport> {
  await rm(paths.transform, { recursive: true, force: true });
  const { bytes, ratio, divergence, epochs, storedEpochs } = await packLogits({
    source: paths.full,
    out: paths.transform,
    codec: { name: 'transform', totalRatio: TRANSFORM_RATIO },
    keep: 'auto',
    signal,
    onProgress: (progress) => onProgress?.({ phase: 'pack', pack: progress }),
  });
  const { top1 } = await runStudent(
    { archive: paths.transform, dir, size: STORED_SIZE, distilled, backend, seed },
    {
      signal,
      onProgress: (done, total, loss) =>
        onProgress?.({ phase: 'third', done, total, note: `KL ${loss.toPrecision(3)}` }),
    },
  );
  return { bytes, ratio, kl: divergence.kl, epochs, keep: storedEpochs, top1 };
}

async function page(
  report: DemoReport,
  packed: PackResult,
  students: { readonly full: StudentResult; readonly archive: StudentResult },
  emoji: EmojiImages,
  images: MemoryImages,
  paths: { readonly full: string; readonly archive: string },
): Promise<string> {
  const { dh, dc, k } = packed.codec.config;
  return demoPage({
    report,
    codec: `VQAE, dh ${dh}, dc ${dc}, k ${k}`,
    heldOut: `${emoji.sets[emoji.sets.length - 1]} (held out)`,
    examples: await labelExamples(emoji, images, paths),
    temperature: SHOWN_TEMPERATURE,
    codecCurve: (packed.training?.curve ?? []).map(({ reconstruction }) => reconstruction),
    studentCurves: { full: students.full.losses, archive: students.archive.losses },
  });
}
