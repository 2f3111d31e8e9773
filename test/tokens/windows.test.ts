import fc from 'fast-check';
import { expect, it } from 'vitest';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { type TokenWindow, tokenWindows } from '#src/tokens/windows.js';
import { temporaryDirectory } from '../temporary.js';
import { testTeacher } from './sources.js';

const temporary = await temporaryDirectory();
const LENGTHS = [5, 0, 1, 17, 64, 3];
const teacher = testTeacher({ vocabulary: 60, lengths: LENGTHS });

async function archiveOf(name: string, source = teacher.source) {
  const out = temporary.path(name);
  await packTokens({ source, out, codec: { name: 'topk', k: 4 } });
  return openTokenArchive(out);
}

async function all(windows: AsyncIterable<TokenWindow>): Promise<readonly TokenWindow[]> {
  const found: TokenWindow[] = [];
  for await (const window of windows) found.push(window);
  return found;
}

it('windows hold every text and label once, in order, whatever their length', async () => {
  await using archive = await archiveOf('windows');
  const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 100 }), order, async (length, sequences) => {
      const windows = await all(tokenWindows(archive, { length, sequences }));
      let at = 0;
      for (const sequence of sequences) {
        const labels = await archive.labels(sequence);
        for (let t = 0; t < LENGTHS[sequence]; t++, at++) {
          const { tokens, targets, sequences: own } = windows[Math.floor(at / length)];
          const i = at % length;
          expect(tokens[i]).toBe(teacher.texts[sequence][t]);
          expect(own[i]).toBe(sequence);
          expect(targets.counts?.[i]).toBe(1);
          expect(targets.next[i]).toBe(labels.next[t]);
          const entries = (from: ArrayLike<number>, row: number) =>
            Array.from({ length: targets.width }, (_, e) => from[row * targets.width + e]);
          expect(entries(targets.ids, i)).toEqual(entries(labels.ids, t));
          expect(entries(targets.probabilities, i)).toEqual(entries(labels.probabilities, t));
        }
      }
      expect(windows.length).toBe(Math.ceil(at / length));
      for (; at < windows.length * length; at++) {
        const { targets, sequences: own } = windows[windows.length - 1];
        expect([targets.counts?.[at % length], own[at % length]]).toEqual([0, -1]);
      }
    }),
    { numRuns: 25 },
  );
});

it('texts of which only a part has labels', async () => {
  const [sequence] = await all(teacher.source.sequences() as never);
  const source = {
    vocabulary: 60,
    async *sequences() {
      const tokens = Int32Array.from({ length: 9 }, (_, i) => i);
      yield { ...(sequence as object), name: 'answer', tokens, first: 4, rows: 5 } as never;
    },
  };
  await using archive = await archiveOf('part', source);
  const [first, second] = await all(tokenWindows(archive, { length: 6 }));
  expect(Array.from(first.targets.counts ?? [])).toEqual([0, 0, 0, 0, 1, 1]);
  expect(Array.from(first.targets.next)).toEqual([-1, -1, -1, -1, 5, 6]);
  expect(Array.from(second.targets.counts ?? [])).toEqual([1, 1, 1, 0, 0, 0]);
  expect(Array.from(second.targets.next)).toEqual([7, 8, -1, -1, -1, -1]);
  const { probabilities } = await archive.labels(0);
  expect(Array.from(second.targets.probabilities.subarray(0, 4))).toEqual(
    Array.from(probabilities.subarray(8, 12)),
  );
});

it('refuses labels without their text', async () => {
  const { source } = testTeacher({ vocabulary: 60, lengths: [3], text: false });
  await using archive = await archiveOf('labels', source);
  await expect(all(tokenWindows(archive, { length: 4 }))).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    field: 'sequence 0',
  });
});
