import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree } from './fixture.js';

const directory = await temporaryDirectory();
const script = fileURLToPath(new URL('interrupted-writer.mjs', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

/** Runs the writer in a process of its own; `killAfterMs` kills it from outside. */
function write(path: string, args: readonly number[], killAfterMs?: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, path, ...args.map(String)]);
    let output = '';
    const timer =
      killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text) => {
        output += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output });
    });
  });
}

const reference = directory.path('reference');
const uninterrupted = await write(reference, [0]);
const calls = Number(uninterrupted.output);
const expected = await readTree(reference);

test('the reference is a whole archive', async () => {
  expect(uninterrupted).toMatchObject({ code: 0, signal: null });
  expect(calls).toBeGreaterThan(40);
  await using archive = await openArchive(reference);
  await archive.verify();
  expect(archive.manifest.shards).toHaveLength(2);
});

test('a writer killed in any one call of the file system resumes to the same bytes', async () => {
  const turns = Array.from({ length: calls }, (_, i) => i + 1);
  const worker = async () => {
    for (let turn = turns.pop(); turn !== undefined; turn = turns.pop()) {
      const path = directory.path(`killed-${turn}`);
      expect(await write(path, [turn])).toMatchObject({ signal: 'SIGKILL' });
      // Until its manifest is in place, nobody takes it for an archive; from then on, it is one.
      const opened = await openArchive(path).catch((error: unknown) => error);
      if (opened instanceof Error)
        expect(opened).toMatchObject({ code: expect.stringMatching(/INCOMPLETE|NOT_FOUND/) });
      expect(await write(path, [0])).toMatchObject({ code: 0 });
      expect(await readTree(path), `killed in call ${turn}`).toEqual(expected);
    }
  };
  await Promise.all([worker(), worker()]);
});

test('a writer killed from outside at random, again and again, ends with the same bytes', async () => {
  const path = directory.path('harassed');
  let kills = 0;
  for (;;) {
    // Later and later, so that it gets through in the end.
    const outcome = await write(path, [0, 20], 100 + kills * 10 + Math.random() * 60);
    if (outcome.signal === null) break;
    kills += 1;
  }
  expect(await readTree(path)).toEqual(expected);
});
