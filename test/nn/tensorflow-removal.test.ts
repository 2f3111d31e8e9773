import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadNativeTensorflow } from '#src/nn/backend/native-tensorflow.js';
import { damagedFile, describeContents } from '#src/nn/tensorflow-install/contents.js';
import { installTensorflow, uninstallTensorflow } from '#src/nn/tensorflow-install/install.js';
import { installedTensorflow, readState } from '#src/nn/tensorflow-install/location.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const PACKAGE = 'node_modules/@tensorflow/tfjs-node-gpu';
const FILES = {
  'tensorflow/libtensorflow_cc.so.2': 'library',
  'tensorflow/libtensorflow_framework.so.2': 'framework',
  [`${PACKAGE}/lib/napi-v8/tfjs_binding.node`]: 'addon',
  [`${PACKAGE}/index.js`]: 'throw new Error("ran");',
  'engine/@tensorflow/tfjs/package.json': '{}',
};
let count = 0;

/** A folder as the installer leaves it, without its gigabyte. */
async function installation(): Promise<string> {
  const dir = temporary.path(`tensorflow-${count++}`);
  for (const [path, text] of Object.entries(FILES)) await add(dir, path, text);
  await symlink('../../engine/@tensorflow/tfjs', join(dir, 'node_modules/@tensorflow/tfjs'));
  const contents = await describeContents(dir);
  const facts = { format: 2, tensorflow: '2.21.0', variant: 'cpu', binding: '4.22.0' };
  await add(dir, 'state.json', JSON.stringify({ ...facts, ...contents }));
  return dir;
}

async function add(dir: string, path: string, text: string): Promise<void> {
  await mkdir(dirname(join(dir, path)), { recursive: true });
  await writeFile(join(dir, path), text);
}

/** Every file below a folder with its text. */
async function contentsOf(dir: string): Promise<Record<string, string>> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const texts = files.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return [path.slice(dir.length + 1), await readFile(path, 'utf8')];
  });
  return Object.fromEntries(await Promise.all(texts));
}

/** Neither installing nor removing touches the folder. */
async function requireRefused(dir: string, stranger: string): Promise<void> {
  const before = await contentsOf(dir);
  const refused = {
    code: 'ALREADY_EXISTS',
    field: dir,
    found: expect.stringContaining(stranger),
  };
  await expect(uninstallTensorflow(dir)).rejects.toMatchObject(refused);
  // Another variant than the installed one: it would take its place.
  await expect(installTensorflow({ dir, variant: 'gpu' })).rejects.toMatchObject(refused);
  expect(await contentsOf(dir)).toEqual(before);
}

