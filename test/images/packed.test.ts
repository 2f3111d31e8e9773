import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { imagesFingerprint, mayBeSameImages } from '#src/images/fingerprint.js';
import { imageFolder } from '#src/images/folder.js';
import { imageList } from '#src/images/image-list.js';
import { memoryImages } from '#src/images/memory.js';
import { isPacked, openImages } from '#src/images/open.js';
import { requireOutside } from '#src/images/outside.js';
import { makeImagesManifest, parseImagesManifest } from '#src/images/packed/manifest.js';
import { type PackImagesOptions, packImages } from '#src/images/packed/pack.js';
import { openImageReader } from '#src/images/reader.js';
import { temporaryDirectory } from '../temporary.js';
import { writeImage } from './fixture.js';

const temporary = await temporaryDirectory();
const root = temporary.path('folder');
for (const [i, name] of ['a/1.png', 'a/2.png', 'b/1.png', 'b/2.png'].entries()) {
  await writeImage(root, name, i, [8, 9]);
}
const images = await imageFolder(root);
/** Shards of one image each. */
const pack = (name: string, change: Partial<PackImagesOptions> = {}) =>
  packImages({ images, out: temporary.path(name), shardBytes: 1, ...change });
const contents = async (name: string) => {
  const folder = temporary.path(name);
  const names = (await readdir(folder)).sort();
  return Promise.all(names.map(async (file) => [file, await readFile(join(folder, file), 'hex')]));
};
/** A run that ends after this many images. */
const interrupt = async (name: string, after: number, change: Partial<PackImagesOptions> = {}) => {
  const stop = new AbortController();
  const onProgress = (done: number) => done === after && stop.abort();
  const run = pack(name, { ...change, onProgress, signal: stop.signal });
  await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
};

await pack('whole');
const whole = await contents('whole');

describe('a folder of something else is left as it is', () => {
  test.each([
    ['a photo called like a shard', 'images-00000.safetensors'],
    ['a folder called like one', 'images-00000.safetensors/photo.jpg'],
    ['photos', 'images-of-my-cat.jpg'],
    ['photos after an interrupted run', 'images-1.png'],
    ['a manifest', 'manifest.json'],
    ['a hidden file', '.git'],
    ['a temporary file of another program', 'images-00000.safetensors.tmp-1'],
    ['the remains of another program', 'images-00000.safetensors.partial'],
  ])('%s', async (name, file) => {
    if (name.includes('interrupted')) await interrupt(name, 2);
    const path = join(temporary.path(name), file);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, 'mine');
    const before = await readdir(temporary.path(name));
    await expect(pack(name)).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      field: temporary.path(name),
    });
    expect(await readFile(path, 'utf8')).toBe('mine');
    expect(await readdir(temporary.path(name))).toEqual(before);
  });

  test('a link to a shard of another pack', async () => {
    await mkdir(temporary.path('linked'));
    const target = join(temporary.path('whole'), 'images-00000.safetensors');
    await symlink(target, join(temporary.path('linked'), 'images-00000.safetensors'));
    await expect(pack('linked')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await contents('whole')).toEqual(whole);
  });
});

