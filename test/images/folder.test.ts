import { execFileSync } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compareCodePoints } from '#src/core/code-points.js';
import { imageFolder } from '#src/images/folder.js';
import { imageList } from '#src/images/image-list.js';
import { openImages } from '#src/images/open.js';
import type { ImageSource } from '#src/images/source.js';
import { textAt } from '#src/images/text-table.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();

/** Empty files will do: listing opens none with an image's name. */
async function tree(root: string, files: readonly string[]): Promise<string> {
  const folder = temporary.path(root);
  for (const name of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    if (name.endsWith('/')) await mkdir(join(folder, name), { recursive: true });
    else await writeFile(join(folder, name), '');
  }
  return folder;
}

function samplesOf({ description, targets }: ImageSource) {
  if (description.kind !== 'files') throw new Error(description.kind);
  const { names } = description;
  return Array.from({ length: names.count }, (_, i) => [textAt(names, i), targets?.[i]]);
}

/** Result of torchvision's rule, by Python; undefined without Python. */
function torchvision(root: string) {
  const script = fileURLToPath(new URL('image-folder.py', import.meta.url));
  try {
    return JSON.parse(execFileSync('python3', [script, root], { encoding: 'utf8' }));
  } catch (error) {
    if ((error as { readonly code?: string }).code !== 'ENOENT') throw error;
    console.log('not compared with the rule in Python: no python3 here');
    return undefined;
  }
}

const CLASSES = [
  ...['cat/b.JPG', 'cat/a.jpeg', 'cat/a b.PNG', 'cat/a-b.png', 'cat/z.ppm', 'cat/z.BMP'],
  ...['cat/x.pgm', 'cat/x.tif', 'cat/x.TIFF', 'cat/x.webp', 'cat/notes.txt', 'cat/.hidden.jpg'],
  ...['cat/deep/a.png', 'cat/deep-er/a.png', 'cat/deep/er/a.png', 'cat/deep er/a.png'],
  ...['cat/Deep/a.png', 'cat/.hid/a.png', 'cat-2/a.png', 'cat 2/a.png', 'Cat/a.png', 'zebra/a.png'],
  // Beyond the basic plane, and below it but above the surrogates.
  ...['\u{1f431}/a.png', '\ufb01sh/a.png', 'dog/\u{1f436}.png', 'dog/\uff21.png', 'dog/é.png'],
];