describe('uninstalling', () => {
  test('removes what was installed, and the folder', async () => {
    const dir = await installation();
    expect(await uninstallTensorflow(dir)).toBe(true);
    expect(await readdir(dirname(dir))).not.toContain(dir.split('/').at(-1));
    expect(await uninstallTensorflow(dir)).toBe(false);
  });

  test('goes on after an interruption, as the record is removed last', async () => {
    const dir = await installation();
    const hidden = temporary.path('removed');
    await rename(join(dir, 'tensorflow'), hidden);
    expect(await uninstallTensorflow(dir)).toBe(true);
    expect(await uninstallTensorflow(dir)).toBe(false);
  });

  test('removes libraries that are damaged', async () => {
    const dir = await installation();
    await add(dir, 'tensorflow/libtensorflow_cc.so.2', 'cut');
    expect(await uninstallTensorflow(dir)).toBe(true);
  });

  test.each([
    ['in it', 'thesis.txt'],
    ['hidden', '.thesis'],
    ['among its libraries', 'tensorflow/thesis.txt'],
    ['among its packages', `${PACKAGE}/thesis.js`],
    ['in folders of its own', 'my/work/thesis.txt'],
  ])('leaves everything if there is another file %s', async (_, path) => {
    const dir = await installation();
    await add(dir, path, 'years of work');
    await requireRefused(dir, path.split('/')[0] === 'my' ? 'my' : path);
  });

  test('leaves everything if an installed text was changed', async () => {
    const dir = await installation();
    await add(dir, `${PACKAGE}/index.js`, 'my own changes');
    await requireRefused(dir, `${PACKAGE}/index.js`);
  });

  test('follows no link', async () => {
    const dir = await installation();
    const precious = temporary.path(`precious-${count++}`);
    await add(precious, 'thesis.txt', 'years of work');
    await symlink(precious, join(dir, 'linked'));
    await requireRefused(dir, 'linked');
    expect(await contentsOf(precious)).toEqual({ 'thesis.txt': 'years of work' });
  });

  test.each([
    ['of another program', { version: 4, terraform_version: '1.9.0' }],
    ['of an application', { format: 1, user: 'me' }],
    ['that is empty', {}],
    ['that is a list', []],
    ['of no files', { format: 2, tensorflow: '2', variant: 'cpu', binding: '4', files: {} }],
    [
      'that names files elsewhere',
      {
        ...{ format: 2, tensorflow: '2', variant: 'cpu', binding: '4' },
        files: { '../thesis.txt': { bytes: 1, sha256: '0'.repeat(64) } },
      },
    ],
    [
      'that names other bytes',
      {
        ...{ format: 2, tensorflow: '2', variant: 'cpu', binding: '4' },
        files: { 'thesis.txt': { bytes: 13, sha256: '0'.repeat(64) } },
      },
    ],
  ])('leaves a folder with a state.json %s', async (_, state) => {
    const dir = temporary.path(`other-${count++}`);
    await add(dir, 'state.json', JSON.stringify(state));
    await add(dir, 'thesis.txt', 'years of work');
    await requireRefused(dir, 'thesis.txt');
  });

  test.each(['..', '.', '', '../a', '/a', 'a/../b'])(
    'takes no record of a file %j',
    async (path) => {
      const dir = temporary.path(`other-${count++}`);
      const files = { [path]: { bytes: 1, sha256: '0'.repeat(64) } };
      const facts = { format: 2, tensorflow: '2', variant: 'cpu', binding: '4' };
      await add(dir, 'state.json', JSON.stringify({ ...facts, files }));
      expect(readState(dir)).toBeUndefined();
      await add(dir, 'state.json', JSON.stringify({ ...facts, files: { 'a/b': files[path] } }));
      expect(readState(dir)).toBeDefined();
    },
  );

  test('leaves folders beside it that no installation made', async () => {
    const dir = await installation();
    await add(`${dir}.partial`, 'thesis.txt', 'years of work');
    await add(`${dir}.partial`, 'owner', 'me');
    expect(await uninstallTensorflow(dir)).toBe(true);
    expect(await contentsOf(`${dir}.partial`)).toMatchObject({ 'thesis.txt': 'years of work' });
    await add(`${dir}.partial.old`, 'thesis.txt', 'years of work');
    await expect(uninstallTensorflow(dir)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await contentsOf(`${dir}.partial.old`)).toEqual({ 'thesis.txt': 'years of work' });
  });
});

describe('loading', () => {
  test.each(Object.keys(FILES))(
    'refuses an installation whose %s has another bit',
    async (path) => {
      const dir = await installation();
      const state = installedTensorflow(dir) ?? expect.unreachable();
      expect(await damagedFile(dir, state)).toBeUndefined();
      const bytes = await readFile(join(dir, path));
      bytes[0] ^= 1;
      await writeFile(join(dir, path), bytes);
      expect(await damagedFile(dir, state)).toBe(path);
      process.env.SOFTPACK_TENSORFLOW_DIR = dir;
      try {
        expect(await loadNativeTensorflow()).toMatchObject({
          state: 'incomplete',
          reason: expect.stringContaining(`${join(dir, path)} is not what was installed`),
        });
      } finally {
        delete process.env.SOFTPACK_TENSORFLOW_DIR;
      }
    },
  );
});