describe('an interrupted run', () => {
  test('is resumed to equal bytes, and what it was writing is removed', async () => {
    await interrupt('resumed', 2);
    const folder = temporary.path('resumed');
    for (const name of ['images-00002.safetensors', 'manifest.json', 'writer.lock']) {
      await writeFile(join(folder, `${name}.tmp-0123456789abcdef`), 'half');
    }
    await pack('resumed');
    expect(await contents('resumed')).toEqual(whole);
  });

  test('keeps its shards only if the images are the same', async () => {
    const changed = temporary.path('changed');
    const write = async (seed: number) => {
      for (const [i, name] of ['a/1.png', 'a/2.png'].entries()) {
        await writeImage(changed, name, seed + i, [8, 9]);
      }
      return imageFolder(changed);
    };
    await interrupt('mixed', 1, { images: await write(1) });
    await pack('mixed', { images: await write(5) });
    await pack('unmixed', { images: await write(5) });
    expect(await contents('mixed')).toEqual(await contents('unmixed'));
  });

  test('of other classes is not taken for this one', async () => {
    const list = async (classes: string) =>
      imageList(await temporary.file('classes.txt', classes), { root });
    await interrupt('classes', 1, { images: await list('a/1.png 0\na/2.png 1\n') });
    await pack('classes', { images: await list('a/1.png 3\na/2.png 1\n') });
    expect([...((await openImages(temporary.path('classes'))).targets ?? [])]).toEqual([3, 1]);
  });

  test('killed after its manifest is cleaned up by the same run, and by no other', async () => {
    await pack('late');
    const folder = temporary.path('late');
    await writeFile(join(folder, 'manifest.json.tmp-0123456789abcdef'), 'half');
    const dead = { pid: 2 ** 22 + 1, host: hostname(), started: '1' };
    const leave = () => writeFile(join(folder, 'writer.lock'), JSON.stringify(dead));
    await leave();
    await expect(pack('late', { quality: 50 })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect((await pack('late')).id).toBe(images.id);
    expect(await contents('late')).toEqual(whole);
  });

  test('that is finished is a result for the same run, if that is asked for', async () => {
    const first = await pack('again');
    expect(await pack('again', { acceptFinished: true })).toEqual(first);
    const other = pack('again', { acceptFinished: true, encoding: 'jpeg' });
    await expect(other).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await writeFile(join(temporary.path('again'), 'notes.txt'), 'mine');
    expect(await pack('again', { acceptFinished: true })).toEqual(first);
    expect(await readdir(temporary.path('again'))).toContain('notes.txt');
  });

  test('killed by the system at any time is resumed to equal bytes', async () => {
    const url = (path: string) => new URL(`../../dist/images/${path}`, import.meta.url).href;
    const code = `
      const { imageFolder } = await import(${JSON.stringify(url('folder.js'))});
      const { packImages } = await import(${JSON.stringify(url('packed/pack.js'))});
      const images = await imageFolder(process.argv[1]);
      await packImages({ images, out: process.argv[2], shardBytes: 1,
        onProgress: (done) => done === 3 && process.kill(process.pid, 'SIGKILL') });`;
    const out = temporary.path('killed');
    const args = ['--input-type=module', '-e', code, root, out];
    const child = spawn(process.execPath, args, { stdio: 'inherit' });
    const signal = await new Promise((resolve) => child.on('exit', (_, name) => resolve(name)));
    expect(signal).toBe('SIGKILL');
    expect(await readdir(out)).toContain('writer.lock');
    await expect(openImages(out)).rejects.toMatchObject({ code: 'INCOMPLETE' });
    await pack('killed');
    expect(await contents('killed')).toEqual(whole);
  });
});

test.each([
  ['quality', { quality: 101 }],
  ['quality', { quality: 0 }],
  ['concurrency', { concurrency: 0 }],
  ['concurrency', { concurrency: Number.NaN }],
  ['shardBytes', { shardBytes: 2 ** 31 }],
  ['encoding', { encoding: 'png' as 'raw' }],
])('a wrong %s is refused before anything is written', async (field, change) => {
  await expect(pack('wrong', change)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field });
  await expect(readdir(temporary.path('wrong'))).rejects.toThrow();
});

test.each([
  ['fit.pixels', { kind: 'short-side', pixels: 0 }],
  ['fit.size', { kind: 'exact', size: [65_536, 1] }],
  ['fit.size', { kind: 'exact', size: [60_000, 60_000] }],
  ['fit.size', { kind: 'exact', size: [3] as unknown as [number, number] }],
  ['fit.kind', { kind: 'longest' as 'exact', size: [1, 1] }],
] as const)('a wrong %s is refused where it is given', async (field, fit) => {
  await expect(imageFolder(root, { fit })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field,
  });
});

test('sides of images in memory must be sides', () => {
  for (const sides of [
    [0, 2],
    [-1, 2],
    [2, Number.NaN],
    [2, 0.5],
  ]) {
    const call = () => memoryImages(new Uint8Array(12), sides[0], sides[1]);
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  }
});

