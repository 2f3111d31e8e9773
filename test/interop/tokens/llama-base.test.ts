import { expect, test } from 'vitest';
import { readLlamaBase } from '#src/interop/tokens/llama-base.js';
import { all, dense, memoryFile } from './fixture.js';

/** A file as perplexity.cpp writes it: 16 bits per id between the maximum less 16 and the maximum. */
function baseFile(
  logits: readonly (readonly number[])[][],
  tokens: readonly number[],
  length: number,
) {
  const vocabulary = logits[0][0].length;
  const header = Buffer.alloc(20);
  header.write('_logits_', 'latin1');
  header.writeInt32LE(length, 8);
  header.writeInt32LE(vocabulary, 12);
  header.writeInt32LE(logits.length, 16);
  const parts: Uint8Array[] = [header, Buffer.from(Int32Array.from(tokens).buffer)];
  for (const window of logits) for (const label of window) parts.push(record(label));
  return Buffer.concat(parts);
}

function record(logits: readonly number[]): Buffer {
  const most = Math.max(...logits);
  const least = Math.max(Math.min(...logits), most - 16);
  const logSum = Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0));
  const words = 2 * Math.floor((logits.length + 1) / 2) + 4;
  const bytes = Buffer.alloc(2 * words);
  const scale = (most - least) / 65535;
  bytes.writeFloatLE(scale, 0);
  bytes.writeFloatLE(least - most - logSum, 4);
  for (const [id, z] of logits.entries()) {
    bytes.writeUInt16LE(z > least ? Math.round((z - least) / scale) : 0, 8 + 2 * id);
  }
  return bytes;
}

const LENGTH = 6;
const V = 5;
const LOGITS = [0, 1].map((window) =>
  [0, 1].map((row) =>
    Array.from({ length: V }, (_, id) => Math.sin(9 * window + 5 * row + id) * 6),
  ),
);
const TOKENS = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1];
const BYTES = baseFile(LOGITS, TOKENS, LENGTH);

test('reads windows, ids and log-probabilities to the 16 bits that are stored', async () => {
  const { file } = memoryFile(BYTES);
  const found = await readLlamaBase(file);
  expect(found.vocabulary).toBe(V);
  const sequences = await all(found);
  expect(sequences.map(({ first, rows }) => [first, rows])).toEqual([
    [3, 2],
    [3, 2],
  ]);
  for (const [window, sequence] of sequences.entries()) {
    expect([...(sequence.tokens ?? [])]).toEqual(
      TOKENS.slice(LENGTH * window, LENGTH * (window + 1)),
    );
    const values = await dense(sequence).read(0, 2);
    for (const [row, logits] of LOGITS[window].entries()) {
      const logSum = Math.log(logits.reduce((sum, z) => sum + Math.exp(z), 0));
      for (const [id, z] of logits.entries()) {
        expect(Math.abs(values[row * V + id] - (z - logSum))).toBeLessThan(16 / 65535);
      }
    }
    expect(await dense(sequence).read(1, 1)).toEqual(values.slice(V));
  }
});

test('reads a label at a time', async () => {
  const { file, stats } = memoryFile(BYTES);
  const [sequence] = await all(await readLlamaBase(file));
  stats.largest = 0;
  await dense(sequence).read(1, 1);
  expect(stats.largest).toBe(20);
});

test('cuts padded ids only when told their number', async () => {
  const { file } = memoryFile(baseFile([LOGITS[0]], [0, 1, 2, 3, 2, 1], LENGTH));
  const [whole] = await all(await readLlamaBase(file));
  const [cut] = await all(await readLlamaBase(file, { vocabulary: 4 }));
  const values = await dense(whole).read(0, 2);
  expect(await dense(cut).read(0, 2)).toEqual(
    Float32Array.from([...values.slice(0, 4), ...values.slice(5, 9)]),
  );
  await expect(readLlamaBase(file, { vocabulary: 6 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'vocabulary',
  });
});

const damaged = (at: number, bytes: readonly number[]) => {
  const copy = Buffer.from(BYTES);
  copy.set(bytes, at);
  return new Uint8Array(copy);
};

test.each([
  ['another magic', damaged(0, [0x47]), /magic/],
  ['a negative window', damaged(8, [0xff, 0xff, 0xff, 0xff]), /n_ctx/],
  ['a huge vocabulary', damaged(12, [0xff, 0xff, 0xff, 0x7f]), /vocabulary/],
  ['more windows than bytes', damaged(16, [3]), /size/],
  ['a missing byte', new Uint8Array(BYTES.subarray(0, -1)), /size/],
  ['nothing', new Uint8Array(BYTES.subarray(0, 7)), /size/],
])('refuses %s', async (_, bytes, message) => {
  const { file } = memoryFile(bytes);
  await expect(readLlamaBase(file)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    message: expect.stringMatching(message),
  });
});

test('refuses ids outside of the vocabulary, and labels that are no probabilities', async () => {
  const { file } = memoryFile(damaged(20, [5]));
  await expect(all(await readLlamaBase(file))).rejects.toMatchObject({ code: 'INVALID_FILE' });
  const record = 20 + 4 * TOKENS.length;
  for (const at of [record, record + 4]) {
    const broken = memoryFile(damaged(at, [0, 0, 0xc0, 0x7f])).file;
    const [sequence] = await all(await readLlamaBase(broken));
    await expect(dense(sequence).read(0, 1)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  }
});