describe('a folder', () => {
  test('is listed as torchvision lists it', async () => {
    const root = await tree('classes', CLASSES);
    await symlink(join(root, 'dog'), join(root, 'wolf'));
    await symlink(join(root, 'cat/b.JPG'), join(root, 'zebra/linked.jpg'));
    await symlink('../cat/deep', join(root, 'zebra/linked'));
    const source = await imageFolder(root);
    expect(source.classNames).toEqual([
      ...['Cat', 'cat', 'cat 2', 'cat-2', 'dog', 'wolf', 'zebra', '\ufb01sh', '\u{1f431}'],
    ]);
    expect(samplesOf(source).slice(0, 4)).toEqual([
      ['Cat/a.png', 0],
      ['cat/.hidden.jpg', 1],
      ['cat/a b.PNG', 1],
      ['cat/a-b.png', 1],
    ]);
    expect(source).not.toHaveProperty('skipped');
    const oracle = torchvision(root);
    if (oracle === undefined) return;
    expect(source.classNames).toEqual(oracle.classes);
    expect(samplesOf(source)).toEqual(oracle.samples);
  });

  test('takes further formats that are read here', async () => {
    const root = await tree('further', ['a/1.jfif', 'a/2.jpe', 'a/3.GIF', 'a/4.avif']);
    expect((await imageFolder(root)).count).toBe(4);
  });

  test('counts what looks like an image and is not read, by name', async () => {
    const root = await tree('skipped', [
      ...['a/1.png', 'a/2.heic', 'a/3.svg', 'a/4.png.part', 'a/5.jpg~', 'a/6.txt', 'a/7.png.txt'],
      ...['__MACOSX/a/8.png', '.thumbs/9.jpg', 'a/@eaDir/10.jpg', '.cache/index'],
    ]);
    await writeFile(join(root, 'a/11'), Buffer.from('ffd8ffe0', 'hex'));
    await writeFile(join(root, 'a/._12.png'), Buffer.from('0005160700020000', 'hex'));
    await writeFile(join(root, 'a/README'), 'not an image');
    execFileSync('mkfifo', [join(root, 'a/13.png')]);
    const source = await openImages(root);
    expect(source.classNames).toEqual(['a']);
    expect(samplesOf(source)).toEqual([['a/1.png', 0]]);
    expect(source.skipped?.count).toBe(10);
    const names = source.skipped?.examples.join('\n') ?? '';
    for (const name of ['2.heic', '3.svg', '4.png.part', '5.jpg~', '._12.png', 'a/11', '13.png']) {
      expect(names).toContain(name);
    }
    for (const name of ['8.png', '9.jpg', '10.jpg']) expect(names).toContain(name);
  });

  test('without classes leaves hidden files out, and says so', async () => {
    const source = await imageFolder(await tree('flat', ['b.png', 'a.png', '.c.png', 'other/']));
    expect(samplesOf(source)).toEqual([
      ['a.png', undefined],
      ['b.png', undefined],
    ]);
    expect(source.skipped).toEqual({ count: 1, examples: [temporary.path('flat/.c.png')] });
  });

  test.each([
    ['an empty folder', ['cat/a.png', 'dog/'], 'dog'],
    ['a folder of annotations', ['cat/a.png', 'annotations/a.xml'], 'annotations'],
    ['a folder of a run', ['cat/a.png', 'runs/1/events.out'], 'runs'],
    ['labels that were written next to them', ['cat/a.png', 'labels/manifest.json'], 'labels'],
    ['a class of images that are not read', ['cat/a.png', 'dog/a.heic'], 'dog'],
    ['folders that hold none', ['cat/a.txt'], ''],
  ])('is refused with %s, by path', async (name, files, path) => {
    const root = await tree(`refused ${name}`, files);
    await expect(imageFolder(root)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(join(root, path)),
    });
  });

  test.each([
    ['two', ['train/a/1.png', 'val/a/1.png'], 'train or val'],
    ['two and another folder', ['train/a/1.png', 'val/a/1.png', 'runs/x'], 'train or val'],
    ['other capitals', ['Train/a/1.png', 'TEST/a/1.png', 'x/1.png'], 'TEST or Train'],
    ['other words', ['training/a/1.png', 'validation/a/1.png'], 'training or validation'],
    ['years', ['train2017/1.png', 'val2017/1.png', 'annotations/x'], 'train2017 or val2017'],
    ['one alone', ['train/a/1.png'], 'train'],
    ['one next to a class', ['train/a/1.png', 'x/1.png'], 'train'],
    ['words after them', ['train_images/a/1.png', 'x/1.png'], 'train_images'],
    ['images without classes', ['train/1.png', 'test/1.png'], 'test or train'],
    ['below another folder', ['data/train/a/1.png', 'data/val/a/1.png'], 'train or val'],
    ['two levels down', ['Data/CLS-LOC/train/a/1.png', 'Data/CLS-LOC/val/1.png'], 'train or val'],
  ])('of splits is refused: %s', async (name, files, expected) => {
    const root = await tree(`splits ${name}`, files);
    await expect(imageFolder(root)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'split',
      expected,
      found: expect.stringContaining(root),
    });
  });

  test('may have a class called train, or test tube', async () => {
    const files = [
      'bus/1.png',
      'train/1.png',
      'test_tube/1.png',
      'trainer/1.png',
      'valley/x/1.png',
    ];
    const { classNames } = await imageFolder(await tree('vehicles', files));
    expect(classNames).toEqual(['bus', 'test_tube', 'train', 'trainer', 'valley']);
  });
});