test('a second writer is told who writes', async () => {
  let second: Promise<unknown> | undefined;
  const onProgress = () => {
    second ??= expect(pack('both')).rejects.toMatchObject({ code: 'LOCKED' });
  };
  await pack('both', { onProgress });
  expect(second).toBeDefined();
  await second;
  expect(await contents('both')).toEqual(whole);
});

describe('an output folder inside the images', () => {
  test.each(['packed', 'a/packed', 'a/../packed', 'new/deep/packed'])(
    'is refused: %s',
    async (out) => {
      const names = await readdir(root);
      const run = packImages({ images, out: join(root, out) });
      await expect(run).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'out' });
      expect(await readdir(root)).toEqual(names);
    },
  );

  test('is found through links, and another whose name begins alike is not', async () => {
    await symlink(root, temporary.path('link'));
    await expect(requireOutside(join(temporary.path('link'), 'x'), root)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await requireOutside(`${root}-packed`, root);
    await requireOutside(temporary.path('..folder'), temporary.path('folder'));
    await expect(requireOutside(join(root, '..x'), root)).rejects.toMatchObject({ field: 'out' });
  });
});

describe('damaged images', async () => {
  const bad = temporary.path('bad');
  for (const [i, name] of ['a/1.png', 'a/2.png', 'a/3.png', 'a/4.png'].entries()) {
    await writeImage(bad, name, i, [8, 9]);
  }
  await writeFile(join(bad, 'a/2.png'), (await readFile(join(bad, 'a/2.png'))).subarray(0, 60));
  await writeFile(join(bad, 'a/4.png'), '<svg/>');
  const source = await imageFolder(bad);

  test('are named in one error, each once', async () => {
    const error = await pack('refused', { images: source }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'INVALID_FILE', field: join(bad, 'a/2.png') });
    const { message } = error as Error;
    for (const name of ['a/2.png', 'a/4.png']) {
      expect(
        message
          .split('\n  ')
          .slice(1)
          .filter((line) => line.includes(name)).length,
      ).toBe(1);
    }
    expect(message).toContain('--skip-damaged');
  });

  test('are left out on request, and listed', async () => {
    const { count, damaged } = await pack('skipped', { images: source, damaged: 'skip' });
    expect(count).toBe(2);
    expect(damaged?.map(({ path }) => path)).toEqual([join(bad, 'a/2.png'), join(bad, 'a/4.png')]);
    const packed = await openImages(temporary.path('skipped'));
    using reader = await openImageReader(packed.description);
    using direct = await openImageReader(source.description);
    const [found, wanted] = [
      await reader.read(Uint32Array.of(0, 1)),
      await direct.read(Uint32Array.of(0, 2)),
    ];
    expect(found.pixels(1).slice()).toEqual(Uint8Array.from(wanted.pixels(2)));
    expect(packed.id).not.toBe(source.id);
  });

  test('that leave a class without images are refused', async () => {
    await writeImage(bad, 'b/1.png', 1, [8, 9]);
    await writeFile(join(bad, 'b/1.png'), '');
    const run = pack('classless', { images: await imageFolder(bad), damaged: 'skip' });
    await expect(run).rejects.toMatchObject({ code: 'INVALID_FILE', message: /class b/ });
  });
});

describe('packed images are recognised by content', () => {
  test('and not by a manifest of something else', async () => {
    const folder = temporary.path('other');
    for (const manifest of ['{"format": "softpack labels"}', '{}', 'not JSON', '[]', '']) {
      await writeImage(folder, 'a/1.png', 1, [8, 9]);
      await writeFile(join(folder, 'manifest.json'), manifest);
      expect(await isPacked(folder)).toBe(false);
      expect((await openImages(folder)).count).toBe(1);
    }
  });

  test('and not by the name of a shard', async () => {
    const folder = temporary.path('named');
    await writeImage(folder, 'a/1.png', 1, [8, 9]);
    await writeFile(join(folder, 'images-00000.safetensors'), 'a model');
    expect((await openImages(folder)).count).toBe(1);
  });

  test('and by their shards if the manifest is damaged: the error says what is wrong with it', async () => {
    await pack('torn');
    await truncate(join(temporary.path('torn'), 'manifest.json'), 40);
    await expect(openImages(temporary.path('torn'))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('manifest.json'),
    });
  });
});

