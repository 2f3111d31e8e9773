import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { readDistillKit } from '#src/interop/tokens/distillkit.js';
import { all, entriesOf, folderFiles, memoryStore, SAMPLES } from './fixture.js';

const read = async (files: ReadonlyMap<string, Uint8Array>, vocabulary?: number) =>
  all(await readDistillKit(memoryStore(files), { vocabulary }));

interface Known {
  readonly tokens: number[];
  readonly ids: number[][];
  readonly logProbs: number[][];
}

/** What a reader gives of known values: sorted, none above 0, together at most 1. */
function wanted(ids: readonly number[], logProbs: readonly number[]) {
  const entries = ids.map((id, i) => ({ id, value: Math.min(0, logProbs[i]) }));
  entries.sort((a, b) => b.value - a.value || a.id - b.id);
  const mass = entries.reduce((sum, { value }) => sum + Math.exp(value), 0);
  const excess = mass > 1 ? Math.log(mass) : 0;
  return entries.map(({ id, value }) => ({ id, value: value - excess }));
}

test.each(['exact', 'budget', 'fine', 'bins', 'halves'])(
  '%s: values are those that torch decodes',
  async (name) => {
    const folder = join(SAMPLES, 'distillkit', name);
    const known: Known[] = JSON.parse(await readFile(join(folder, 'expected.json'), 'utf8'));
    const sequences = await read(await folderFiles(folder));
    expect(sequences).toHaveLength(known.length);
    for (const [i, sequence] of sequences.entries()) {
      expect([...(sequence.tokens ?? [])]).toEqual(known[i].tokens);
      const { ids, logProbs } = entriesOf(sequence);
      for (const [row, own] of known[i].ids.entries()) {
        const expected = wanted(own, known[i].logProbs[row]);
        expect([...ids[row]].sort()).toEqual(own.toSorted());
        for (const [j, value] of logProbs[row].entries()) {
          const id = ids[row][j];
          const found = expected.find((entry) => entry.id === id);
          expect(Math.abs(value - (found?.value ?? Number.NaN))).toBeLessThan(1e-5);
        }
      }
    }
  },
);

const FILES = await folderFiles(join(SAMPLES, 'distillkit', 'budget'));

function changed(change: (config: string) => string): Map<string, Uint8Array> {
  const config = Buffer.from(FILES.get('compression_config.yaml') ?? []).toString();
  return new Map([...FILES, ['compression_config.yaml', Buffer.from(change(config))]]);
}

test.each([
  ['another k', (c: string) => c.replace('k: 20', 'k: 21')],
  ['more exact values than entries', (c: string) => c.replace('exact_k: 4', 'exact_k: 24')],
  ['bins that hold too much', (c: string) => c.replace('num_elements: 9', 'num_elements: 90')],
  ['65 bits', (c: string) => c.replace('element_bits: 3', 'element_bits: 65')],
  ['an unknown type', (c: string) => c.replace('bfloat16', 'float8')],
  ['an unknown term', (c: string) => c.replace('sqrt', 'log')],
  ['a vocabulary of another width', (c: string) => c.replace('d: 49153', 'd: 151937')],
  ['no YAML', () => '{['],
  ['a list', () => '- 1'],
  ['a bomb of aliases', () => 'a: &a [1]\nb: [*a, *a]\nd: 10\nk: 1\nexact_k: 1\n'],
])('refuses a configuration with %s', async (_, change) => {
  await expect(read(changed(change))).rejects.toMatchObject({ code: 'INVALID_FILE' });
});

test('refuses ids that the tokenizer does not have, and a file that is missing', async () => {
  await expect(read(FILES, 100)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  await expect(read(FILES, 49154)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  const gap = new Map(FILES);
  gap.set('data_3.parquet', FILES.get('data_1.parquet') ?? new Uint8Array());
  await expect(read(gap)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const none = new Map([...FILES].filter(([name]) => !name.startsWith('data')));
  await expect(read(none)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('any damage of a Parquet file gives labels or a typed error', async () => {
  const whole = Buffer.from(FILES.get('data_0.parquet') ?? []);
  for (let at = 0; at < whole.length; at += 29) {
    const damaged = Buffer.from(whole);
    damaged[at] ^= 1 << (at % 8);
    const files = new Map([...FILES, ['data_0.parquet', damaged]]);
    const error = await read(files).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error !== undefined) expect(error).toMatchObject({ name: 'SoftpackError' });
  }
  for (const end of [0, 11, 100, whole.length - 1]) {
    const files = new Map([...FILES, ['data_0.parquet', whole.subarray(0, end)]]);
    await expect(read(files)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  }
});

test('a column that is refused leaves no other one whose error ends the process', async () => {
  const files = await folderFiles(join(SAMPLES, 'distillkit/budget'));
  const whole = files.get('data_0.parquet') ?? new Uint8Array();
  const unhandled: unknown[] = [];
  const listener = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', listener);
  // The first column's data, and in the footer the description of the next one.
  for (let at = 1236; at < 1252; at++) {
    const damaged = Buffer.from(whole).fill(0xff, 4, 40);
    damaged[at] = 45;
    const own = memoryStore(new Map([...files, ['data_0.parquet', damaged]]));
    const reading = readDistillKit(own, {}).then(all);
    await expect(reading).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await setImmediate();
  }
  process.off('unhandledRejection', listener);
  expect(unhandled).toEqual([]);
});
