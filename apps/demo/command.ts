import { type Command, Option } from 'commander';
import { type CliIo, print } from '#src/cli/io.js';
import { nonNegativeInteger } from '#src/cli/options.js';
import { packProgress } from '#src/cli/pack.js';
import { phaseProgress, seconds } from '#src/cli/progress.js';
import { formatBytes } from '#src/core/format.js';
import { SYNTHESIS_METHODS, type SynthesisMethod } from '#src/synthesis/options.js';
import type { DemoReport, TransformReport } from '../report/demo-page.js';
import type { DemoProgress } from './run.js';

interface DemoFlags {
  readonly dir: string;
  readonly seed: number;
  readonly backend: 'auto' | 'tensorflow' | 'wasm';
  readonly trainTeacher?: boolean;
  readonly images?: SynthesisMethod;
  readonly transform?: boolean;
}

export function addDemo(program: Command, io: CliIo): void {
  program
    .command('demo')
    .description(
      'Compress the soft labels of real images at 40x and train students with and without compression.',
    )
    .option('-d, --dir <dir>', 'where images, archives and reports go', 'softpack-demo')
    .option('--seed <n>', 'of augmentations, codec and students', nonNegativeInteger, 0)
    .addOption(
      new Option('--backend <name>', 'of TensorFlow.js')
        .choices(['auto', 'tensorflow', 'wasm'])
        .default('auto'),
    )
    .option('--train-teacher', 'train the teacher here instead of using the one that comes along')
    .addOption(
      new Option(
        '-i, --images <method>',
        'distil the images by this method first, instead of taking the real ones',
      ).choices(SYNTHESIS_METHODS),
    )
    .option(
      '--transform',
      'train a third student, from labels that the transform codec makes 400 times smaller',
    )
    .action(async (flags: DemoFlags) => {
      // TensorFlow.js takes seconds to load: only for the commands that use it.
      const { runDemo } = await import('./run.js');
      const { report, pageFile, reportFile } = await runDemo({
        ...flags,
        onProgress: demoProgress(io),
        signal: io.signal,
      });
      print(io, `${table(report)}\n\n${pageFile}\n${reportFile}`);
    });
}

function demoProgress(io: CliIo): (progress: DemoProgress) => void {
  const names = {
    install: 'installing images (npm)',
    decode: 'decoding images',
    teacher: 'training the teacher',
    distil: 'distilling images',
    label: "the teacher's labels",
    students: 'two students',
    third: 'a third student',
  };
  const show = phaseProgress(names, io.stderr);
  const onPack = packProgress(io);
  return (progress) => {
    if (progress.phase === 'pack') return onPack(progress.pack);
    const { phase, done, total } = progress;
    const note =
      progress.phase === 'students'
        ? `KL full ${progress.full.toPrecision(3)}, archive ${progress.archive.toPrecision(3)}`
        : progress.note;
    show(phase, done, total, note);
  };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function table({
  classes,
  labels,
  bytes,
  ratio,
  kl,
  top1,
  seconds: took,
  seed,
  backend,
  images,
  transform,
}: DemoReport) {
  const rows: readonly (readonly [string, string])[] = [
    ['images', images === undefined ? "three designers' own" : `distilled by ${images}`],
    ['labels', `${labels} of ${classes} classes, ${formatBytes(2 * labels * classes)} as float16`],
    ['codes', formatBytes(bytes.codes)],
    ['codec', formatBytes(bytes.codec)],
    ['metadata', formatBytes(bytes.metadata)],
    ['container', formatBytes(bytes.container)],
    ['total on disk', formatBytes(bytes.total)],
    ['ratio, codes', `${ratio.codes.toFixed(1)}x`],
    ['ratio, total', `${ratio.total.toFixed(1)}x`],
    ['label KL', `${kl.toExponential(2)} nats`],
    ['top-1 teacher', percent(top1.teacher)],
    ['top-1 full labels', percent(top1.full)],
    ['top-1 archive', percent(top1.archive)],
    ...(transform === undefined ? [] : transformRows(transform)),
    ['time', `${seconds(took)}, seed ${seed}, backend ${backend}`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(20)}${value}`).join('\n');
}

function transformRows({ bytes, ratio, kl, keep, epochs, top1 }: TransformReport) {
  const size = `${formatBytes(bytes.total)} in total, ${ratio.total.toFixed(1)}x`;
  return [
    ['transform', `${size}, ${keep} of ${epochs} epochs, KL ${kl.toExponential(2)} nats`],
    ['top-1 transform', percent(top1)],
  ] as const;
}
