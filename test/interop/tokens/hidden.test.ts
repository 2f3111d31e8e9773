import { expect, test } from 'vitest';
import { float8Table } from '#src/core/float8.js';
import { readTokenArray } from '#src/interop/tokens/arrays.js';
import { readDeepSpec } from '#src/interop/tokens/deepspec.js';
import { readIntegerArray } from '#src/interop/tokens/integer-array.js';
import { vllmHiddenSequence } from '#src/interop/tokens/vllm-hidden.js';
import { all, bfloats, bytesOf, dense, memoryFile, memoryStore, safetensors } from './fixture.js';

const [T, LAYERS, D] = [3, 2, 4];
const VALUES = Array.from({ length: T * LAYERS * D }, (_, i) => (i % 64) - 20);
const IDS = bytesOf(BigInt64Array.from([5n, 6n, 7n]));
const states = (dtype: string, data: Uint8Array, more: Parameters<typeof safetensors>[0] = []) =>
  safetensors([
    ['hidden_states', dtype, [T, LAYERS, D], data],
    ['token_ids', 'I64', [T], IDS],
    ...more,
  ]);
const layerOf = (layer: number) =>
  [0, 1, 2].flatMap((t) => VALUES.slice((t * LAYERS + layer) * D, (t * LAYERS + layer + 1) * D));

test('eight-bit floats have the values of their definition', () => {
  const e4m3 = float8Table('F8_E4M3');
  expect([0, 1, 8, 0x38, 0x7e, 0xb8, 0x7f].map((byte) => e4m3[byte])).toEqual([
    0,
    2 ** -9,
    2 ** -6,
    1,
    448,
    -1,
    Number.NaN,
  ]);
  const e5m2 = float8Table('F8_E5M2');
  expect([1, 4, 0x3c, 0x7b, 0x7c, 0xfc, 0x7d].map((byte) => e5m2[byte])).toEqual([
    2 ** -16,
    2 ** -14,
    1,
    57344,
    Infinity,
    -Infinity,
    Number.NaN,
  ]);
});

