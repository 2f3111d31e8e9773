import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { softpack } from '../../cli/softpack.js';
import { temporaryDirectory } from '../../temporary.js';

const temporary = await temporaryDirectory();
const samples = 'test/interop/tokens/samples';

const ENTRIES = { '3': { logprob: -0.5, rank: 1 }, '1': { logprob: -2, rank: 2 } };
const TEXTS = [
  { prompt_token_ids: [1, 2, 3], prompt_logprobs: [null, ENTRIES, ENTRIES] },
  { prompt_token_ids: [3, 0], prompt_logprobs: [null, ENTRIES] },
];
const lines = TEXTS.map((text) => JSON.stringify(text)).join('\n');
const vllm = await temporary.file('answers.jsonl', lines);

test('labels of vLLM become an archive, and files of each tool again', async () => {
  const out = temporary.path('archive');
  const imported = await softpack(['tokens', 'import', vllm, '--vocabulary', '8', '-o', out]);
  expect(imported.err).not.toContain('softpack:');
  expect(imported.out.split('\n')).toEqual([
    'layout: vllm',
    `3 labels of 2 texts (5 tokens) in ${out}, codec topk`,
    '',
  ]);
  await using archive = await openTokenArchive(out);
  const labels = await archive.labels(0);
  expect([...labels.ids]).toEqual([3, 1, 3, 1]);
  // Values of topk are halves.
  expect(Math.abs(labels.probabilities[0] - Math.exp(-0.5))).toBeLessThan(1e-3);
  for (const to of ['distillkit', 'vllm', 'axolotl'] as const) {
    const folder = temporary.path(to);
    const exported = await softpack(['tokens', 'export', out, '--to', to, '-o', folder, '--json']);
    expect(JSON.parse(exported.out)).toMatchObject({ to, sequences: 2 });
    const file = { distillkit: '', vllm: 'prompt_logprobs.jsonl', axolotl: 'train.jsonl' }[to];
    await using found = await openTokenLabels({ source: join(folder, file), vocabulary: 8 });
    expect(found.layout).toBe(to);
    const texts: number[][] = [];
    for await (const { tokens, rows, labels: own } of found.sequences()) {
      texts.push([...(tokens ?? []), rows]);
      if (own.kind === 'sparse') expect([...own.ids.subarray(0, 2)]).toEqual([3, 1]);
    }
    expect(texts).toEqual([
      [1, 2, 3, 2],
      [3, 0, 1],
    ]);
  }
});

test('layouts are detected, and texts come from another file', async () => {
  const ids = Int32Array.from({ length: 16 * 3 }, (_, i) => i);
  const header = "{'descr': '<i4', 'fortran_order': False, 'shape': (16, 3), }".padEnd(117);
  const npy = Buffer.concat([
    Buffer.from(`\x93NUMPY\x01\x00v\x00${header}\n`, 'latin1'),
    Buffer.from(ids.buffer),
  ]);
  const tokens = await temporary.file('ids.npy', npy);
  const source = join(samples, 'megatron');
  await using found = await openTokenLabels({ source, vocabulary: 131072, tokens });
  expect(found.layout).toBe('megatron');
  const texts: number[][] = [];
  for await (const sequence of found.sequences()) texts.push([...(sequence.tokens ?? [])]);
  expect(texts).toHaveLength(16);
  expect(texts[15]).toEqual([45, 46, 47]);
  await using distillkit = await openTokenLabels({ source: join(samples, 'distillkit', 'bins') });
  expect([distillkit.layout, distillkit.vocabulary]).toEqual(['distillkit', 1000]);
  await using short = await openTokenLabels({ source: vllm, vocabulary: 8, tokens });
  const read = async () => {
    for await (const _ of short.sequences()) break;
  };
  await expect(read()).rejects.toMatchObject({ code: 'INVALID_FILE' });
});

test('a mark of the byte order, as editors on Windows write it, changes nothing', async () => {
  const marked = await temporary.file('marked.jsonl', `\ufeff${lines}\r\n`);
  await using found = await openTokenLabels({ source: marked, vocabulary: 8 });
  expect(found.layout).toBe('vllm');
  const texts: number[][] = [];
  for await (const { tokens = [] } of found.sequences()) texts.push([...tokens]);
  expect(texts).toEqual(TEXTS.map((text) => text.prompt_token_ids));
});

