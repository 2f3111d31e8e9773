import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NewFolder } from '#src/interop/exports/folder.js';
import { readAxolotl } from '#src/interop/tokens/axolotl.js';
import { readDistillKit } from '#src/interop/tokens/distillkit.js';
import { readVllmLogprobs } from '#src/interop/tokens/vllm-logprobs.js';
import { writeAxolotl } from '#src/interop/tokens/write-axolotl.js';
import { writeDistillKit } from '#src/interop/tokens/write-distillkit.js';
import { writeVllm } from '#src/interop/tokens/write-vllm.js';
import { localStore, openLocalFile } from '#src/store/local.js';
import type { TokenSequence, TokenSource } from '#src/tokens/token-source.js';
import { temporaryDirectory } from '../../temporary.js';
import { all, entriesOf } from './fixture.js';

const temporary = await temporaryDirectory();
const V = 5000;

/** Texts whose labels have 1 to `most` entries: any float32 log-probabilities, some of them equal. */
function source(most: number, first: number, sequences = 300): TokenSource {
  return {
    vocabulary: V,
    async *sequences() {
      for (let i = 0; i < sequences; i++) yield sequenceOf(i, most, first);
    },
  };
}

function sequenceOf(i: number, most: number, first: number): TokenSequence {
  const tokens = Int32Array.from({ length: first + 2 + (i % 5) }, (_, t) => (i * 31 + t * 7) % V);
  const rows = tokens.length - 1 - first;
  const counts = Array.from({ length: rows }, (_, row) => 1 + ((i + row) % most));
  const offsets = [0];
  for (const count of counts) offsets.push(offsets[offsets.length - 1] + count);
  const ids: number[] = [];
  const logProbs: number[] = [];
  for (const [row, count] of counts.entries()) {
    for (let rank = 0; rank < count; rank++) {
      ids.push((i * 997 + row * 101 + rank * 13) % V);
      logProbs.push(-(1 + Math.floor(rank / 2)) * (1.3 + Math.abs(Math.sin(i + row))) - 1);
    }
  }
  // Of equally probable ones the lower id comes first.
  for (let row = 0; row < rows; row++) {
    for (let at = offsets[row] + 1; at < offsets[row + 1]; at++) {
      if (logProbs[at] === logProbs[at - 1] && ids[at] < ids[at - 1]) {
        [ids[at - 1], ids[at]] = [ids[at], ids[at - 1]];
      }
    }
  }
  return {
    name: `sequence ${i}`,
    ...{ tokens, first, rows },
    labels: {
      kind: 'sparse',
      offsets: Uint32Array.from(offsets),
      ids: Uint32Array.from(ids),
      logProbs: Float32Array.from(logProbs),
    },
  };
}

async function written(
  name: string,
  write: (folder: NewFolder) => Promise<number>,
): Promise<{ path: string; count: number }> {
  const path = temporary.path(name);
  await using folder = await NewFolder.create(path);
  const count = await write(folder);
  await folder.finish();
  return { path, count };
}

const content = (sequence: TokenSequence) => ({
  tokens: [...(sequence.tokens ?? [])],
  first: sequence.first,
  ...entriesOf(sequence),
});
const contents = async (from: TokenSource) => (await all({ ...from, notes: [] })).map(content);

test('DistillKit: what was written is read again, bit by bit', async () => {
  const { path, count } = await written('distillkit', (folder) =>
    writeDistillKit(folder, source(4, 0)),
  );
  expect(count).toBe(300);
  const found = await readDistillKit(localStore(path), { vocabulary: V });
  expect(await contents(found)).toEqual(await contents(source(4, 0)));
  expect(await readFile(join(path, 'compression_config.yaml'), 'utf8')).toContain(`d: ${V + 1}\n`);
});

test.each([0, 2])(
  'vLLM: what was written is read again, labels from position %i on',
  async (first) => {
    const { path } = await written(`vllm-${first}`, (folder) =>
      writeVllm(folder, source(4, first)),
    );
    const file = await openLocalFile(join(path, 'prompt_logprobs.jsonl'));
    const found = readVllmLogprobs(file, { vocabulary: V });
    expect(await contents(found)).toEqual(await contents(source(4, first)));
    await file.close();
  },
);

test.each([0, 2])(
  'axolotl: what was written is read again, labels from position %i on',
  async (first) => {
    const { path } = await written(`axolotl-${first}`, (folder) =>
      writeAxolotl(folder, source(4, first)),
    );
    const file = await openLocalFile(join(path, 'train.jsonl'));
    const found = readAxolotl(file, { vocabulary: V });
    expect(await contents(found)).toEqual(await contents(source(4, first)));
    await file.close();
  },
);

test('refuses what a layout cannot hold, and leaves no folder', async () => {
  const late = written('late', (folder) => writeDistillKit(folder, source(4, 2)));
  await expect(late).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  const { tokens: _, ...bare } = sequenceOf(0, 4, 0);
  const textless: TokenSource = {
    vocabulary: V,
    async *sequences() {
      yield bare;
    },
  };
  for (const write of [writeVllm, writeAxolotl, writeDistillKit]) {
    const made = written('textless', (folder) => write(folder, textless));
    await expect(made).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  }
  const one = { ...sequenceOf(0, 4, 0), tokens: Int32Array.of(3), rows: 0 };
  const empty: TokenSource = {
    vocabulary: V,
    async *sequences() {
      yield one;
    },
  };
  const unlabelled = written('unlabelled', (folder) => writeAxolotl(folder, empty));
  await expect(unlabelled).rejects.toThrow(/0 of 1 tokens from token 1 on, at least 0 entries/);
  await expect(readFile(join(temporary.path('late'), 'data_0.parquet'))).rejects.toThrow();
});
