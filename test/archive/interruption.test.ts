import { spawn } from 'node:child_process';
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, writeSmall } from './fixture.js';

const directory = await temporaryDirectory();

type Method = (this: unknown, ...args: never[]) => Promise<unknown>;
type Half = (this: unknown, original: Method, args: readonly unknown[]) => Promise<unknown>;

/** Half of a write, as it may be on disk when its process dies. */
const HALVES: Readonly<Record<string, Half>> = {
  write(original, [bytes, offset, length, position]) {
    return original.apply(this, [bytes, offset, Number(length) >> 1, position] as never[]);
  },
  appendFile(original, [text]) {
    return original.apply(this, [String(text).slice(0, String(text).length >> 1)] as never[]);
  },
};

const CUT = new Error('cut off');

/**
 * Runs work whose calls of the file system stop having any effect in the n-th one that could change
 * something: what is on disk then is what a kill at that moment leaves. Gives the number of such calls.
 */
async function cutOffAt(n: number, work: () => Promise<void>): Promise<number> {
  let calls = 0;
  const opened: FileHandle[] = [];
  const restore: (() => void)[] = [];
  const interrupt = (owner: Record<string, Method>, name: string) => {
    const original = owner[name];
    owner[name] = async function (...args) {
      calls += 1;
      if (calls === n) await HALVES[name]?.call(this, original, args);
      if (calls >= n) throw CUT;
      const result = await original.apply(this, args);
      if (name === 'open') opened.push(result as FileHandle);
      return result;
    };
    restore.push(() => {
      owner[name] = original;
    });
  };
  const probe = await fs.open(fileURLToPath(import.meta.url));
  const handles = Object.getPrototypeOf(probe) as Record<string, Method>;
  await probe.close();
  for (const name of ['write', 'appendFile', 'truncate', 'sync', 'datasync'])
    interrupt(handles, name);
  const functions = fs as unknown as Record<string, Method>;
  for (const name of ['open', 'mkdir', 'link', 'rename', 'rm']) interrupt(functions, name);
  syncBuiltinESMExports();
  try {
    await work();
  } finally {
    for (const undo of restore) undo();
    syncBuiltinESMExports();
    // A failure leaves no file open.
    expect(opened.filter(({ fd }) => fd >= 0)).toEqual([]);
  }
  return calls;
}

test('a writer cut off in any one call of the file system resumes to the same bytes', async () => {
  const reference = directory.path('reference');
  const calls = await cutOffAt(Number.POSITIVE_INFINITY, () => writeSmall(reference));
  expect(calls).toBeGreaterThan(80);
  const expected = await readTree(reference);
  const finishedAfter: number[] = [];
  const onlyLocked: number[] = [];
  for (let n = 1; n <= calls; ++n) {
    const path = directory.path(`cut-${n}`);
    const failure = await cutOffAt(n, () => writeSmall(path)).catch((error: unknown) => error);
    if (failure !== CUT) onlyLocked.push(n);
    // Nobody takes it for an archive before its manifest is in place; from then on it is one.
    const opened = await openArchive(path).catch((error: unknown) => error);
    if (!(opened instanceof Error)) finishedAfter.push(n);
    else expect(opened).toMatchObject({ code: expect.stringMatching(/^(INCOMPLETE|NOT_FOUND)$/) });
    await writeSmall(path, SMALL, { resume: true });
    expect(await readTree(path), `cut off in call ${n}`).toEqual(expected);
  }
  // The last call removes the lock; if it fails the archive is finished all the same.
  expect(onlyLocked).toEqual([calls]);
  // The manifest is among the last things written.
  expect(finishedAfter[0]).toBeGreaterThan(calls - 30);
});

/** Runs the writer in a process of its own and kills it some time after it began. */
function writeAndKill(path: string, killAfterMs: number): Promise<'killed' | 'finished'> {
  const script = fileURLToPath(new URL('interrupted-writer.mjs', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, path, '5']);
    let errors = '';
    let timer: NodeJS.Timeout | undefined;
    child.stdout.once('data', () => {
      timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    });
    child.stderr.on('data', (text) => {
      errors += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (signal === 'SIGKILL') resolve('killed');
      else if (code === 0) resolve('finished');
      else reject(new Error(errors));
    });
  });
}

test('a process killed at random, again and again, ends with the same bytes', async () => {
  const reference = directory.path('unharmed');
  expect(await writeAndKill(reference, 60_000)).toBe('finished');
  const path = directory.path('harassed');
  let kills = 0;
  // Later and later, so that it gets through in the end.
  while ((await writeAndKill(path, Math.random() * 40 * (kills + 1))) === 'killed') kills += 1;
  expect(kills).toBeGreaterThan(0);
  expect(await readTree(path)).toEqual(await readTree(reference));
});