test('refusals say what is missing', async () => {
  const out = temporary.path('none');
  const run = (...flags: string[]) => softpack(['tokens', 'import', ...flags, '-o', out]);
  expect(await run(vllm)).toMatchObject({
    code: 2,
    err: expect.stringMatching(/vocabulary: .*ids/),
  });
  const unknown = await temporary.file('labels.bin', 'x');
  expect(await run(unknown)).toMatchObject({
    code: 2,
    err: expect.stringMatching(/from: cannot tell/),
  });
  expect(await run(temporary.path('nowhere'))).toMatchObject({ code: 1 });
  const head = ['--vocabulary', '50', '--codec', 'head-tail'];
  expect(await run(vllm, ...head)).toMatchObject({
    code: 1,
    err: expect.stringContaining('[UNSUPPORTED]'),
  });
});

test('own logits are stored with ids of their tail, and such labels stay in the archive', async () => {
  const logits = Float32Array.from({ length: 6 * 40 }, (_, i) => Math.sin(i) * 4);
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 40), }".padEnd(117);
  const npy = Buffer.concat([
    Buffer.from(`\x93NUMPY\x01\x00v\x00${header}\n`, 'latin1'),
    Buffer.from(logits.buffer),
  ]);
  const source = await temporary.file('logits.npy', npy);
  const out = temporary.path('own');
  const flags = ['--from', 'logits', '--vocabulary', '37', '--codec', 'sampled', '--json'];
  const run = await softpack(['tokens', 'import', source, ...flags, '-o', out]);
  expect(JSON.parse(run.out)).toMatchObject({ layout: 'logits', labels: 6, codec: 'sampled' });
  await using archive = await openTokenArchive(out);
  const { ids } = await archive.labels(0);
  // Columns behind the vocabulary pad the head.
  expect(Math.max(...ids)).toBeLessThan(37);
  const run3 = (...more: string[]) =>
    softpack(['tokens', 'import', source, ...flags, '-o', temporary.path('three'), ...more]);
  expect(JSON.parse((await run3('--draws', '3')).out)).toMatchObject({ labels: 6 });
  await using three = await openTokenArchive(temporary.path('three'));
  expect(three.width).toBe(3);
  // Probabilities of draws: thirds.
  const { probabilities } = await three.labels(0);
  expect([...probabilities].every((p) => Math.abs(3 * p - Math.round(3 * p)) < 1e-3)).toBe(true);
  for (const [number, codec] of [
    ['257', 'sampled'],
    ['8', 'topk'],
    ['8', 'hidden'],
  ]) {
    const { code, err } = await run3('--draws', number, '--codec', codec);
    expect([code, err]).toEqual([codec === 'hidden' ? 1 : 2, expect.any(String)]);
    expect(err).toMatch(codec === 'hidden' ? /UNSUPPORTED/ : /draws: /);
  }
  const exported = await softpack([
    'tokens',
    'export',
    out,
    '--to',
    'vllm',
    '-o',
    temporary.path('x'),
  ]);
  expect(exported.err).toMatch(/sampled from the tail .*\[UNSUPPORTED\]/);
  await writeFile(source, (await readFile(source)).subarray(0, -1));
  const cut = await softpack(['tokens', 'import', source, ...flags, '-o', temporary.path('cut')]);
  expect(cut.err).toContain('[INVALID_FILE]');
});

test('pack, inspect and verify are where the other commands of tokens are', async () => {
  const out = temporary.path('packed');
  const packed = await softpack(['tokens', 'pack', vllm, '--vocabulary', '8', '-o', out]);
  expect(packed.out).toContain('3 labels of 2 texts');
  const inspected = await softpack(['tokens', 'inspect', out]);
  expect(inspected.out).toBe((await softpack(['inspect', out])).out);
  expect(inspected.out).toContain('3 of 2 texts');
  const verified = await softpack(['tokens', 'verify', out, '--json']);
  expect(JSON.parse(verified.out)).toMatchObject({ damage: [] });
});

test('labels need a folder or a job, and only a job has a script', async () => {
  const label = (...args: readonly string[]) =>
    softpack(['tokens', 'label', vllm, '--model', 'none.gguf', ...args]);
  expect(await label()).toMatchObject({ code: 2, err: expect.stringContaining('--out') });
  const script = await label('--out', temporary.path('x'), '--for', 'slurm');
  expect(script).toMatchObject({ code: 2, err: expect.stringContaining('--job') });
  const both = await label('--out', temporary.path('x'), '--job', temporary.path('y'));
  expect(both).toMatchObject({ code: 2, err: expect.stringContaining('--job') });
});
