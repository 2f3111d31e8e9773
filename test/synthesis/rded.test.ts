import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { imageFolder } from '#src/images/folder.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import type { SynthesiseOptions } from '#src/synthesis/options.js';
import { padPatch, stitch, toPixels } from '#src/synthesis/patches.js';
import { synthesise } from '#src/synthesis/synthesise.js';
import { classFolders } from '#src/synthesis/tree.js';
import { softpack } from '../cli/softpack.js';
import { temporaryDirectory } from '../temporary.js';
import { description, FOLDERS, PER_CLASS, teacher, writeClasses } from './classes.js';

const temporary = await temporaryDirectory();
const images = await writeClasses(temporary);

function distil(name: string, change: Partial<SynthesiseOptions> = {}) {
  const common = { method: 'rded', teacher, description, images, ipc: 2, batch: 20 } as const;
  return synthesise({ ...common, out: temporary.path(name), ...change });
}

/** Every file below a folder with its bytes. */
async function contentOf(name: string): Promise<ReadonlyMap<string, string>> {
  const root = temporary.path(name);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name: file }) => join(parentPath, file)).sort();
  const bytes = await Promise.all(paths.map((path) => readFile(path, 'base64')));
  return new Map(paths.map((path, i) => [path.slice(root.length + 1), bytes[i]]));
}

interface Recorded {
  readonly target: number;
  readonly index: number;
  readonly crossEntropy: number;
  readonly sources: readonly number[];
}

async function recordedOf(name: string): Promise<readonly Recorded[]> {
  const path = join(temporary.path(name), 'synthesis.json');
  return JSON.parse(await readFile(path, 'utf8')).images;
}

test('the images on disk are those the records tell of, in the order of the classes', async () => {
  const result = await distil('whole');
  expect(result).toMatchObject({ images: 10, classes: 5, jobs: 5, jobsDone: 5 });
  const folder = await imageFolder(temporary.path('whole'));
  expect(folder.classNames).toEqual(FOLDERS);
  expect([...(folder.targets ?? [])]).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
  expect(folder.skipped).toBeUndefined();
  using judge = await loadTeacher(teacher, { description });
  for (const { target, index, crossEntropy, sources } of await recordedOf('whole')) {
    const file = `class0000${target}_id0000${index}.png`;
    const data = await sharp(join(temporary.path('whole'), FOLDERS[target], file))
      .raw()
      .toBuffer();
    const values = Float32Array.from(
      data,
      (pixel, i) => (pixel / 255 - description.mean[i % 3]) / description.std[i % 3],
    );
    const logits = [...(await judge.logits(values))];
    const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
    expect(crossEntropy).toBeCloseTo(Math.log(sum) - logits[target], 4);
    expect(sources.map((image) => Math.floor(image / PER_CLASS))).toEqual([target]);
  }
});

test('the crops that are kept are those the teacher is surest of', async () => {
  await distil('all', { ipc: PER_CLASS });
  const all = await recordedOf('all');
  // At factor 1 a patch is the whole image, but for the truncation of its pixels.
  for (const [at, { target, crossEntropy }] of all.entries()) {
    if (at > 0 && all[at - 1].target === target) {
      expect(crossEntropy).toBeGreaterThan(all[at - 1].crossEntropy - 0.05);
    }
  }
  const best = all.filter(({ index }) => index < 2).map(({ sources }) => sources);
  await distil('best');
  expect((await recordedOf('best')).map(({ sources }) => sources)).toEqual(best);
});

test('a stopped or killed run goes on to the bytes of a whole one', async () => {
  const stop = new AbortController();
  const onProgress = ({ done }: { done: number }) => done === 2 && stop.abort();
  await expect(distil('resumed', { onProgress, signal: stop.signal })).rejects.toMatchObject({
    code: 'ABORTED',
  });
  const out = temporary.path('resumed');
  expect((await readdir(join(out, '.synthesis'))).length).toBe(3);
  // What a kill between two writes of a job leaves: one image without a record, a part of the next.
  await rm(join(out, '.synthesis', 'job-000001.json'));
  const part = join(out, 'bee', 'class00001_id00001.png');
  await writeFile(`${part}.tmp-0123456789abcdef`, (await readFile(part)).subarray(0, 40));
  await rm(part);
  await mkdir(join(out, '.synthesis', 'shard-0-of-1'));
  await distil('resumed');
  expect(await readdir(join(out, '.synthesis'))).not.toContain('shard-0-of-1');
  await distil('fresh');
  expect(await contentOf('resumed')).toEqual(await contentOf('fresh'));
});

test('shards in folders of their own, copied together, are one run', async () => {
  const shard = (index: number) => ({ shard: { index, count: 2 }, format: { jpeg: 75 } });
  expect(await distil('shard0', shard(0))).toMatchObject({ images: 6, jobsDone: 3 });
  await distil('shard1', shard(1));
  await cp(temporary.path('shard1'), temporary.path('shard0'), { recursive: true });
  await distil('shard0', { format: { jpeg: 75 } });
  await distil('jpeg', { format: { jpeg: 75 } });
  const content = await contentOf('jpeg');
  expect(await contentOf('shard0')).toEqual(content);
  expect([...content.keys()]).toContain('ant/class00000_id00001.jpg');
});

