import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readGguf } from '#src/interop/tokens/gguf.js';
import { GGUF_TYPES } from '#src/interop/tokens/gguf-blocks.js';
import { readNorm, readOutputHead } from '#src/interop/tokens/output-head.js';
import { temporaryDirectory } from '../../temporary.js';
import { bytesOf, memoryFile } from './fixture.js';
import { ggufFile } from './gguf-file.js';

const temporary = await temporaryDirectory();
/** By number of the type: random blocks, and their values as llama.cpp's own package has them (samples/make_gguf.py). */
const BLOCKS: Record<string, { name: string; bytes: string; values: string }> = JSON.parse(
  readFileSync('test/interop/tokens/samples/gguf/blocks.json', 'utf8'),
);
const floats = (base64: string) => {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};
const samples = Object.entries(BLOCKS).map(([type, { name, bytes, values }]) => ({
  ...{ type: Number(type), name, bytes: Buffer.from(bytes, 'base64'), values: floats(values) },
}));

test.each(samples)(
  'weights of type $name have the numbers that llama.cpp gives them',
  async (own) => {
    const { type, name, bytes, values } = own;
    expect(GGUF_TYPES.get(type)?.name).toBe(name);
    const { elements = 0 } = GGUF_TYPES.get(type) ?? {};
    const shape = [values.length / elements, elements];
    // Behind another tensor, whose end is not aligned.
    const before = { name: 'a', shape: [1], type: 0, bytes: new Uint8Array(4) };
    const { file } = memoryFile(ggufFile({}, [before, { name: 'b', shape, type, bytes }]));
    const gguf = await readGguf(file);
    const read = await gguf.tensor('b');
    expect(read.shape).toEqual(shape);
    for (const [i, value] of read.values.entries()) {
      expect(Math.abs(value - values[i])).toBeLessThanOrEqual(2e-6 * Math.abs(values[i]) + 1e-6);
    }
    expect((await gguf.tensor('b', 1)).values).toEqual(read.values.subarray(0, elements));
  },
);

test('samples are of all types', () => {
  expect(samples.map(({ type }) => type).sort()).toEqual([...GGUF_TYPES.keys()].sort());
});

const values = Float32Array.from({ length: 12 }, (_, i) => i / 4);
const matrix = (name: string) => ({ name, shape: [4, 3], type: 0, bytes: bytesOf(values) });
const norm = {
  name: 'output_norm.weight',
  shape: [3],
  type: 0,
  bytes: bytesOf(values.slice(0, 3)),
};
const FACTS = { 'general.architecture': 'llama', 'llama.block_count': 2, 'a.list': ['x', 'yz'] };

test('the output matrix of a model is found by itself, and that of embeddings if it is tied', async () => {
  const other = { ...matrix('output.weight'), bytes: bytesOf(values.map((value) => -value)) };
  const tied = await temporary.file(
    'tied.gguf',
    ggufFile(FACTS, [matrix('token_embd.weight'), norm]),
  );
  const both = await temporary.file(
    'both.gguf',
    ggufFile(FACTS, [matrix('token_embd.weight'), other]),
  );
  expect(await readOutputHead(tied)).toEqual({ vocabulary: 4, width: 3, weights: values });
  const { weights, vocabulary } = await readOutputHead(both, { vocabulary: 2 });
  expect([vocabulary, ...weights]).toEqual([2, ...values.subarray(0, 6).map((value) => -value)]);
  const named = await readOutputHead(both, { tensor: 'token_embd.weight' });
  expect(named.weights).toEqual(values);
  expect(await readNorm(tied)).toEqual(values.subarray(0, 3));
  await expect(readOutputHead(tied, { vocabulary: 5 })).rejects.toMatchObject({
    ...{ code: 'INVALID_ARGUMENT', field: 'vocabulary' },
  });
  await expect(readOutputHead(tied, { tensor: 'output_norm.weight' })).rejects.toMatchObject({
    code: 'INVALID_FILE',
  });
  await expect(readNorm(both)).rejects.toMatchObject({ code: 'INVALID_FILE' });
});

test('models whose logits are capped or scaled have no matrix that gives them', async () => {
  const gemma = { 'general.architecture': 'gemma2', 'gemma2.final_logit_softcapping': 30 };
  const path = await temporary.file('gemma.gguf', ggufFile(gemma, [matrix('token_embd.weight')]));
  await expect(readOutputHead(path)).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    field: expect.stringContaining('final_logit_softcapping'),
  });
});

test('nor have those with a bias behind it, or in their last norm', async () => {
  const bias = (name: string) => ({ ...norm, name });
  const tensors = [matrix('output.weight'), bias('output.bias'), norm, bias('output_norm.bias')];
  const path = await temporary.file('bias.gguf', ggufFile(FACTS, tensors));
  for (const [read, field] of [
    [readOutputHead, `${path}: output.bias`],
    [readNorm, `${path}: output_norm.bias`],
  ] as const) {
    await expect(read(path)).rejects.toMatchObject({ code: 'UNSUPPORTED', field });
  }
});

test('a matrix of one dimension is refused before it is read, whatever its blocks are', async () => {
  const flat = { name: 'output.weight', shape: [64], type: 2, bytes: new Uint8Array(36) };
  const path = await temporary.file('flat.gguf', ggufFile(FACTS, [flat]));
  await expect(readOutputHead(path, { vocabulary: 48 })).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: `${path}: tensor output.weight`,
  });
  const gguf = await readGguf(memoryFile(ggufFile(FACTS, [flat])).file);
  expect((await gguf.tensor('output.weight', 48)).values).toHaveLength(64);
});

test('long facts and entries are read, of a large file a part at first', async () => {
  const words = Array.from({ length: 5000 }, () => 'x'.repeat(4000));
  const facts = { ...FACTS, 'tokenizer.ggml.tokens': words };
  const { file } = memoryFile(ggufFile(facts, [matrix('output.weight')]));
  expect((await (await readGguf(file)).tensor('output.weight')).values).toEqual(values);
});

test('what is no model is refused, wherever it ends and whatever its numbers are', async () => {
  const whole = ggufFile(FACTS, [matrix('token_embd.weight'), norm]);
  const start = whole.length - 32 - 64;
  for (let length = 0; length < start - 32; length++) {
    const { file } = memoryFile(whole.subarray(0, length));
    await expect(readGguf(file)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  }
  const cut = await readGguf(memoryFile(whole.subarray(0, start + 40)).file);
  await expect(cut.tensor('token_embd.weight')).rejects.toMatchObject({ code: 'INVALID_FILE' });
  for (let at = 0; at < start; at++) {
    for (const byte of [0, 0x7f, 0xff]) {
      const damaged = Buffer.from(whole);
      damaged[at] = byte;
      const read = readGguf(memoryFile(damaged).file).then((gguf) =>
        gguf.tensor('token_embd.weight'),
      );
      const error = await read.then(
        () => undefined,
        (own) => own,
      );
      const codes = [undefined, 'INVALID_FILE', 'UNSUPPORTED', 'OUT_OF_MEMORY'];
      expect(codes).toContain(error?.code);
    }
  }
  const strange = ggufFile({}, [{ ...matrix('x'), type: 10, shape: [1, 256] }]);
  const { tensor } = await readGguf(memoryFile(strange).file);
  await expect(tensor('x')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});