test('vLLM: bfloat16 states of any layer, with their ids', async () => {
  const { file } = memoryFile(states('BF16', bfloats(VALUES)));
  for (const layer of [undefined, 0, 1]) {
    const sequence = await vllmHiddenSequence(file, { vocabulary: 9, layer });
    expect([...(sequence.tokens ?? [])]).toEqual([5, 6, 7]);
    const wanted = layerOf(layer ?? LAYERS - 1);
    expect([...(await dense(sequence).read(0, T))]).toEqual(wanted);
    expect([...(await dense(sequence).read(1, 1))]).toEqual(wanted.slice(D, 2 * D));
  }
  await expect(vllmHiddenSequence(file, { vocabulary: 9, layer: 2 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  await expect(vllmHiddenSequence(file, { vocabulary: 7 })).rejects.toMatchObject({
    code: 'INVALID_FILE',
  });
});

test('vLLM: FP8 states take the scale of their position', async () => {
  const data = Uint8Array.from({ length: T * LAYERS * D }, (_, i) => 0x30 + i);
  const scales = Float32Array.from([0.5, 2, 4]);
  const { file } = memoryFile(
    states('F8_E4M3', data, [['hidden_states_scales', 'F32', [T, 1, 1], bytesOf(scales)]]),
  );
  const values = await dense(await vllmHiddenSequence(file, { vocabulary: 9 })).read(0, T);
  const table = float8Table('F8_E4M3');
  const wanted = [0, 1, 2].flatMap((t) =>
    [0, 1, 2, 3].map((i) => table[data[(t * LAYERS + 1) * D + i]] * scales[t]),
  );
  expect([...values]).toEqual(wanted);
});

test.each([
  ['FP8 without scales', states('F8_E4M3', new Uint8Array(T * LAYERS * D))],
  ['another type', states('I8', new Uint8Array(T * LAYERS * D))],
  ['no states', safetensors([['token_ids', 'I64', [T], IDS]])],
  [
    'another number of ids',
    safetensors([
      ['hidden_states', 'BF16', [T, LAYERS, D], bfloats(VALUES)],
      ['token_ids', 'I64', [2], IDS.subarray(0, 16)],
    ]),
  ],
  [
    'states without layers',
    safetensors([
      ['hidden_states', 'BF16', [T, LAYERS * D], bfloats(VALUES)],
      ['token_ids', 'I64', [T], IDS],
    ]),
  ],
])('vLLM: refuses %s', async (_, bytes) => {
  await expect(vllmHiddenSequence(memoryFile(bytes).file, { vocabulary: 9 })).rejects.toMatchObject(
    { code: 'INVALID_FILE' },
  );
});

test('a state that is no number is named by its position', async () => {
  const broken = VALUES.map((value, i) => (i === 13 ? Number.NaN : value));
  const { file } = memoryFile(states('BF16', bfloats(broken)));
  const sequence = await vllmHiddenSequence(file, { vocabulary: 9 });
  await expect(dense(sequence).read(0, T)).rejects.toMatchObject({
    code: 'NON_FINITE',
    field: expect.stringContaining('position 1, dimension 1'),
  });
});

/** A cache of two samples in two shards. */
function cache(change: (files: Map<string, Uint8Array>) => void = () => {}) {
  const lengths = [3, 2];
  const index = Buffer.alloc(112);
  const files = new Map<string, Uint8Array>();
  for (const [sample, length] of lengths.entries()) {
    const parts = [
      bytesOf(Int32Array.from({ length }, (_, i) => 10 * sample + i)),
      new Uint8Array(length).fill(1),
      Uint8Array.from({ length }, (_, i) => (i === 0 ? 0 : 1)),
      bfloats(new Array(2 * length * D).fill(1)),
      bfloats(Array.from({ length: length * D }, (_, i) => 100 * sample + i)),
    ];
    index.writeBigUInt64LE(BigInt(sample), 56 * sample);
    index.writeUInt32LE(sample, 56 * sample + 8);
    index.writeUInt32LE(length, 56 * sample + 12);
    let at = 0;
    for (const [i, part] of parts.entries()) {
      index.writeBigUInt64LE(BigInt(at), 56 * sample + 16 + 8 * i);
      at += part.length;
    }
    files.set(`shard-${sample}.bin`, Buffer.concat(parts));
  }
  files.set('samples.idx', index);
  files.set('manifest.json', Buffer.from(JSON.stringify(MANIFEST)));
  change(files);
  return memoryStore(files);
}

const MANIFEST = {
  version: 2,
  num_samples: 2,
  num_shards: 2,
  target_layer_ids: [1, 5],
  hidden_dtype: 'bfloat16',
  token_dtype: 'int32',
  mask_dtype: 'uint8',
  index_record_size: 56,
  hidden_size: D,
  shards: [0, 1].map((i) => ({ shard_id: i, file_name: `shard-${i}.bin` })),
};

test('DeepSpec: ids, mask and last hidden states of every sample', async () => {
  const file = await readDeepSpec(cache(), { vocabulary: 20 });
  const values: number[][] = [];
  const ids: number[][] = [];
  for await (const sequence of file.sequences()) {
    ids.push([...(sequence.tokens ?? [])]);
    values.push([...(await dense(sequence).read(0, sequence.rows))]);
    // The label before a token to learn is one to train on; behind the last token there is none.
    expect([...(sequence.mask ?? [])]).toEqual([1, 1, 0].slice(-sequence.rows));
  }
  expect(ids).toEqual([
    [0, 1, 2],
    [10, 11],
  ]);
  expect(values.map((list) => list[0])).toEqual([0, 100]);
  expect(values[0]).toEqual(Array.from({ length: 12 }, (_, i) => i));
});

const manifest = (change: object) => (files: Map<string, Uint8Array>) =>
  void files.set('manifest.json', Buffer.from(JSON.stringify({ ...MANIFEST, ...change })));
const record = (at: number, byte: number) => (files: Map<string, Uint8Array>) => {
  const index = Buffer.from(files.get('samples.idx') ?? []);
  index[at] = byte;
  files.set('samples.idx', index);
};

test.each([
  ['version 1', manifest({ version: 1 }), 'UNSUPPORTED'],
  ['another number of samples', manifest({ num_samples: 3 }), 'INVALID_FILE'],
  ['an unknown type', manifest({ hidden_dtype: 'int8' }), 'INVALID_FILE'],
  [
    'a shard outside of the folder',
    manifest({ num_shards: 1, shards: [{ shard_id: 0, file_name: '../x' }] }),
    'INVALID_FILE',
  ],
  ['a shard that is not there', record(8, 9), 'INVALID_FILE'],
  ['a sample beyond its shard', record(53, 1), 'INVALID_FILE'],
  ['a sample without tokens', record(12, 0), 'INVALID_FILE'],
])('DeepSpec: refuses %s', async (_, change, code) => {
  const read = async () => all(await readDeepSpec(cache(change), { vocabulary: 20 }));
  await expect(read()).rejects.toMatchObject({ code });
});

/** A .npy file, as numpy.save writes it. */
function npy(descr: string, shape: readonly number[], data: ArrayBufferView): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`.padEnd(117);
  const header = Buffer.from(`\x93NUMPY\x01\x00v\x00${text}\n`, 'latin1');
  return Buffer.concat([header, bytesOf(data)]);
}

test('own arrays: logits with ids and lengths, padding cut when told', async () => {
  const values = Float32Array.from({ length: 15 }, (_, i) => i);
  const { file } = memoryFile(npy('<f4', [5, 3], values));
  const integers = (numbers: readonly number[]) =>
    readIntegerArray(
      memoryFile(npy('<i8', [numbers.length], BigInt64Array.from(numbers.map(BigInt)))).file,
    );
  const read = async (lengths: readonly number[], ids = [0, 1, 1, 0, 1]) =>
    all(
      await readTokenArray(file, {
        kind: 'logits',
        vocabulary: 2,
        tokens: await integers(ids),
        lengths: await integers(lengths),
      }),
    );
  const sequences = await read([2, 3]);
  expect(sequences.map(({ tokens }) => [...(tokens ?? [])])).toEqual([
    [0, 1],
    [1, 0, 1],
  ]);
  expect([...(await dense(sequences[1]).read(1, 2))]).toEqual([9, 10, 12, 13]);
  await expect(read([2, 2])).rejects.toMatchObject({ code: 'INVALID_FILE' });
  expect((await read([0, 5, 0])).map(({ rows }) => rows)).toEqual([0, 5, 0]);
  await expect(read([2, 3], [0, 1, 2, 0, 1])).rejects.toMatchObject({ code: 'INVALID_FILE' });
  await expect(read([2, 3], [0, 1])).rejects.toMatchObject({ code: 'INVALID_FILE' });
});

test('own arrays: padded hidden states, and labels that are no numbers', async () => {
  const values = Float32Array.from({ length: 12 }, (_, i) => (i === 11 ? Number.NaN : i));
  const { file } = memoryFile(safetensors([['h', 'F32', [2, 3, 2], bytesOf(values)]]));
  const lengths = await readIntegerArray(
    memoryFile(safetensors([['n', 'I32', [2], bytesOf(Int32Array.from([3, 2]))]])).file,
  );
  const sequences = await all(
    await readTokenArray(file, { kind: 'hidden', vocabulary: 10, lengths }),
  );
  expect(sequences.map(({ rows }) => rows)).toEqual([3, 2]);
  expect([...(await dense(sequences[1]).read(0, 2))]).toEqual([6, 7, 8, 9]);
  const [, whole] = await all(await readTokenArray(file, { kind: 'hidden', vocabulary: 10 }));
  await expect(dense(whole).read(0, 3)).rejects.toMatchObject({ code: 'NON_FINITE' });
  await expect(readTokenArray(file, { kind: 'hidden' })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});
