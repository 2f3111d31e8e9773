import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { NpyWriter } from '#src/labels/npy.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { treeOf } from './writers.js';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const temporary = await temporaryDirectory();
const ROUNDS = 6;

async function logits(name: string, seed: number): Promise<string> {
  const path = temporary.path(name);
  await using writer = await NpyWriter.create(path, [12, 400, 60]);
  await writer.write(syntheticLogits(12 * 400, 60, seed));
  await writer.finish();
  return path;
}

const [a, b] = [await logits('a.npy', 1), await logits('b.npy', 2)];

interface End {
  readonly code: number | null;
  readonly err: string;
}

function pack(source: string, out: string, codec: readonly string[]): Promise<End> {
  return new Promise((resolve) => {
    const args = [main, 'pack', source, ...codec, '--out', out];
    const child = execFile(process.execPath, args, (_error, _out, err) => {
      resolve({ code: child.exitCode, err });
    });
  });
}

/** Outcome of each round: `one` of the two wrote, or `both`, one after the other. */
it.each([
  ['topk', ['--codec', 'topk', '--k', '5']],
  ['vqae', ['--dh', '60', '--dc', '6', '--k', '16', '--steps', '40']],
] as const)(
  'of two packs by %s at once, the second is refused or finds the archive done',
  { timeout: 300_000 },
  async (name, codec) => {
    const wanted = new Map<string, unknown>();
    for (const source of [a, b]) {
      const out = temporary.path(`alone ${name} ${source.at(-5)}/out`);
      expect(await pack(source, out, codec)).toMatchObject({ code: 0 });
      wanted.set(source, treeOf(out));
    }
    const outcomes = { one: 0, both: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const sources = round % 2 === 0 ? [a, a] : [a, b];
      const out = temporary.path(`${name} ${round}/out`);
      const ends = await Promise.all(sources.map((source) => pack(source, out, codec)));
      const done = sources.filter((_, i) => ends[i].code === 0);
      const refusals = ends.filter(({ code }) => code !== 0).map(({ err }) => err);
      for (const err of refusals) expect(err).toMatch(/LOCKED|ALREADY_EXISTS|INVALID_ARGUMENT/);
      expect(done.length, refusals.join()).toBeGreaterThan(0);
      if (done.length === 2) expect(sources).toEqual([a, a]);
      outcomes[done.length === 2 ? 'both' : 'one'] += 1;
      await using archive = await openArchive(out);
      await archive.verify();
      expect(treeOf(out)).toEqual(wanted.get(done[0]));
    }
    console.log(`${name}: ${outcomes.one} rounds with one writer, ${outcomes.both} with both`);
  },
);