describe('links', () => {
  const linked = async (name: string, links: Readonly<Record<string, string>>) => {
    const root = await tree(name, ['cat/a.png', 'cat/deep/b.png']);
    for (const [path, target] of Object.entries(links)) await symlink(target, join(root, path));
    return root;
  };

  test.each([
    ['to nothing', { 'cat/c.png': 'nowhere.png' }, 'cat/c.png'],
    ['to nothing, as a class', { dog: '/nowhere' }, 'dog'],
    ['to the folder above', { 'cat/up': '..' }, 'cat/up'],
    ['to the own folder', { 'cat/deep/again': '.' }, 'cat/deep/again'],
    ['to the class', { 'cat/deep/up': '../../cat' }, 'cat/deep/up'],
    ['to each other', { 'cat/x': 'y', 'cat/y': 'x' }, 'cat/x'],
    ['two to the folder above', { 'cat/up': '..', 'cat/up2': '..' }, 'cat/up'],
  ])('%s are refused, by path', async (name, links, path) => {
    const root = await linked(`links ${name}`, links);
    const field = expect.stringContaining(join(root, path).slice(0, -1));
    await expect(imageFolder(root)).rejects.toMatchObject({
      code: expect.stringMatching(/^INVALID_(FILE|ARGUMENT)$/),
      field,
    });
  });

  test('that fan out are refused before they are followed a million times', async () => {
    const root = await tree('fan', ['a/1/x.png']);
    for (let level = 2; level <= 30; level++) {
      await mkdir(join(root, `a/${level}`));
      for (const side of ['l', 'r']) {
        await symlink(`../${level - 1}`, join(root, `a/${level}/${side}`));
      }
    }
    await expect(imageFolder(root)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(join(root, 'a')),
    });
  });

  test('of editors are passed over', async () => {
    const root = await linked('locks', { 'cat/.#a.png': 'me@host.123' });
    expect((await imageFolder(root)).count).toBe(2);
  });
});

test('a file name that is not UTF-8 is refused, by path', async () => {
  const root = await tree('latin1', ['cat/a.png']);
  await writeFile(Buffer.from(`${root}/cat/caf\xe9.png`, 'latin1'), '');
  await expect(imageFolder(root)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: expect.stringContaining('caf'),
  });
});

describe('a list', () => {
  const list = async (text: string | Uint8Array) =>
    imageList(await temporary.file('list.txt', text));

  test('may begin with a byte-order mark, name absolute paths, and number classes after a tab', async () => {
    const source = await list('\ufeffa.png 3\n/b.bmp 4294967294\n');
    expect(samplesOf(source)).toEqual([
      ['a.png', 3],
      ['/b.bmp', 4294967294],
    ]);
    const numbered = await list('a.png\t10\nb.png\t2\n');
    expect(numbered).not.toHaveProperty('classNames');
    expect([...(numbered.targets ?? [])]).toEqual([10, 2]);
  });

  test('numbers classes in the order of code points', async () => {
    const { classNames } = await list('a.png\t\u{1f431}\nb.png\t\uff21\nc.png\tz\n');
    expect(classNames).toEqual(['z', '\uff21', '\u{1f431}']);
  });

  test.each([
    ['a class index of 33 bits', 'a.png 4294967297\n', 'line 1'],
    ['the index that means no class', 'a.png 1\nb.png 4294967295\n', 'line 2'],
    ['a class index of 60 digits', `a.png ${'9'.repeat(60)}\n`, 'line 1'],
    ['the same after a tab', 'a.png\t4294967297\n', 'line 1'],
    ['UTF-16', Buffer.from('\ufeffa.png\n', 'utf16le'), 'list.txt'],
    ['Latin-1', Buffer.from('caf\xe9.png\n', 'latin1'), 'list.txt'],
  ])('is refused: %s', async (_, text, field) => {
    await expect(list(text)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(field),
    });
  });

  test('that is a pipe or a folder is refused without waiting for it', async () => {
    execFileSync('mkfifo', [temporary.path('pipe.txt')]);
    await expect(openImages(temporary.path('pipe.txt'))).rejects.toMatchObject({
      code: 'INVALID_FILE',
    });
  });
});

test('code points are in order where UTF-16 units are not', async () => {
  const texts = ['', 'a', 'aa', 'b', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'];
  expect([...texts].reverse().sort(compareCodePoints)).toEqual(texts);
  expect(compareCodePoints('x', 'x')).toBe(0);
});

test('an image in place of a list of images is told apart from a damaged list', async () => {
  const file = await temporary.file('one.PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47));
  await expect(imageList(file)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    expected: 'a folder of images, or a text file that lists them',
  });
});
