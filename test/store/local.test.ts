import { execFileSync } from 'node:child_process';
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { fileError } from '#src/store/file-error.js';
import { localStore, openLocalFile, openLocalFileSync, readLocalFile } from '#src/store/local.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();

it('reads any range of a file, and throws beyond its end', async () => {
  const path = await directory.file(
    'ten',
    Uint8Array.from({ length: 10 }, (_, i) => i),
  );
  const file = await openLocalFile(path);
  expect(file.size).toBe(10);
  const into = new Uint8Array(new SharedArrayBuffer(6), 2, 3).fill(99);
  await file.read(4, into);
  expect([...into]).toEqual([4, 5, 6]);
  await file.read(10, new Uint8Array(0));
  await expect(file.read(8, new Uint8Array(3))).rejects.toMatchObject({ code: 'INVALID_FILE' });
  await file.close();
  using sync = openLocalFileSync(path);
  sync.read(7, into);
  expect([...into]).toEqual([7, 8, 9]);
  expect(() => sync.read(9, into)).toThrow(/ends early/);
  const signal = AbortSignal.abort();
  const stored = await localStore(directory.path('')).open('ten');
  await expect(stored.read(0, into, { signal })).rejects.toMatchObject({ code: 'ABORTED' });
});

it('refuses what is no regular file, at once', async () => {
  const fifo = directory.path('fifo');
  execFileSync('mkfifo', [fifo]);
  const folder = directory.path('folder');
  await mkdir(folder);
  const loop = directory.path('loop');
  await symlink(loop, loop);
  const codes = { [fifo]: 'INVALID_FILE', '/dev/zero': 'INVALID_FILE', [folder]: 'INVALID_FILE' };
  for (const [path, code] of Object.entries({
    ...codes,
    [loop]: 'INVALID_ARGUMENT',
    [directory.path('none')]: 'NOT_FOUND',
    'nul\0path': 'INVALID_ARGUMENT',
    [`${'x'.repeat(300)}`]: 'INVALID_ARGUMENT',
  })) {
    const expected = { name: 'SoftpackError', code };
    await expect(openLocalFile(path), path).rejects.toMatchObject(expected);
    await expect(readLocalFile(path, 10), path).rejects.toMatchObject(expected);
    await expect(localStore('').open(path), path).rejects.toMatchObject(expected);
    expect(() => openLocalFileSync(path), path).toThrow(expect.objectContaining(expected));
  }
});

it('reads no file that is larger than it may be', async () => {
  const path = directory.path('sparse');
  await writeFile(path, '');
  await truncate(path, 2 ** 42);
  await expect(readLocalFile(path, 2 ** 20)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${path}: size`,
    found: 2 ** 42,
  });
});

it.each([
  ['ENOENT', 'NOT_FOUND'],
  ['EACCES', 'PERMISSION_DENIED'],
  ['EROFS', 'PERMISSION_DENIED'],
  ['ENOSPC', 'NO_SPACE'],
  ['EFBIG', 'NO_SPACE'],
  ['EEXIST', 'ALREADY_EXISTS'],
  ['EISDIR', 'INVALID_ARGUMENT'],
  ['EMFILE', 'IO_FAILED'],
  ['EIO', 'IO_FAILED'],
  ['EXYZ', 'IO_FAILED'],
])('translates %s to %s with path and cause', (system, code) => {
  // Not an Error: those of other realms are none here either.
  const cause = { code: system, syscall: 'open' };
  const error = fileError('/some/path', cause);
  expect(error).toMatchObject({ name: 'SoftpackError', code, field: '/some/path', cause });
});

it('leaves every other failure as it is', () => {
  const hostile = Object.defineProperty({}, 'code', {
    get() {
      throw new Error('no code for you');
    },
  });
  for (const cause of [new TypeError('x'), null, 'text', { code: 7 }, hostile, { code: 'ERR_X' }]) {
    expect(fileError('p', cause)).toBe(cause);
  }
});