test('what cannot be made is refused with the numbers, before anything is written', async () => {
  const refusal = async (change: Partial<SynthesiseOptions>) => {
    const error = await distil('refused', change).catch((thrown: unknown) => thrown);
    await expect(readdir(temporary.path('refused'))).rejects.toThrow('ENOENT');
    return String(error);
  };
  expect(await refusal({ factor: 2 })).toMatch(/at least 8 crops.*4 in class 0/);
  expect(await refusal({ lr: 0.1 })).toMatch(/lr.*no such option.*sre2l, cda or lpld.*0\.1/);
  expect(await refusal({ method: 'cda', crops: 5 })).toMatch(/crops.*cda has.*method rded/);
  expect(await refusal({ ipc: 5 })).toMatch(/at least 5 crops.*too few in 5 classes/);
  expect(await refusal({ classes: [2, 9] })).toMatch(/classes\[1\].*from 3 to 5.*9/);
  const classNames = [...FOLDERS.slice(0, 4), 'fox'];
  const other = { description: { ...description, classNames } };
  await cp(images, temporary.path('six'), { recursive: true });
  await cp(join(images, 'ant'), join(temporary.path('six'), 'yak'), { recursive: true });
  const six = { images: temporary.path('six') };
  expect(await refusal({ ...other, ...six })).toMatch(/2 of 6 folders.*the first elk/);
  await rm(join(temporary.path('six'), 'yak'), { recursive: true });
  await rm(join(temporary.path('six'), 'elk'), { recursive: true });
  expect(await refusal({ ...other, ...six })).toMatch(/class without images.*0 in class 4/);
  await expect(distil('images')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
});

test('a folder of other settings or other content is left alone', async () => {
  await distil('taken', { ipc: 1 });
  const before = await contentOf('taken');
  await expect(distil('taken', { ipc: 2 })).rejects.toMatchObject({
    code: 'ALREADY_EXISTS',
    field: expect.stringContaining('ipc'),
  });
  expect(await contentOf('taken')).toEqual(before);
  await mkdir(temporary.path('other'));
  await temporary.file('other/notes.txt', 'mine');
  await expect(distil('other')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
});

test('a grid of four crops has them row by row, each from a draw of its own', async () => {
  await distil('grid', { ipc: 1, factor: 2, draws: 2, classes: [1, 3] });
  const made = await recordedOf('grid');
  expect(made.map(({ target, sources }) => [target, sources.length])).toEqual([
    [1, 4],
    [2, 4],
  ]);
  const cell = (value: number) => new Uint8Array(2 * 2 * 3).fill(value);
  const stitched = stitch([1, 2, 3, 4].map(cell), [2, 2], 2, [4, 5]);
  const red = Array.from({ length: 20 }, (_, i) => stitched[3 * i]);
  // Column x of 5 shows column floor(4 x / 5) of the grid: 0 0 1 2 3.
  expect(red).toEqual([1, 1, 1, 2, 2, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 3, 3, 3, 4, 4]);
});

test('padding is the mean colour, and exact pixels survive normalisation', () => {
  const padded = padPatch(new Float32Array(12).fill(7), [2, 2], [4, 5]);
  const ones = [...padded.keys()].filter((i) => padded[i] === 7);
  const expected = [6, 7, 11, 12].flatMap((at) => [3 * at, 3 * at + 1, 3 * at + 2]);
  expect(ones).toEqual(expected);
  const pixels = Uint8Array.from({ length: 768 }, (_, i) => i / 3);
  const { mean, std } = description;
  const values = Float32Array.from(pixels, (x, i) => (x / 255 - mean[i % 3]) / std[i % 3]);
  expect(toPixels(values, description)).toEqual(pixels);
});

test('folders keep the names of classes if these are in order, and get numbers if not', () => {
  const names = (...given: string[]) => [...classFolders(given, [0, given.length]).values()];
  expect(names('ant', 'bee')).toEqual(['ant', 'bee']);
  expect(names('bee', 'ant')).toEqual(['00000_bee', '00001_ant']);
  expect(names('a/../b', '.c')).toEqual(['00000_a-b', '00001_c']);
  expect(names('A', 'a')).toEqual(['00000_A', '00001_a']);
  expect([...classFolders(undefined, [3, 5])]).toEqual([
    [3, '00003'],
    [4, '00004'],
  ]);
});

test('the command makes the same, and refuses what it cannot read', async () => {
  const file = await temporary.file('teacher.json', JSON.stringify(description));
  const out = temporary.path('command');
  const args = [
    'synthesise',
    '--teacher',
    teacher,
    '--description',
    file,
    '-i',
    images,
    '-b',
    '20',
  ];
  const made = await softpack([...args, '--ipc', '2', '-o', out, '--json']);
  expect(made.code, made.err).toBe(0);
  expect(JSON.parse(made.out)).toMatchObject({ images: 10, jobsDone: 5 });
  await distil('function');
  expect(await contentOf('command')).toEqual(await contentOf('function'));
  const again = await softpack([...args, '--ipc', '2', '-o', out]);
  expect(again.out).toMatch(/10 images of 5 classes/);
  expect((await softpack([...args, '--ipc', '2', '-o', out, '--shard', '2/2'])).code).toBe(2);
  expect((await softpack([...args, '--ipc', '9', '-o', temporary.path('no')])).code).toBe(2);
});
