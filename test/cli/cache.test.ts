import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { type Run, softpack } from './softpack.js';

const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
const temporary = await temporaryDirectory();
const images = temporary.path('my images');
for (let i = 0; i < 6; i++) await writeImage(images, `${i}.png`, i, [10, 12]);

function cache(out: string, ...args: readonly string[]): Promise<Run> {
  const required = ['--teacher', teacher, '--images', images, '--epochs', '2', '--out', out];
  return softpack(['cache', ...required, ...args]);
}

describe('softpack cache', () => {
  test('keeps labels of a folder, as its options say', async () => {
    const out = temporary.path('labels');
    const names = await temporary.file('names.txt', 'ant\nbee\ncat\ndog\nelk\n');
    const views = ['--seed', '7', '--min-crop', '0.5', '--flip', '0', '--cutmix', '0'];
    const run = await cache(out, '--preprocessing', 'tf', '--class-names', names, ...views);
    expect(run).toMatchObject({ code: 0 });
    expect(run.out).toContain('12 labels (2 epochs x 6 images) of 5 classes');
    expect(run.out).toContain('softpack pack');
    await using archive = await openArchive(out);
    expect(archive.manifest).toMatchObject({
      codec: { name: 'none' },
      classNames: ['ant', 'bee', 'cat', 'dog', 'elk'],
      augmentation: {
        ...{ seed: 7, size: [8, 8], crop: { scale: [0.5, 1] } },
        ...{ flip: 0, mix: { kind: 'none' } },
      },
      teacher: { kind: 'onnx', preprocessing: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } },
      images: { count: 6, fit: { kind: 'short-side', pixels: 16 } },
    });
  });

  test('compresses them, with a description from a file', async () => {
    const file = await temporary.file('d.json', JSON.stringify({ preprocessing: 'torch' }));
    const out = temporary.path('small');
    const size = ['--codec', 'topk', '--k', '2'];
    const run = await cache(out, '--description', file, ...size, '--short-side', '9', '--json');
    expect(run).toMatchObject({ code: 0 });
    const result = JSON.parse(run.out);
    expect(result).toMatchObject({ labels: 12, made: 12, packed: { codec: { name: 'topk' } } });
    expect(existsSync(`${out}.softpack-tmp`)).toBe(false);
    const manifest = JSON.parse(await readFile(`${out}/manifest.json`, 'utf8'));
    expect(manifest.images.fit).toEqual({ kind: 'short-side', pixels: 9 });
    expect(manifest.teacher.preprocessing.mean).toEqual([0.485, 0.456, 0.406]);
    // Teachers of torchvision were trained on PIL's pixels; older readers must not render others.
    expect(manifest.augmentation).toMatchObject({ resample: 'antialias', round: 'u8' });
    expect(manifest.features.required).toEqual(['rendering']);
  });

  test('resizes as asked for, whatever the teacher was trained on', async () => {
    const out = temporary.path('rendering');
    const views = ['--resample', 'bilinear', '--round', 'none'];
    expect(await cache(out, '--preprocessing', 'torch', ...views)).toMatchObject({ code: 0 });
    const manifest = JSON.parse(await readFile(`${out}/manifest.json`, 'utf8'));
    expect(Object.keys(manifest.augmentation)).not.toContain('resample');
    expect(Object.keys(manifest.augmentation)).not.toContain('round');
    expect(manifest.features.required).toEqual([]);
  });

  test.each([
    ['no preprocessing', [], 2, 'teacher.json'],
    ['an unknown one', ['--preprocessing', 'vgg'], 2, '--preprocessing'],
    ['an unknown filter', ['--resample', 'bicubic'], 2, '--resample'],
    ['a share above 1', ['--flip', '2'], 2, '--flip'],
    ['no such description', ['--description', 'none.json'], 1, 'NOT_FOUND'],
    ['a description that is none', ['--description', 'list.json'], 1, 'INVALID_FILE'],
    ['a grid of full labels', ['--preprocessing', 'tf', '--grid', '1x8'], 2, 'grid'],
    [
      'a grid that cuts bytes',
      ['--preprocessing', 'tf', '--codec', 'topk', '--k', '2', '--grid', '1x3'],
      2,
      'grid.samples',
    ],
    ['half a codec', ['--preprocessing', 'tf', '--dh', '4'], 2, '--ratio'],
  ] as const)('refuses %s', async (name, args, code, words) => {
    await writeFile(temporary.path('list.json'), '[1]');
    const paths = args.map((arg) => (arg === 'list.json' ? temporary.path(arg) : arg));
    const out = temporary.path(`refused ${name}`);
    const run = await cache(out, ...paths);
    expect(run).toMatchObject({ code, out: '' });
    expect(run.err).toContain(words);
    expect(existsSync(out)).toBe(false);
  });
});

describe('the steps of softpack cache for many machines', () => {
  const job = temporary.path('job');
  const step = (name: string, ...args: readonly string[]) =>
    softpack(['cache', name, job, ...args]);
  const views = ['--preprocessing', 'tf', '--codec', 'topk', '--k', '2', '--grid', '1x8'];

  test('make an archive, each told what is missing', async () => {
    const what = ['--teacher', teacher, '--images', images, '--epochs', '3'];
    expect(await step('plan', ...what, ...views)).toMatchObject({ code: 0 });
    const early = await step('run');
    expect(early).toMatchObject({ code: 1 });
    expect(early.err).toContain('softpack cache codec');
    expect(await step('codec', '-w', '1')).toMatchObject({ code: 0 });
    expect(await step('missing')).toMatchObject({ code: 1, out: '0-2\n' });
    const one = await step('run', '-w', '1', '--shard', '1/3');
    expect(one).toMatchObject({ code: 0, out: '1 shards made, 0 verified, 0 were there\n' });
    expect(await step('missing')).toMatchObject({ code: 1, out: '0,2\n' });
    const unfinished = await step('finalize');
    expect(unfinished).toMatchObject({ code: 1 });
    expect(unfinished.err).toContain('without 0,2');
    expect(await step('run', '-w', '1')).toMatchObject({ code: 0 });
    expect(await step('missing')).toMatchObject({ code: 0, out: '' });
    expect(await step('finalize', '--verify')).toMatchObject({ code: 0 });
    const { out } = await step('status', '--json');
    expect(JSON.parse(out)).toMatchObject({ finished: true, labels: { total: 18, done: 18 } });
    await using archive = await openArchive(job);
    expect(archive.manifest).toMatchObject({ epochs: 3, grid: { epochs: 1, samples: 8 } });
  });

  test.each([
    ['plan', [], '--teacher'],
    ['plan', ['--for', 'slurm', '--json'], '--json'],
    ['run', ['--shard', '3/3'], '--shard'],
    ['run', ['--shard', '1'], '--shard'],
  ] as const)('%s %s is refused', async (name, args, words) => {
    const run = await step(name, ...args);
    expect(run).toMatchObject({ code: 2, out: '' });
    expect(run.err).toContain(words);
  });
});