describe('a manifest', () => {
  const remake = async (name: string, change: (content: Record<string, unknown>) => object) => {
    await pack(name);
    const path = join(temporary.path(name), 'manifest.json');
    const { imagesId: _, ...manifest } = JSON.parse(await readFile(path, 'utf8'));
    const made = makeImagesManifest({ ...manifest, ...change(manifest) });
    await writeFile(path, JSON.stringify(made));
    return openImages(temporary.path(name));
  };

  test('with fewer names than classes is refused', async () => {
    await expect(remake('names', () => ({ classNames: ['a'] }))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('classNames'),
      found: 1,
    });
  });

  test('of 2^33 images is refused before memory is taken for them', async () => {
    for (const count of [2 ** 33, 2 ** 32 - 1]) {
      const wrong = remake(`count ${count}`, (manifest) => {
        const [shard, ...rest] = manifest.shards as readonly object[];
        const last = { ...rest.at(-1), samples: [3, count] };
        return { count, shards: [shard, ...rest.slice(0, -1), last] };
      });
      await expect(wrong).rejects.toMatchObject({ code: 'INVALID_FILE' });
    }
  });

  test('without a fingerprint, as earlier versions wrote it, is read', async () => {
    const source = await remake('old', () => ({ fingerprint: undefined }));
    expect(source.id).toBe(images.id);
    expect(await imagesFingerprint(source)).toMatchObject({ kind: 'packed' });
    const text = await readFile(join(temporary.path('old'), 'manifest.json'));
    expect(parseImagesManifest('manifest.json', text)).not.toHaveProperty('fingerprint');
  });
});

describe('a fingerprint', () => {
  const folder = temporary.path('print');
  const write = async (name: string, bytes: readonly number[]) => {
    await mkdir(join(folder, 'a'), { recursive: true });
    await writeFile(join(folder, 'a', name), Uint8Array.from(bytes));
  };
  const print = async () => imagesFingerprint(await imageFolder(folder));

  test('tells other images under the same names, of the same size too', async () => {
    await write('1.png', [1, 2, 3]);
    await write('2.png', [1, 2, 3]);
    const first = await print();
    expect(await print()).toEqual(first);
    expect(first).toMatchObject({ kind: 'files', count: 2 });
    await write('2.png', [1, 2, 4]);
    const second = await print();
    expect(second).not.toEqual(first);
    expect(mayBeSameImages(first, second)).toBe(false);
    await write('2.png', [1, 2, 3, 4]);
    expect(mayBeSameImages(first, await print())).toBe(false);
    await write('2.png', [1, 2, 3]);
    expect(mayBeSameImages(first, await print())).toBe(true);
    await rm(join(folder, 'a/2.png'));
    expect(mayBeSameImages(first, await print())).toBe(false);
  });

  test('of packed images is that of their files, unless JPEGs were encoded', async () => {
    const packed = await openImages(temporary.path('whole'));
    expect(await imagesFingerprint(packed)).toEqual(await imagesFingerprint(images));
    await pack('lossy', { encoding: 'jpeg' });
    const lossy = await imagesFingerprint(await openImages(temporary.path('lossy')));
    expect(lossy).toMatchObject({ kind: 'packed' });
    expect(mayBeSameImages(lossy, { ...lossy, id: '0'.repeat(64) })).toBe(false);
  });

  test('of images in memory is that of their pixels', async () => {
    const one = await imagesFingerprint(memoryImages(new Uint8Array(12), 2, 2));
    const other = await imagesFingerprint(memoryImages(new Uint8Array(12).fill(1), 2, 2));
    expect(mayBeSameImages(one, other)).toBe(false);
  });

  test('waits for no pipe', async () => {
    const { execFileSync } = await import('node:child_process');
    execFileSync('mkfifo', [temporary.path('pipe.png')]);
    const source = await imageList(await temporary.file('pipe.txt', 'pipe.png\n'));
    await expect(imagesFingerprint(source)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    using reader = await openImageReader(source.description);
    await expect(reader.read(Uint32Array.of(0))).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });
});
